"""The timeline of a lane: what it tells, and what it never tells."""

from __future__ import annotations

import json
from typing import Any

from tests.world.world import World

from onelane import LeadCapture, NewsletterOptIn
from onelane_worker.planner import operations as op

ANN = "ann@example.test"


def events(world: World) -> list[dict[str, Any]]:
    key = world.workspace.keys.key("timeline", world.workspace.lane(ANN))
    return [json.loads(line) for line in world.redis.execute("LRANGE", key, 0, -1)]


def test_calls_and_outcome_are_told(world: World) -> None:
    [receipt] = world.enqueue(LeadCapture(email=ANN, name="Ann"))
    world.rest()
    [event] = events(world)
    assert (event["what"], event["id"], event["kind"]) == ("ended", receipt.id, "lead_capture")
    assert (event["result"], event["attempt"]) == ("created", 1)
    assert [call[:2] for call in event["calls"]] == [["search", "listed"], ["create", "found"]]
    assert event["accepted_ms"] <= event["at_ms"]


def test_a_failed_attempt_is_told_with_what_went_wrong(world: World) -> None:
    world.answer(op.Search, op.NotSent(op.Problem("network", message=f"no way to {ANN}")))
    world.do(LeadCapture(email=ANN))
    put_back, ended = events(world)
    assert (put_back["what"], put_back["state"]) == ("put_back", "retrying")
    assert put_back["error"] == {"class": "network"}
    assert put_back["again_ms"] >= put_back["at_ms"]
    assert put_back["calls"][0][1] == "notsent network"
    assert (ended["what"], ended["attempt"]) == ("ended", 2)


def test_a_burial_is_told_without_intercoms_words(world: World) -> None:
    refused = op.Problem("refused", 400, "parameter_invalid", f"{ANN} is odd")
    world.answer(op.Create, op.Refused(refused))
    world.do(LeadCapture(email=ANN))
    [event] = events(world)
    assert (event["what"], event["result"], event["reason"]) == ("buried", "rejected", "refused")
    assert event["calls"][-1][1] == "refused 400"


def test_of_a_fold_the_calls_are_told_once(world: World) -> None:
    world.enqueue(LeadCapture(email=ANN, name="Ann"), LeadCapture(email=ANN, name="Anna"))
    world.rest()
    first, second = events(world)
    assert "calls" in first
    assert "calls" not in second
    assert first["folded_with"] == second["folded_with"] == 1


def test_no_value_and_no_address_is_kept(world: World) -> None:
    world.attributes("secret")
    world.do(NewsletterOptIn(email=ANN, name="Zaphod", custom_attributes={"secret": "swordfish"}))
    text = json.dumps(events(world))
    assert text
    assert not [word for word in (ANN, "ann@", "Zaphod", "swordfish") if word in text]


def test_it_is_bounded_and_ends(world: World) -> None:
    for n in range(210):
        world.do(LeadCapture(email=ANN, name=f"N{n}"))
    assert len(events(world)) == world.knobs.lanes.timeline_max
    key = world.workspace.keys.key("timeline", world.workspace.lane(ANN))
    assert 0 < world.redis.execute("PTTL", key) <= world.knobs.lanes.status_ttl_ms
