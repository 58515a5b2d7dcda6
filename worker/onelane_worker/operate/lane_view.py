"""One lane as it stands: what waits in it and why, what is known of the person, what happened.

Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, cast

from onelane import records
from onelane.keys import READY_CLASSES, ReadyClass
from onelane.results import Status
from onelane_worker.operate.open_workspace import OpenWorkspace, fields, ms_of, text_of, texts

Why = Literal[
    "asleep", "check", "leased", "cut_off", "ready", "due", "held", "blocked_by_external_id",
    "blocked_by_lane", "retrying", "reconciling", "parked", "newer", "stranded",
]  # fmt: skip
"""Where a lane stands, and what for.

asleep: nothing waits · check: nothing waits, but it owes a settle check · leased: an engine serves it ·
cut_off: its lease has run out, and the timer takes it back · ready: it waits for a free engine · due: its
time has come just now · held: a write of unknown result may still commit · blocked_by_external_id: another
lane has locked the external id · blocked_by_lane: a change of address waits for the other lane's turn ·
retrying, reconciling, parked: put back until a time to come · newer: its head is of a form that only a newer
worker can read · stranded: its time came long ago, and no
engine's timer moved it"""
STRANDED_AFTER_MS: Final = 30_000
"""The timers of living engines move a due lane within a second or two."""
SHOWN: Final = 20
"""Waiting intents that are read one by one; of the rest the number is told."""
MARKER: Final = "~"
_PUT_BACK: Final = ("retrying", "reconciling", "parked")
LANE_FIELDS: Final = ("token", "until", "commit", "waits", "journal")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one lane stands."""

    why: Why
    until_ms: int | None = None
    """When that ends, or ended, if it is known."""
    blocked_by: str | None = None
    """The lane that it waits for."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An intent in its lane; or the place that a change of address keeps in the lane of the new address."""

    status: Status
    is_marker: bool = False


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane as it stands. JSON is as the lane keeps it."""

    lane: str
    now_ms: int
    standing: Standing
    waiting: int
    intents: tuple[Waiting, ...]
    """The first of those that wait."""
    head_payload: str | None
    """The head; it names a person."""
    ready: ReadyClass | None
    due_ms: int | None
    fence: int | None
    lease_until_ms: int | None
    """None: no engine holds it."""
    clean: bool
    """Its last holder settled cleanly: facts of the registry may be used to skip a write."""
    open_write: str | None
    commit_until_ms: int | None
    journal: str | None
    check_ms: int | None
    """When it owes a settle check."""
    registry: str | None
    consent: str | None
    timeline: tuple[str, ...]
    """Events, oldest first."""

    @property
    def known(self) -> bool:
        """Whether there is anything at all to be told of it."""
        return bool(
            self.waiting or self.registry or self.consent or self.timeline or self.check_ms or not self.clean
        )


async def lane_of(opened: OpenWorkspace, given: str) -> str:
    """The lane that an id means: that of its intent, or itself."""
    [lane] = await opened.read(("HGET", opened.keys.key("intent", given), "lane"))
    return text_of(lane) or given


async def describe(opened: OpenWorkspace, lane: str, *, stopped: bool) -> LaneView:
    """The lane as it stands; it may move between the round trips. Raises redis-py's errors.

    `stopped`: nothing is granted just now.
    """
    key = opened.keys.key
    moment, stored, waiting, elements, due, registry, consent, events, *ranks = await opened.read(
        ("TIME",),
        ("HGETALL", key("lane", lane)),
        ("LLEN", key("queue", lane)),
        ("LRANGE", key("queue", lane), 0, SHOWN - 1),
        ("ZSCORE", key("due"), lane),
        ("GET", key("registry", lane)),
        ("GET", key("consent", lane)),
        ("LRANGE", key("timeline", lane), 0, -1),
        *(("ZSCORE", key("ready", one), lane) for one in READY_CLASSES),
    )
    found, now_ms = fields(stored), ms_of(moment)
    intents, payload = await _intents(opened, [one or "" for one in texts(elements)])
    due_ms = None if due is None else int(float(due))
    ready = next((name for name, rank in zip(READY_CLASSES, ranks, strict=True) if rank is not None), None)
    stands = standing(
        {name: found.get(name) for name in LANE_FIELDS},
        waiting=int(waiting),
        state=intents[0].status.state if intents else "waiting",
        ready=ready is not None,
        due_ms=due_ms,
        now_ms=now_ms,
        stopped=stopped,
    )
    return LaneView(
        lane=lane,
        now_ms=now_ms,
        standing=(await with_blockers(opened, [(stands, found.get("waits"))]))[0],
        waiting=int(waiting),
        intents=intents,
        head_payload=payload,
        ready=ready,
        due_ms=due_ms,
        fence=int(found["fence"]) if "fence" in found else None,
        lease_until_ms=int(found["until"]) if "token" in found else None,
        clean="dirty" not in found,
        open_write=found.get("open"),
        commit_until_ms=int(found["commit"]) if "commit" in found else None,
        journal=found.get("journal"),
        check_ms=int(found["check_at"]) if "check_at" in found else None,
        registry=text_of(registry),
        consent=text_of(consent),
        timeline=tuple(one for one in texts(events) if one),
    )


async def _intents(opened: OpenWorkspace, elements: Sequence[str]) -> tuple[tuple[Waiting, ...], str | None]:
    """The intents of the queue's elements, and the payload of the head."""
    found = await opened.read(
        *(("HGETALL", opened.keys.key("intent", one.removeprefix(MARKER))) for one in elements)
    )
    waiting, payload = [], None
    for n, (element, stored) in enumerate(zip(elements, found, strict=True)):
        record = fields(stored)
        status = records.status_of(element.removeprefix(MARKER), record)
        if status is None or status.finished_at is not None:  # it has ended between the two steps
            continue
        waiting.append(Waiting(status, is_marker=element.startswith(MARKER)))
        payload = record.get("payload") if n == 0 else payload
    return tuple(waiting), payload


