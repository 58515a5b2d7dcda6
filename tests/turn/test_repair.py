"""Repair: who is doubled, who can be mended, and that it happens under the lane's lease."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from onelane.identity import lane_id

from onelane import LeadCapture
from onelane_worker.planner import operations as op
from onelane_worker.repair import Finding, Group, Mender, ScanFailed, confirm, scan

from .world import World

ANN = "ann@example.test"
LANE = lane_id(ANN)


def ask(world: World) -> Callable[[op.ReadOperation], op.Reply]:
    return lambda operation: world.gateway.perform(operation, now_ms=lambda: 0)


def mender(world: World) -> Mender:
    kept: Any = world.broker
    publish = world.deps.publish
    performer, heartbeat = world.deps.performer, world.deps.heartbeat
    return Mender(world.queue, kept, world.store, performer, heartbeat, publish, 5)


def look(world: World) -> list[Group]:
    world.sandbox.catch_up()
    return scan(ask(world), lambda count: None)


def repair(world: World) -> list[Finding]:
    return [mender(world).mend(group) for group in look(world)]


def lead_and_user(world: World, email: str = ANN) -> tuple[str, str]:
    lead = world.seed(role="lead", email=email)["id"]
    return lead, world.seed(role="user", email=email, external_id=f"u {email}")["id"]


def live(world: World, email: str) -> list[dict[str, Any]]:
    return [one for one in world.contacts(email) if one["merged_into"] is None]


def test_a_lead_beside_its_user_is_merged_into_it(world: World) -> None:
    lead, user = lead_and_user(world)
    world.seed(role="lead", email="bob@example.test")

    [found] = repair(world)

    assert (found.verdict, found.user, found.merged) == ("merged", user, (lead,))
    assert [one["id"] for one in live(world, ANN)] == [user]
    assert repair(world) == []
    view = world.store.describe(LANE)
    assert (view.intents, view.holder, view.open_write, view.dirty) == ((), None, None, False)


def test_all_leads_of_one_user_are_merged(world: World) -> None:
    first = world.seed(role="lead", email=ANN)["id"]
    second, user = lead_and_user(world)

    [found] = repair(world)

    assert set(found.merged) == {first, second}
    assert [one["id"] for one in live(world, ANN)] == [user]


def test_the_lane_goes_on_with_the_user(world: World) -> None:
    _, user = lead_and_user(world)
    repair(world)
    world.calls()

    outcome = world.do(LeadCapture(email=ANN, name="Ann"))

    assert (outcome.contact_id, outcome.result) == (user, "updated")
    assert world.calls() == ["Update"]


@pytest.mark.parametrize(
    ("roles", "verdict"), [(["lead", "lead"], "leads"), (["user", "user", "lead"], "users")]
)
def test_what_intercom_cannot_merge_is_reported(roles: list[str], verdict: str, world: World) -> None:
    for n, role in enumerate(roles):
        more = {"external_id": f"u{n}"} if role == "user" else {}
        id_ = world.seed(role=role, email=f"{n}@example.test", **more)["id"]
        world.gateway.perform(op.Update(id_, {"email": ANN}), now_ms=lambda: 0)

    [found] = repair(world)

    assert (found.verdict, found.merged) == (verdict, ())
    assert len(live(world, ANN)) == len(roles)


def test_the_index_alone_is_not_believed(world: World) -> None:
    lead, user = lead_and_user(world)
    groups = look(world)
    world.gateway.perform(op.Merge(lead, user), now_ms=lambda: 0)  # the index does not show it yet

    [found] = [confirm(ask(world), group) for group in groups]
    assert found.verdict == "single"
    assert mender(world).mend(groups[0]).verdict == "single"
    assert [one["id"] for one in live(world, ANN)] == [user]


def test_addresses_are_compared_as_lanes_are(world: World) -> None:
    world.seed(role="lead", email=ANN)
    world.seed(role="user", email="Ann@Example.Test", external_id="u1")

    assert [found.verdict for found in repair(world)] == ["merged"]


def test_a_lane_at_work_is_left_alone(world: World) -> None:
    lead_and_user(world)
    groups = look(world)
    world.enqueue(LeadCapture(email=ANN))
    before = world.store.describe(LANE)

    assert mender(world).mend(groups[0]).verdict == "busy"

    assert world.store.describe(LANE) == before
    assert len(live(world, ANN)) == 2


def test_the_write_is_on_record_when_it_is_sent(world: World) -> None:
    lead_and_user(world)
    seen: list[Any] = []
    world.gateway.on_record = lambda operation: seen.append(world.open_write(LANE))

    repair(world)

    [record] = seen
    assert record["op"] == "merge"


def test_a_merge_whose_answer_is_lost_holds_the_lane(world: World) -> None:
    lead_and_user(world)
    lost = op.Unknown(op.Problem("timeout"))
    world.gateway.after = lambda operation, reply: lost if isinstance(operation, op.Merge) else reply

    [found] = repair(world)

    assert found.verdict == "unknown"
    view = world.store.describe(LANE)
    assert (view.holder, view.open_write is not None, len(view.intents)) == (None, True, 1)
    world.gateway.after = lambda operation, reply: reply
    world.run_until(lambda: not world.store.describe(LANE).intents)
    assert repair(world) == []


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (op.Refused(op.Problem("refused", 400)), "refused"),
        (op.Forbidden(op.Problem("forbidden", 403)), "forbidden"),
        (op.NotSent(op.Problem("network")), "unanswered"),
        (op.Throttled(1, op.Problem("rate_limited", 429)), "unanswered"),
    ],
)
def test_a_merge_that_was_not_made_is_reported(reply: op.Reply, verdict: str, world: World) -> None:
    lead_and_user(world)
    world.gateway.before = lambda operation: reply if isinstance(operation, op.Merge) else None

    [found] = repair(world)

    assert (found.verdict, found.merged) == (verdict, ())
    assert world.store.describe(LANE).open_write is None


def test_no_answer_to_a_read_changes_nothing(world: World) -> None:
    lead_and_user(world)
    groups = look(world)
    away = op.NotSent(op.Problem("network"))
    world.gateway.before = lambda operation: away if isinstance(operation, op.Read) else None

    assert mender(world).mend(groups[0]).verdict == "unanswered"
    assert world.store.describe(LANE).holder is None
    assert len(live(world, ANN)) == 2


def test_who_comes_meanwhile_is_woken(world: World) -> None:
    lead_and_user(world)
    world.gateway.on_record = lambda operation: world.enqueue(LeadCapture(email=ANN, name="Ann")) and None

    [found] = repair(world)

    assert found.verdict == "merged"
    world.gateway.on_record = lambda operation: None
    world.run()
    assert live(world, ANN)[0]["name"] == "Ann"


def test_every_page_of_the_list_is_read(world: World) -> None:
    lead_and_user(world)
    for n in range(310):
        world.seed(role="lead", email=f"p{n}@example.test")
    lead_and_user(world, "zoe@example.test")
    pages: list[int] = []
    world.sandbox.catch_up()

    groups = scan(ask(world), pages.append)

    assert [group.address for group in groups] == [ANN, "zoe@example.test"]
    assert pages == [150, 150, 14]


def test_of_millions_of_contacts_little_is_kept() -> None:
    def page(operation: op.ReadOperation) -> op.Reply:
        assert isinstance(operation, op.ListPage)
        start = int(operation.after or 0)
        found = (
            op.Candidate(
                f"{n:024x}", "lead", None, f"{'long-' * 12}{n}@a-rather-long-name-of-a-company.test", None
            )
            for n in range(start, start + 50)
        )
        return op.Listed(tuple(found), 0, str(start + 50) if start < 5_000 else None)

    kept: list[int] = []
    tracemalloc.start()
    try:
        assert scan(page, lambda count: kept.append(tracemalloc.get_traced_memory()[0])) == []
    finally:
        tracemalloc.stop()
    assert (kept[-1] - kept[0]) / 5_000 < 220  # bytes of a contact; its address alone would take 150


def test_a_list_that_is_not_given_is_an_error(world: World) -> None:
    world.gateway.before = lambda operation: op.Stopped(op.Problem("unauthorized", 401))
    with pytest.raises(ScanFailed, match="unauthorized 401"):
        scan(ask(world), lambda count: None)
