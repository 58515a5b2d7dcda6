"""Who is several contacts: found in the list, confirmed by id, and judged by the end of a duplicate check."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from onelane.results import Outcome
from onelane.workspace import Workspace
from onelane_worker.operate.duplicates import Ask, Finding, Group, ScanFailed, confirm, judged, patient, scan
from onelane_worker.planner import operations as op
from onelane_worker.planner.registry import Facts, Role

ANN = "ann@example.test"
WORKSPACE = Workspace("main", "secret")
PROBLEM = op.Problem("network")


def listed(*people: tuple[str, str, str | None]) -> Ask:
    """Answers the list with these (id, role, address), two on a page."""

    async def ask(operation: op.ReadOperation) -> op.Reply:
        assert isinstance(operation, op.ListPage)
        start = int(operation.after or 0)
        some = people[start : start + 2]
        found = tuple(op.Candidate(id_, _role(role), None, email, None) for id_, role, email in some)
        return op.Listed(found, 0, str(start + 2) if start + 2 < len(people) else None)

    return ask


def by_id(*people: Facts, missing: op.Reply | None = None) -> Ask:
    """Answers reads by id with these facts; else with `missing`."""

    async def ask(operation: op.ReadOperation) -> op.Reply:
        assert isinstance(operation, op.Read)
        found = {one.id: one for one in people}.get(operation.contact_id)
        return op.Found(found) if found else missing or op.Gone()

    return ask


def _role(role: str) -> Role:
    return "user" if role == "user" else "lead"


def facts(id_: str, role: str = "lead", email: str = ANN) -> Facts:
    return Facts(id=id_, role=_role(role), email=email)


def group(*ids: str) -> Group:
    return Group(ANN, WORKSPACE.lane(ANN), ids)


def found_by(ask: Ask, pages: list[int] | None = None) -> list[Group]:
    told = (pages if pages is not None else []).append
    return asyncio.run(scan(ask, WORKSPACE, told))


# ── finding ───────────────────────────────────────────────────────────────────────────────────────────────


def test_every_page_of_the_list_is_read() -> None:
    pages: list[int] = []
    people = [(str(n), "lead", f"p{n}@x.test") for n in range(4)]
    groups = found_by(listed(("a", "lead", ANN), *people, ("b", "user", ANN)), pages)
    assert (groups, pages) == ([group("a", "b")], [2, 2, 2])


def test_addresses_are_compared_as_lanes_are() -> None:
    people = [("a", "lead", ANN), ("b", "user", "Ann@Example.Test"), ("c", "lead", None), ("d", "lead", "no")]
    assert found_by(listed(*people)) == [group("a", "b")]


def test_of_millions_of_contacts_little_is_kept() -> None:
    async def page(operation: op.ReadOperation) -> op.Reply:
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
        note = lambda count: kept.append(tracemalloc.get_traced_memory()[0])  # noqa: E731
        assert asyncio.run(scan(page, WORKSPACE, note)) == []
    finally:
        tracemalloc.stop()
    assert (kept[-1] - kept[0]) / 5_000 < 220  # bytes of a contact; its address alone would take 150


def test_a_list_that_is_not_given_is_an_error() -> None:
    async def ask(operation: op.ReadOperation) -> op.Reply:
        return op.Stopped(op.Problem("unauthorized", 401))

    with pytest.raises(ScanFailed, match="unauthorized 401"):
        found_by(ask)


@pytest.mark.parametrize(
    ("roles", "verdict"),
    [
        (["lead", "user"], "mergeable"),
        (["lead", "lead", "user"], "mergeable"),
        (["lead", "lead"], "leads"),
        (["user", "user", "lead"], "users"),
        (["user"], "single"),
    ],
)
def test_who_can_be_merged(roles: Sequence[str], verdict: str) -> None:
    people = [facts(f"c{n}", role) for n, role in enumerate(roles)]
    found = asyncio.run(confirm(by_id(*people), group(*(one.id for one in people))))
    assert (found.verdict, len(found.contacts)) == (verdict, len(roles))
    assert found.user == (
        next(one.id for one in people if one.role == "user") if roles.count("user") == 1 else None
    )


@pytest.mark.parametrize(
    "ask",
    [
        by_id(facts("a", "user")),  # the other is gone
        by_id(facts("a", "user"), facts("b", email="bob@example.test")),  # has another address by now
        by_id(facts("a", "user"), missing=op.Found(facts("a", "user"))),  # was merged into the user
    ],
    ids=["gone", "moved", "merged"],
)
def test_the_index_alone_is_not_believed(ask: Ask) -> None:
    assert asyncio.run(confirm(ask, group("a", "b"))).verdict == "single"


def test_no_answer_is_no_verdict() -> None:
    found = asyncio.run(confirm(by_id(facts("a"), missing=op.NotSent(PROBLEM)), group("a", "b")))
    assert found.verdict == "unanswered"


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────


class Budget:
    """Gives every call; keeps what it was told of 429s."""

    def __init__(self) -> None:
        self.taken = 0
        self.throttled_s: list[float] = []

    async def take(self) -> float:
        self.taken += 1
        return asyncio.get_running_loop().time() + 1

    async def throttled(self, wait_s: float) -> None:
        self.throttled_s.append(wait_s)


def asked(*replies: op.Reply) -> tuple[op.Reply, Budget]:
    """What is answered at last, and the budget."""
    budget, left = Budget(), list(replies)

    class Intercom:
        async def perform(self, operation: op.Operation, **_: Any) -> op.Reply:
            return left.pop(0)

    ask: Callable[[op.ReadOperation], Any] = patient(Intercom(), budget)  # type: ignore[arg-type]
    return asyncio.run(ask(op.Probe())), budget


def test_a_call_without_an_answer_is_made_again_within_the_budget() -> None:
    reply, budget = asked(op.NotSent(PROBLEM), op.Throttled(2.0, PROBLEM), op.Gone())
    assert (reply, budget.taken, budget.throttled_s) == (op.Gone(), 3, [2.0])


def test_it_gives_up_after_some_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelane_worker.operate.duplicates.PAUSE_S", 0.0)
    reply, budget = asked(*[op.Unknown(PROBLEM)] * 9)
    assert (reply, budget.taken) == (op.Unknown(PROBLEM), 4)


# ── the end of a check ────────────────────────────────────────────────────────────────────────────────────

FOUND = Finding(group("l1", "l2", "u"), "mergeable", "u", (facts("l1"), facts("l2"), facts("u", "user")))


@pytest.mark.parametrize(
    ("outcome", "stopped", "verdict"),
    [
        (Outcome(result="updated", contact_id="u", merged=("l1", "l2")), False, "merged"),
        (Outcome(result="updated", contact_id="u", merged=("l1",), other_contacts=("l2",)), False, "refused"),
        (Outcome(result="unchanged", contact_id="u", merged=("l1",)), False, "merged"),  # an answer was lost
        (Outcome(result="skipped", reason="not_found"), False, "single"),
        (Outcome(result="skipped", reason="later"), False, "unanswered"),
        (Outcome(result="skipped", reason="later", merged=("l1",)), True, "stopped"),
        (None, False, "waiting"),
        (None, True, "stopped"),
    ],
)
def test_what_became_of_them(outcome: Outcome | None, stopped: bool, verdict: str) -> None:
    found = judged(FOUND, outcome, stopped=stopped)
    assert (found.verdict, found.contacts, found.user) == (verdict, FOUND.contacts, "u")
    assert found.merged == (outcome.merged if outcome else ())
