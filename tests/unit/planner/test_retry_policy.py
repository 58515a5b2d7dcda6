"""Which reply ends an attempt, and how: one row, one case."""

from __future__ import annotations

from typing import Any

import pytest

from onelane_worker.planner import operations as op
from onelane_worker.planner.registry import Facts
from onelane_worker.planner.retry_policy import (
    LATE_S,
    Absorb,
    Blame,
    Denied,
    GiveUp,
    ProbeFirst,
    StopTheLine,
    TryAgain,
    WaitFor,
    after_probe,
    handle,
)

p = op.Problem("any")
READS = (
    op.Search(("a@example.test",)),
    op.FindByExternalId("u-1"),
    op.Read("c1"),
    op.ListSubscriptions("c1"),
    op.ListTypes(),
    op.Probe(),
)
CREATE, UPDATE, UNARCHIVE, MERGE = op.Create({}), op.Update("c1", {}), op.Unarchive("c1"), op.Merge("l", "u")
ATTACH, DETACH = op.Attach("c1", "7", "opt_in"), op.Detach("c1", "7")
WRITES = (CREATE, UPDATE, UNARCHIVE, op.Archive("c1"), MERGE, op.Delete("c1"), ATTACH, DETACH)
EVERY = READS + WRITES


def ids(operation: Any) -> str:
    return type(operation).__name__


@pytest.mark.parametrize("operation", EVERY, ids=ids)
class TestEveryOperation:
    def test_nothing_was_done(self, operation: Any) -> None:
        assert handle(operation, op.NotSent(p)) == TryAgain(p, may_commit=False)
        assert handle(operation, op.Throttled(7.5, p)) == WaitFor(7.5, p)
        late = op.Problem("late")  # Redis did not renew the lease: that is no attempt
        assert handle(operation, op.NotSent(late)) == WaitFor(LATE_S, late)
        assert handle(operation, op.Stopped(p)) == StopTheLine(p)

    def test_forbidden_is_probed_unless_it_is_the_probe(self, operation: Any) -> None:
        probes = isinstance(operation, op.Probe)
        assert handle(operation, op.Forbidden(p)) == (StopTheLine(p) if probes else ProbeFirst(p))

    def test_an_answer_is_learnt(self, operation: Any) -> None:
        for answer in (op.Found(Facts(id="c1", role="lead")), op.Listed((), 0), op.Done(), op.Gone()):
            assert handle(operation, answer) == Absorb()


@pytest.mark.parametrize("operation", READS, ids=ids)
def test_an_unknown_read_did_no_harm(operation: Any) -> None:
    assert handle(operation, op.Unknown(p)) == TryAgain(p, may_commit=False)


@pytest.mark.parametrize(
    ("operation", "handling"),
    [
        (CREATE, Absorb()),
        (UPDATE, TryAgain(p, may_commit=True)),
        (UNARCHIVE, TryAgain(p, may_commit=True, absorb=True)),
        (op.Archive("c1"), TryAgain(p, may_commit=True)),
        (MERGE, TryAgain(p, may_commit=True)),
        (op.Delete("c1"), TryAgain(p, may_commit=True)),
        (ATTACH, TryAgain(p, may_commit=True)),
        (DETACH, TryAgain(p, may_commit=True)),
    ],
    ids=ids,
)
def test_an_unknown_write_may_still_commit(operation: Any, handling: Any) -> None:
    assert handle(operation, op.Unknown(p)) == handling


@pytest.mark.parametrize(
    ("operation", "handling"),
    [
        (CREATE, Blame(p)),
        (UPDATE, Blame(p)),
        (MERGE, Absorb()),
        (ATTACH, GiveUp("refused", p)),
        (UNARCHIVE, GiveUp("refused", p)),
        (READS[0], GiveUp("refused", p)),
    ],
    ids=ids,
)
def test_R95_refused(operation: Any, handling: Any) -> None:
    assert handle(operation, op.Refused(p)) == handling


def test_a_subscription_type_that_is_no_more() -> None:
    gone = handle(ATTACH, op.NoResource())
    assert isinstance(gone, GiveUp)
    assert gone.reason == "unknown_subscription_type"
    assert handle(DETACH, op.NoResource()) == Absorb()


@pytest.mark.parametrize("operation", EVERY, ids=ids)
def test_only_identities_clash(operation: Any) -> None:
    about_identity = operation in (CREATE, UPDATE, UNARCHIVE, MERGE)
    assert isinstance(handle(operation, op.Conflict("c2", False)), Absorb if about_identity else GiveUp)
    blocked = handle(operation, op.NotRestorable("blocked", p))
    assert blocked == (Absorb() if about_identity else GiveUp("not_restorable", p))


@pytest.mark.parametrize(
    ("reply", "handling"),
    [
        (op.Done(), Denied(p)),
        (op.Stopped(p), StopTheLine(p)),
        (op.Forbidden(p), StopTheLine(p)),
        (op.Unknown(p), TryAgain(p, may_commit=False)),
        (op.Throttled(3, p), WaitFor(3, p)),
    ],
)
def test_what_the_probe_says(reply: Any, handling: Any) -> None:
    assert after_probe(p, reply) == handling


def test_what_the_plan_does_not_have_concerns_the_intent_that_wants_it() -> None:
    restricted = op.Problem("forbidden", 403, "api_plan_restricted")
    assert after_probe(restricted, op.Done()) == GiveUp("forbidden", restricted)
