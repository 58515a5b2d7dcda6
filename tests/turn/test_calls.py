"""What an outcome tells of the cost: the calls and merges of all attempts, not of the last one only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from onelane import ContactSync, LeadCapture, NewsletterOptIn, Outcome, ProductSignUp, Receipt, keyspace
from onelane_worker.planner import operations as op

from .world import World

ANN = "ann@example.test"
THROTTLED = op.Throttled(0.01, op.Problem("rate_limited", 429))
REFUSED = op.Refused(op.Problem("refused", 400, "parameter_invalid"))
NOT_SENT = op.NotSent(op.Problem("network"))


def once(kind: type, reply: op.Reply) -> Callable[[op.Operation], op.Reply | None]:
    left = [reply]
    return lambda operation: left.pop() if left and isinstance(operation, kind) else None


def ended(world: World, *receipts: Receipt) -> list[Outcome]:
    world.run_until(lambda: all(world.outcome(receipt) for receipt in receipts))
    return [outcome for receipt in receipts if (outcome := world.outcome(receipt))]


def test_every_attempt_counts(world: World) -> None:
    world.gateway.before = once(op.Create, THROTTLED)
    assert world.do(LeadCapture(email=ANN)).calls == 4
    assert world.calls() == ["Search", "Create", "Search", "Create"]


def test_the_next_intent_begins_anew(world: World) -> None:
    world.gateway.before = once(op.Create, THROTTLED)
    world.do(LeadCapture(email=ANN))
    assert world.do(LeadCapture(email=ANN, name="Ann")).calls == 1


def test_what_was_never_sent_is_no_call(world: World) -> None:
    world.gateway.before = once(op.Create, NOT_SENT)
    assert world.do(LeadCapture(email=ANN)).calls == 3


def test_nor_is_what_our_own_budget_held_back(world: World) -> None:
    waits = [None, 0.01]  # the second call has to wait

    world.limiter.acquire = lambda max_wait_s=0.0: waits.pop(0) if waits else None  # type: ignore[method-assign]
    assert world.do(LeadCapture(email=ANN)).calls == 3
    assert world.calls() == ["Search", "Search", "Create"]


def test_a_dead_letter_tells_them_all(world: World) -> None:
    replies: list[op.Reply] = [THROTTLED, REFUSED]
    world.gateway.before = lambda operation: replies.pop(0) if isinstance(operation, op.Create) else None
    outcome = world.do(LeadCapture(email=ANN))
    assert (outcome.result, outcome.calls) == ("rejected", 4)


def test_a_refused_fold_is_told_to_its_first(world: World) -> None:
    receipts = world.enqueue(
        LeadCapture(email=ANN, name="Ann"), LeadCapture(email=ANN, custom_attributes={"unknown": 1})
    )
    outcomes = ended(world, *receipts)
    assert [(each.result, each.calls) for each in outcomes] == [("created", 4), ("rejected", 1)]
    assert world.calls() == ["Search", "Create", "Search", "Create", "Update"]


def test_a_superseded_one_tells_what_it_had_cost(world: World) -> None:
    world.gateway.before = once(op.Create, THROTTLED)
    [receipt] = world.enqueue(ContactSync(email=ANN, external_id="u-1", source="crm", version=1))
    world.run()
    asked = len(world.calls())
    newer = '{"crm": {"number": 2, "by": "x", "at_ms": 1125899906842624}}'
    world.redis.hset(keyspace.external_id("u-1"), "versions", newer)
    [outcome] = ended(world, receipt)
    assert (outcome.result, outcome.calls, world.calls()) == ("superseded", asked, [])


@pytest.mark.parametrize(("dies_at", "calls"), [(op.Create, 4), (op.Update, 3)])
def test_a_worker_that_dies_counts_up_to_its_last_write(world: World, dies_at: type, calls: int) -> None:
    """Its reads after that are forgotten with it."""
    if dies_at is op.Update:
        world.seed(role="user", email=ANN, external_id="u-1")
    left = [None]

    def die(operation: op.Operation) -> Any:
        if isinstance(operation, dies_at) and left:
            left.pop()
            raise KeyboardInterrupt

    world.gateway.before = die
    [receipt] = world.enqueue(ContactSync(email=ANN, external_id="u-1", name="Ann"))
    with pytest.raises(KeyboardInterrupt):
        world.run()
    key = keyspace.lane(receipt.lane)
    world.redis.hset(key, mapping={"until": 1, "commit": 1})
    world.redis.zadd(keyspace.due(receipt.lane[0]), {receipt.lane: 1})
    [outcome] = ended(world, receipt)
    assert outcome.calls == len(world.calls())
    assert outcome.calls >= calls


def test_a_merge_of_an_earlier_attempt_is_told(world: World) -> None:
    """The merge leaves the user with a value that has to be written again, and that write is put back."""
    lead = world.do(LeadCapture(email=ANN, name="Ann"))
    user = world.seed(role="user", email=ANN, external_id="u-1")
    world.sandbox.catch_up()

    def renamed(operation: op.Operation, reply: op.Reply) -> op.Reply:
        if not isinstance(operation, op.Merge) or not isinstance(reply, op.Found):
            return reply
        world.gateway.before = once(op.Update, THROTTLED)
        fields = {**reply.facts.fields, "name": "Ann"}
        return op.Found(reply.facts.model_copy(update={"fields": fields}))

    world.gateway.after = renamed
    world.calls()
    outcome = world.do(ProductSignUp(email=ANN, external_id="u-1", name="Zoe"))
    calls = world.calls()
    assert calls[calls.index("Merge") + 1 :].count("Update") == 2
    assert (outcome.contact_id, outcome.merged) == (user["id"], (lead.contact_id,))
    assert outcome.calls == len(calls)


def test_an_opt_in_put_back_between_its_subscriptions(world: World) -> None:
    world.gateway.before = once(op.Attach, THROTTLED)
    outcome = world.do(NewsletterOptIn(email=ANN, subscription_types=("102",)))
    calls = [name for name in world.calls() if name != "ListTypes"]  # one list serves all intents
    assert (outcome.result, outcome.calls) == ("created", len(calls))