def standing(
    lane: Mapping[str, str | None],
    *,
    waiting: int,
    state: str,
    ready: bool,
    due_ms: int | None,
    now_ms: int,
    stopped: bool,
) -> Standing:
    """Where a lane stands. `lane`: its `LANE_FIELDS`; `state`: that of its head.

    `stopped`: nothing is granted just now, so nobody moves lanes whose time has come.
    """
    if lane["token"] is not None:
        until_ms = int(lane["until"] or 0)
        return Standing("leased", until_ms) if until_ms > now_ms else Standing("cut_off", due_ms)
    if not waiting:
        return Standing("asleep") if due_ms is None else Standing("check", due_ms)
    if ready:
        return Standing("ready")
    commit_ms = int(lane["commit"] or 0)
    if commit_ms > now_ms:
        return Standing("held", commit_ms)
    if due_ms is not None and due_ms < now_ms - STRANDED_AFTER_MS and not stopped:
        return Standing("stranded", due_ms)
    if lane["waits"] is not None:
        by_id = lane["waits"].startswith("x:")
        return Standing("blocked_by_external_id" if by_id else "blocked_by_lane")
    if due_ms is not None and due_ms > now_ms:
        return Standing(cast(Why, state) if state in _PUT_BACK else "newer", due_ms)
    return Standing("due", due_ms)


async def with_blockers(
    opened: OpenWorkspace, found: Sequence[tuple[Standing, str | None]]
) -> list[Standing]:
    """Where lanes stand, with the lanes that they wait for. Each comes with the field `waits` of its lane."""
    names = [_blocked_by(stands, waits) for stands, waits in found]
    ids = [name for how, name in names if how == "x"]
    holders = await opened.read(*(("HGET", opened.keys.key("ext", id_), "lane") for id_ in ids))
    by_id = dict(zip(ids, texts(holders), strict=True))
    return [
        replace(stands, blocked_by=by_id.get(name, name)) if how else stands
        for (stands, _), (how, name) in zip(found, names, strict=True)
    ]


def _blocked_by(stands: Standing, waits: str | None) -> tuple[str, str]:
    """`x` and the digest of an external id, or `l` and a lane; empty for a lane that is not blocked."""
    if waits is None or not stands.why.startswith("blocked"):
        return "", ""
    how, _, name = waits.partition(":")
    return how, name
