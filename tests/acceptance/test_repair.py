"""`onelane repair`: workers merge, under the lane of the address."""

from __future__ import annotations

from typing import Any

from onelane import LeadCapture
from onelane_sandbox.client import SandboxControl

from .commands import Terminal
from .conftest import OpenWorld
from .world import SHORT_LAG_S, World

ANN, BOB = "ann@example.test", "bob@example.test"


def typed(world: World) -> dict[str, str]:
    """The environment in which an operator of this world types."""
    return {f"ONELANE_{name}": str(value) for name, value in world.settings.items()}


def living(sandbox: SandboxControl, email: str) -> list[str]:
    gone = ("deleted", "archived", "merged_into")
    people = [one for one in sandbox.contacts() if (one["email"] or "").lower() == email]
    return sorted(one["role"] for one in people if not any(one[name] for name in gone))


def test_leads_are_merged_and_the_rest_is_reported(open_world: OpenWorld, terminal: Terminal) -> None:
    # Given leads beside a user, in two spellings of one address, and two leads of another
    world = open_world(workers=1, lag_s=SHORT_LAG_S)
    for body in (
        {"role": "lead", "email": ANN},
        {"role": "lead", "email": "Ann@Example.Test"},
        {"role": "user", "email": ANN, "external_id": "u1"},
        {"role": "lead", "email": BOB},
        {"role": "lead", "email": BOB},
    ):
        assert world.sandbox.call("POST", "/contacts", body)[0] == 200
    world.sandbox.catch_up()

    # When an operator repairs
    ended = terminal.run("repair", "--yes", "--json", env=typed(world))

    # Then the leads are in the user, and the others are told
    assert (ended.code, ended.json["counts"]) == (1, {"merged": 1, "leads": 1}), ended.err
    assert living(world.sandbox, ANN) == ["user"]
    assert living(world.sandbox, BOB) == ["lead", "lead"]
    merges = [one for one in world.sandbox.requests() if one["path"] == "/contacts/merge"]
    assert len(merges) == 2
    # And the lane goes on with the user
    outcome = world.queue.wait(world.queue.enqueue(LeadCapture(email=ANN, name="Ann")).id, 30)
    [user] = [one for one in world.sandbox.contacts() if one["role"] == "user"]
    assert (outcome.result, outcome.contact_id) == ("updated", user["id"])
    again: Any = terminal.run("repair", "--yes", "--json", env=typed(world)).json
    assert again["counts"] == {"leads": 1}


def test_a_merge_whose_answer_is_lost_is_not_made_twice(open_world: OpenWorld, terminal: Terminal) -> None:
    world = open_world(workers=1, lag_s=SHORT_LAG_S)
    for body in ({"role": "lead", "email": ANN}, {"role": "user", "email": ANN, "external_id": "u1"}):
        assert world.sandbox.call("POST", "/contacts", body)[0] == 200
    world.sandbox.catch_up()
    world.sandbox.fault("lose_response", method="POST", path="^/contacts/merge$")

    ended = terminal.run("repair", "--yes", "--json", env=typed(world))

    assert (ended.code, ended.json["counts"]) == (0, {"merged": 1}), ended.err
    assert living(world.sandbox, ANN) == ["user"]
