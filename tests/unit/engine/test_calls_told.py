"""What an outcome tells of the cost: the calls and merges of all attempts, not of the last one only."""

from __future__ import annotations

import pytest
from tests.world.world import World

from onelane import ContactSync, LeadCapture, NewsletterOptIn, ProductSignUp
from onelane_worker.planner import operations as op

from .dead_letters import REFUSED

ANN = "ann@example.test"


def test_every_attempt_counts(world: World) -> None:
    world.fault("intercom", op.Create, "throttled")
    assert world.do(LeadCapture(email=ANN)).calls == 4
    assert world.calls() == ["Search", "Create", "Search", "Create"]


def test_the_next_intent_begins_anew(world: World) -> None:
    world.fault("intercom", op.Create, "throttled")
    world.do(LeadCapture(email=ANN))
    assert world.do(LeadCapture(email=ANN, name="Ann")).calls == 1


def test_what_was_never_sent_is_no_call(world: World) -> None:
    world.fault("intercom", op.Create, "not_sent")
    assert world.do(LeadCapture(email=ANN)).calls == 3


def test_a_dead_letter_tells_them_all(world: World) -> None:
    world.fault("intercom", op.Create, "throttled")
    world.answer(op.Create, REFUSED)
    outcome = world.do(LeadCapture(email=ANN))
    assert (outcome.result, outcome.calls) == ("rejected", 4)


def test_a_refused_fold_is_told_to_its_first(world: World) -> None:
    receipts = world.enqueue(
        LeadCapture(email=ANN, name="Ann"), LeadCapture(email=ANN, custom_attributes={"unknown": 1})
    )
    outcomes = [world.ended(receipt) for receipt in receipts]
    assert [(each.result, each.calls) for each in outcomes] == [("created", 4), ("rejected", 1)]
    assert world.calls() == ["Search", "Create", "Search", "Create", "Update"]


def test_a_superseded_one_tells_what_it_had_cost(world: World) -> None:
    world.fault("intercom", op.Create, "throttled")
    [receipt] = world.enqueue(ContactSync(email=ANN, external_id="u-1", source="crm", version=1))
    world.until(lambda: world.seen.events)
    asked = len(world.calls())
    key = world.workspace.keys.key("ext", world.workspace.external_id("u-1"))
    world.redis.execute("HSET", key, "v:crm", f"2 x {int(world.now * 1000)}")
    outcome = world.ended(receipt)
    assert (outcome.result, outcome.calls, world.calls()) == ("superseded", asked, [])


@pytest.mark.parametrize(("dies_at", "calls"), [(op.Create, 4), (op.Update, 3)])
def test_an_engine_that_dies_counts_up_to_its_last_write(world: World, dies_at: type, calls: int) -> None:
    """Its reads after that are forgotten with it."""
    if dies_at is op.Update:
        world.seed(role="user", email=ANN, external_id="u-1")
    world.fault("intercom", dies_at, "dropped_and_crash")
    [receipt] = world.enqueue(ContactSync(email=ANN, external_id="u-1", name="Ann"))
    world.after_death()
    outcome = world.ended(receipt)
    assert outcome.calls == len(world.calls())
    assert outcome.calls >= calls


def test_a_merge_of_an_earlier_attempt_is_told(world: World) -> None:
    """The merge leaves the user with a value that has to be written again, and that write is put back."""
    lead = world.do(LeadCapture(email=ANN, name="Ann"))
    user = world.seed(role="user", email=ANN, external_id="u-1")
    world.catch_up()
    world.when(op.Merge, lambda: world.fault("intercom", op.Update, "throttled"))
    world.calls()
    outcome = world.do(ProductSignUp(email=ANN, external_id="u-1", name="Zoe"))
    calls = world.calls()
    assert "Merge" in calls
    assert (outcome.contact_id, outcome.merged) == (user["id"], (lead.contact_id,))
    assert outcome.calls == len(calls)


def test_an_opt_in_put_back_between_its_subscriptions(world: World) -> None:
    world.fault("intercom", op.Attach, "throttled")
    outcome = world.do(NewsletterOptIn(email=ANN, subscription_types=("102",)))
    calls = [name for name in world.calls() if name != "ListTypes"]  # one list serves all intents
    assert (outcome.result, outcome.calls) == ("created", len(calls))
