"""R98: a dead letter that comes back does not undo what was written since."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from onelane.identity import lane_id

from onelane import (
    ContactSync,
    ContactUpsert,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
    Receipt,
)
from onelane_worker.planner import operations as op
from onelane_worker.planner import replay
from onelane_worker.planner.registry import ConsentMemory

from .world import World

ANN = "ann@example.test"
LANE = lane_id(ANN)
REFUSED = op.Refused(op.Problem("refused", 400, "parameter_invalid"))


def refuse_all(world: World) -> None:
    writes = (op.Create, op.Update)
    world.gateway.before = lambda operation: REFUSED if isinstance(operation, writes) else None


def cure(world: World) -> None:
    world.gateway.before = lambda operation: None


def bury(world: World, intent: Any) -> Receipt:
    """Make it a dead letter; whoever comes later is served again."""
    refuse_all(world)
    receipt = world.queue.enqueue(intent)
    world.run_until(lambda: world.outcome(receipt) is not None)
    outcome = world.outcome(receipt)
    assert outcome is not None
    assert outcome.result == "rejected"
    cure(world)
    return receipt


def send_back(world: World, receipt: Receipt, *, whole: bool = False) -> None:
    answer = world.store.replay(
        receipt.lane, receipt.id, f"op {world.now}", whole=whole, lane_max=100, partition_max=100
    )
    assert answer.status == "accepted"
    world.now += 1
    world.broker.turns += [answer.turn] if answer.turn else []


def replay(world: World, receipt: Receipt, *, whole: bool = False) -> str:
    """Replay it and work until it has ended; the result."""
    send_back(world, receipt, whole=whole)
    world.run_until(lambda: world.outcome(receipt) is not None)
    outcome = world.outcome(receipt)
    assert outcome is not None
    return outcome.result


def memory(world: World) -> ConsentMemory:
    stored = world.store.describe(LANE).memory
    return ConsentMemory() if stored is None else ConsentMemory.model_validate_json(stored)


def test_what_nobody_has_written_since_is_applied(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Ann", phone="+4930123456"))

    assert replay(world, receipt) == "created"

    [contact] = world.contacts(ANN)
    assert (contact["name"], contact["phone"]) == ("Ann", "+4930123456")
    status = world.queue.status(receipt.id)
    assert status is not None
    assert (status.state, status.error) == ("done", None)
    assert world.queue.wait(receipt.id, 1).result == "created"


def test_what_was_written_since_is_left_out(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old", phone="+4930123456"))
    world.do(LeadCapture(email=ANN, name="New"))

    assert replay(world, receipt) == "updated"

    [contact] = world.contacts(ANN)
    assert (contact["name"], contact["phone"]) == ("New", "+4930123456")


@pytest.mark.parametrize("trusted", [True, False])
def test_what_a_form_may_not_overwrite_it_does_not_hold_back_either(world: World, trusted: bool) -> None:
    world.do(ContactSync(email=ANN, external_id="u-1", phone="+1"))
    letter = bury(world, ContactSync(email=ANN, external_id="u-1", name="Ann", phone="+2"))
    world.do(LeadCapture(email=ANN, name="Eve", phone="+3", trusted=trusted))
    replay(world, letter)
    [contact] = world.contacts(ANN)
    assert (contact["name"], contact["phone"]) == (("Eve", "+3") if trusted else ("Ann", "+2"))


def test_as_it_is_it_overwrites(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old"))
    world.do(LeadCapture(email=ANN, name="New"))

    replay(world, receipt, whole=True)

    assert world.contacts(ANN)[0]["name"] == "Old"


def test_what_was_written_before_it_is_not_left_out(world: World) -> None:
    world.do(LeadCapture(email=ANN, name="Older"))
    first = bury(world, LeadCapture(email=ANN, phone="+4930000001"))
    world.do(LeadCapture(email=ANN, name="Middle"))
    second = bury(world, LeadCapture(email=ANN, name="Second", phone="+4930000002"))

    replay(world, second)
    replay(world, first)

    [contact] = world.contacts(ANN)
    assert contact["name"] == "Second"
    assert contact["phone"] == "+4930000002"  # written since the first


def test_what_waits_before_it_in_the_lane_counts_too(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old", phone="+4930123456"))
    world.enqueue(LeadCapture(email=ANN, name="New"))  # accepted later, not yet written

    send_back(world, receipt)
    world.run_until(lambda: world.outcome(receipt) is not None)

    [contact] = world.contacts(ANN)
    assert (contact["name"], contact["phone"]) == ("New", "+4930123456")


def test_who_comes_after_the_replay_folds_over_it(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old"))
    send_back(world, receipt)
    last = world.queue.enqueue(LeadCapture(email=ANN, name="Last"))

    world.run_until(lambda: world.outcome(last) is not None)

    assert world.contacts(ANN)[0]["name"] == "Last"


def test_attributes_and_cleared_fields_one_by_one(world: World) -> None:
    world.attributes("plan", "city")
    lost = ContactUpsert(
        email=ANN,
        set={"name": "Old", "custom_attributes": {"plan": "free", "city": "Rome"}},
        unset=("phone", "owner_id"),
    )
    receipt = bury(world, lost)
    world.do(ContactUpsert(email=ANN, set={"phone": "+4930123456", "custom_attributes": {"plan": "pro"}}))

    replay(world, receipt)

    [contact] = world.contacts(ANN)
    assert contact["custom_attributes"] == {"plan": "pro", "city": "Rome"}
    assert (contact["name"], contact["phone"]) == ("Old", "+4930123456")


def test_a_create_writes_what_it_sets_on_insert(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old"))
    world.do(ContactUpsert(email=ANN, set_on_insert={"name": "First"}))

    replay(world, receipt)

    assert world.contacts(ANN)[0]["name"] == "First"


def test_consent_that_was_taken_back_since_stays_so(world: World) -> None:
    receipt = bury(world, NewsletterOptIn(email=ANN, name="Ann"))
    world.do(LeadCapture(email=ANN))
    world.do(NewsletterOptOut(email=ANN))

    replay(world, receipt)

    [contact] = world.contacts(ANN)
    assert contact["unsubscribed_from_emails"] is True
    assert contact["name"] == "Ann"


def test_consent_as_it_is_is_spoken_now(world: World) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=3)
    receipt = bury(world, NewsletterOptIn(email=ANN, occurred_at=long_ago))
    world.do(LeadCapture(email=ANN))
    world.do(NewsletterOptOut(email=ANN))

    replay(world, receipt, whole=True)

    assert world.contacts(ANN)[0]["unsubscribed_from_emails"] is False


@pytest.mark.parametrize("whole", [True, False])
def test_a_sign_up_keeps_its_time(world: World, whole: bool) -> None:
    long_ago = datetime(2026, 1, 2, tzinfo=UTC)
    receipt = bury(world, ProductSignUp(email=ANN, external_id="u-1", occurred_at=long_ago))

    assert replay(world, receipt, whole=whole) == "created"

    assert world.contacts(ANN)[0]["signed_up_at"] == int(long_ago.timestamp())


def test_a_time_of_sign_up_that_a_create_wrote_is_left_alone(world: World) -> None:
    receipt = bury(world, ContactSync(email=ANN, external_id="u-1", signed_up_at=1_700_000_000))
    signed_up = datetime(2026, 1, 2, tzinfo=UTC)
    world.do(ProductSignUp(email=ANN, external_id="u-1", occurred_at=signed_up))

    replay(world, receipt)

    assert world.contacts(ANN)[0]["signed_up_at"] == int(signed_up.timestamp())


def test_an_older_version_is_superseded_as_ever(world: World) -> None:
    receipt = bury(world, ContactSync(email=ANN, external_id="u", source="crm", version=1, name="Old"))
    world.do(ContactSync(email=ANN, external_id="u", source="crm", version=2, name="New"))

    assert replay(world, receipt) == "superseded"


def test_a_letter_that_dies_again_is_as_old_as_it_was(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old", phone="+4930123456"))
    world.do(LeadCapture(email=ANN, name="New"))
    refuse_all(world)
    assert replay(world, receipt) == "rejected"
    cure(world)
    assert replay.left_out(memory(world), receipt.id) == {"name"}

    assert replay(world, receipt) == "updated"
    assert world.contacts(ANN)[0]["name"] == "New"


def test_one_whose_record_was_dropped_leaves_out_all_when_it_dies_again() -> None:
    now = replay.buried(ConsentMemory(), "other")
    now = replay.buried(now, "old", again=True)
    burials = now.burials.model_copy(update={"written": {"name": 0}})
    now = now.model_copy(update={"burials": burials})
    assert replay.left_out(now, "old") == {"name"}
    assert replay.left_out(now, "other") == frozenset()


def test_the_record_ends_with_the_last_letter(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old"))
    world.do(LeadCapture(email=ANN, name="New"))
    assert replay.is_remembered(memory(world), receipt.id)
    assert replay.left_out(memory(world), receipt.id) == {"name"}

    replay(world, receipt)

    assert memory(world).burials == ConsentMemory().burials


def test_a_lane_without_dead_letters_records_nothing(world: World) -> None:
    world.do(LeadCapture(email=ANN, name="Ann"))
    assert memory(world).burials == ConsentMemory().burials


def test_of_very_many_letters_the_oldest_leave_out_more() -> None:
    now = ConsentMemory()
    for n in range(replaying.MOST_LETTERS + 1):
        now = replay.buried(now, f"id{n}")
    assert len(now.burials.letters) == replaying.MOST_LETTERS
    burials = now.burials.model_copy(update={"written": {"name": 0, "phone": 5}})
    now = now.model_copy(update={"burials": burials})
    assert replay.is_remembered(now, "id0")
    assert replay.left_out(now, "id0") == {"name", "phone"}
    assert replay.left_out(now, "id2") == {"phone"}
