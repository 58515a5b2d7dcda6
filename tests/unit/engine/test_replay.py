"""R98: a dead letter that comes back does not undo what was written since."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.world.world import World

from onelane import (
    ContactSync,
    ContactUpsert,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
)

from .dead_letters import bury, refuse_writes, replay, send_back

ANN = "ann@example.test"


def burials(world: World) -> dict[str, Any]:
    """What the lane remembers for the sake of its dead letters."""
    found: dict[str, Any] = json.loads(world.text("consent", ANN) or "{}").get("burials", {})
    return found


def person(world: World) -> tuple[str | None, str | None]:
    [contact] = world.contacts(ANN)
    return contact["name"], contact["phone"]


def test_what_nobody_has_written_since_is_applied(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Ann", phone="+1"))
    assert replay(world, receipt) == "created"
    assert person(world) == ("Ann", "+1")
    status = world.status(receipt)
    assert (status.state, status.error) == ("done", None)


def test_what_was_written_since_is_left_out(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old", phone="+1"))
    world.do(LeadCapture(email=ANN, name="New"))
    assert replay(world, receipt) == "updated"
    assert person(world) == ("New", "+1")


def test_as_it_is_it_overwrites(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old"))
    world.do(LeadCapture(email=ANN, name="New"))
    replay(world, receipt, whole=True)
    assert person(world)[0] == "Old"


@pytest.mark.parametrize("trusted", [True, False])
def test_what_a_form_may_not_overwrite_it_does_not_hold_back_either(world: World, trusted: bool) -> None:
    world.do(ContactSync(email=ANN, external_id="u-1", phone="+1"))
    letter = bury(world, ContactSync(email=ANN, external_id="u-1", name="Ann", phone="+2"))
    world.do(LeadCapture(email=ANN, name="Eve", phone="+3", trusted=trusted))
    replay(world, letter)
    assert person(world) == (("Eve", "+3") if trusted else ("Ann", "+2"))


def test_what_was_written_before_it_is_not_left_out(world: World) -> None:
    world.do(LeadCapture(email=ANN, name="Older"))
    first = bury(world, LeadCapture(email=ANN, phone="+1"))
    world.do(LeadCapture(email=ANN, name="Middle"))
    second = bury(world, LeadCapture(email=ANN, name="Second", phone="+2"))
    replay(world, second)
    replay(world, first)
    assert person(world) == ("Second", "+2")  # the phone was written since the first


def test_what_waits_before_it_in_the_lane_counts_too(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old", phone="+1"))
    world.enqueue(LeadCapture(email=ANN, name="New"))  # accepted later, not yet written
    assert send_back(world, receipt) == "accepted"
    world.rest()
    assert person(world) == ("New", "+1")


def test_who_comes_after_the_replay_goes_over_it(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old"))
    assert send_back(world, receipt) == "accepted"
    world.do(LeadCapture(email=ANN, name="Last"))
    assert person(world)[0] == "Last"


def test_attributes_and_cleared_fields_one_by_one(world: World) -> None:
    world.attributes("plan", "city")
    values = {"name": "Old", "custom_attributes": {"plan": "free", "city": "Rome"}}
    receipt = bury(world, ContactUpsert(email=ANN, set=values, unset=("phone", "owner_id")))
    world.do(ContactUpsert(email=ANN, set={"phone": "+1", "custom_attributes": {"plan": "pro"}}))
    replay(world, receipt)
    assert person(world) == ("Old", "+1")
    assert world.contacts(ANN)[0]["custom_attributes"] == {"plan": "pro", "city": "Rome"}


def test_a_create_writes_what_it_sets_on_insert(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old"))
    world.do(ContactUpsert(email=ANN, set_on_insert={"name": "First"}))
    replay(world, receipt)
    assert person(world)[0] == "First"


def test_consent_that_was_taken_back_since_stays_so(world: World) -> None:
    receipt = bury(world, NewsletterOptIn(email=ANN, name="Ann"))
    world.do(LeadCapture(email=ANN))
    world.do(NewsletterOptOut(email=ANN))
    replay(world, receipt)
    [contact] = world.contacts(ANN)
    assert (contact["unsubscribed_from_emails"], contact["name"]) == (True, "Ann")


def test_consent_as_it_is_is_spoken_now(world: World) -> None:
    long_ago = datetime.fromtimestamp(world.now, UTC) - timedelta(days=3)
    receipt = bury(world, NewsletterOptIn(email=ANN, occurred_at=long_ago))
    world.do(LeadCapture(email=ANN))
    world.do(NewsletterOptOut(email=ANN))
    world.run(5)
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
    receipt = bury(world, LeadCapture(email=ANN, name="Old", phone="+1"))
    world.do(LeadCapture(email=ANN, name="New"))
    refuse_writes(world)
    assert replay(world, receipt) == "rejected"
    assert replay(world, receipt) == "updated"
    assert person(world) == ("New", "+1")


def test_a_replay_that_is_asked_for_twice_comes_back_once(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old"))
    world.kill(world.workers[0].process)
    for _ in range(2):
        assert send_back(world, receipt) in ("accepted", "gone")
    assert world.family("queue") == {receipt.lane: [receipt.id]}


def test_the_record_ends_with_the_last_letter(world: World) -> None:
    receipt = bury(world, LeadCapture(email=ANN, name="Old"))
    world.do(LeadCapture(email=ANN, name="New"))
    assert burials(world)
    replay(world, receipt)
    assert not any(burials(world).values())
