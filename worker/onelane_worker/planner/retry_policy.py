"""What the engine does about a reply: absorb it and go on, or end the attempt, and how.

A reply that answers the question goes to `absorb`; any other (throttled, refused, lost …) ends the attempt:

| reply      | on               | the engine                                                              |
|------------|------------------|-------------------------------------------------------------------------|
| an answer  | any              | Absorb: plan again with what it teaches                                 |
| Unknown    | Create           | Absorb: the journal is pending now, the planner reconciles it           |
| Unknown    | Unarchive        | TryAgain after absorbing it: the third failure means that it cannot be  |
| Unknown    | other writes     | TryAgain when it can no longer commit: all of them may be repeated      |
| Unknown    | reads            | TryAgain                                                                |
| NotSent    | any              | TryAgain: nothing was done. `late` is no attempt, WaitFor: Redis did    |
|            |                  | not renew our lease in time                                             |
| Throttled  | any              | WaitFor: nothing was done and no attempt is counted                     |
| Stopped    | any              | StopTheLine: nothing works until a person acts                          |
| Forbidden  | all but Probe    | ProbeFirst: a dead token opens the breaker; one that works lacks the    |
|            |                  | permission for calls of this sort: Denied. What the workspace's plan    |
|            |                  | does not have (`api_plan_restricted`) concerns this intent: GiveUp      |
| Forbidden  | Probe            | StopTheLine                                                             |
| Refused    | Create, Update   | Blame: some intent of the fold is wrong; one that is alone is rejected  |
| Refused    | Merge            | Absorb: these two cannot be merged, and are reported                    |
| Refused    | other            | GiveUp `refused`                                                        |
| NoResource | Attach           | GiveUp `unknown_subscription_type`                                      |
| NoResource | Detach           | Absorb: what does not exist is not attached                             |
| Conflict   | subscriptions, … | GiveUp `refused`: only identities can clash                             |
| NotRestor… | subscriptions, … | GiveUp `not_restorable`: the contact is blocked                         |
"""

from __future__ import annotations

from typing import Union, assert_never

from msgspec import Struct

from onelane_worker.planner import operations as op


class Absorb(Struct, frozen=True):
    """The reply is an answer: `absorb` it, plan again."""


class TryAgain(Struct, frozen=True):
    """Back off, count the attempt, plan again."""

    problem: op.Problem
    may_commit: bool
    """The write may have committed or may yet: keep its write-ahead record and drop the facts (R2)."""
    absorb: bool = False
    """Absorb the reply first: such failures are counted."""


class WaitFor(Struct, frozen=True):
    """Come back after this many seconds; no attempt is counted and nothing was done."""

    retry_in_s: float
    problem: op.Problem


class StopTheLine(Struct, frozen=True):
    """Every call will fail like this one until a person acts; no attempt is counted."""

    problem: op.Problem


class ProbeFirst(Struct, frozen=True):
    """Ask `Probe`, and give its reply to `after_probe`."""

    problem: op.Problem


class Denied(Struct, frozen=True):
    """The token works but may not make calls of this sort: they stop until a person grants it."""

    problem: op.Problem


class Blame(Struct, frozen=True):
    """The body was refused and nothing written. A fold is tried again head first, one intent at a time;
    an intent that is alone is rejected `refused` (R95)."""

    problem: op.Problem


class GiveUp(Struct, frozen=True):
    """The head can never be applied: a dead letter with this reason."""

    reason: str
    problem: op.Problem


LATE_S = 1.0
"""Pause after a call that came too late for our own lease."""
_ABOUT_IDENTITY = (op.Create, op.Update, op.Unarchive, op.Merge)

Handling = Union[Absorb, TryAgain, WaitFor, StopTheLine, ProbeFirst, Denied, Blame, GiveUp]


def handle(operation: op.Operation, reply: op.Reply) -> Handling:
    """The row of the table above."""
    match reply:
        case op.Unknown(problem=problem):
            return _unknown(operation, problem)
        case op.NotSent(problem=problem) if problem.kind == "late":
            return WaitFor(LATE_S, problem)
        case op.NotSent(problem=problem):
            return TryAgain(problem, may_commit=False)
        case op.Throttled(retry_in_s=seconds, problem=problem):
            return WaitFor(seconds, problem)
        case op.Stopped(problem=problem):
            return StopTheLine(problem)
        case op.Forbidden(problem=problem):
            return StopTheLine(problem) if isinstance(operation, op.Probe) else ProbeFirst(problem)
        case op.Refused(problem=problem):
            return _refused(operation, problem)
        case op.NoResource() if isinstance(operation, op.Attach):
            missing = f"no subscription type {operation.type_id}"
            return GiveUp("unknown_subscription_type", op.Problem("refused", 404, message=missing))
        case op.Conflict() if not isinstance(operation, _ABOUT_IDENTITY):
            return GiveUp("refused", op.Problem("refused", 409, "conflict"))
        case op.NotRestorable(problem=problem) if not isinstance(operation, _ABOUT_IDENTITY):
            return GiveUp("not_restorable", problem)
        case (
            op.Found() | op.Listed() | op.Subscriptions() | op.Types() | op.Done()
            | op.Gone() | op.NoResource() | op.Conflict() | op.NotRestorable()
        ):  # fmt: skip
            return Absorb()
        case _:
            assert_never(reply)


def after_probe(forbidden: op.Problem, reply: op.Reply) -> Handling:
    """If the token works, only calls of this sort are forbidden; else the probe's reply decides."""
    if not isinstance(reply, op.Done):
        return handle(op.Probe(), reply)
    missing_in_plan = forbidden.code == "api_plan_restricted"
    return GiveUp("forbidden", forbidden) if missing_in_plan else Denied(forbidden)


def _unknown(operation: op.Operation, problem: op.Problem) -> Handling:
    match operation:
        case op.Create():
            return Absorb()
        case op.Unarchive():
            return TryAgain(problem, may_commit=True, absorb=True)
        case _:
            return TryAgain(problem, may_commit=op.is_write(operation))


def _refused(operation: op.Operation, problem: op.Problem) -> Handling:
    match operation:
        case op.Create() | op.Update():
            return Blame(problem)
        case op.Merge():
            return Absorb()
        case _:
            return GiveUp("refused", problem)
