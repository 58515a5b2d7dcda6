"""One chaos run, from the first intent to the verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from redis.exceptions import RedisError
from tests.checker.checker import check
from tests.checker.history import Declared
from tests.checker.report import Report

from .events import Toll, Tormentor
from .evidence import dump
from .fleet import FOR_EVER, Fleet
from .ledger import Ledger, read
from .scale import Scale, Windows

TICK_S = 0.05
HOLDS, BROKEN = "The promise holds", "BROKEN"
TOO_BUSY = "not proven: machine too busy"
NOTHING_TO_JUDGE = "not proven: no lane to judge after a kill"


@dataclass(frozen=True, slots=True)
class Options:
    """How to run."""

    scale: Scale
    seed: int
    appendfsync: str = "always"
    trusted: bool | None = None
    """Whether the workers are told that Redis loses nothing; None: half of the seeds tell them what is so."""
    hold: bool = True
    """Whether they hold after a failover."""

    @property
    def durable(self) -> bool:
        """REDIS_DURABLE."""
        return self.appendfsync == "always" and self.seed % 2 == 0 if self.trusted is None else self.trusted

    @property
    def settings(self) -> dict[str, object]:
        """Of the workers."""
        return {"REDIS_DURABLE": self.durable, **({} if self.hold else {"FAILOVER_HOLD_S": 0})}

    @property
    def hold_s(self) -> float:
        """How long nothing is granted after Redis came back."""
        return self.scale.windows.hold_s if self.hold and not self.durable else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """Everything a run tells."""

    options: Options
    report: Report
    toll: Toll
    drained: bool
    unsent: int
    faults: Counter[str]
    seconds: float
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The sandbox's log."""

    @property
    def ok(self) -> bool:
        """Everything held, and was there to be seen."""
        return self.kept and not self.unproven

    @property
    def kept(self) -> bool:
        """Nothing was broken, as far as could be seen, and all that was planned was done."""
        as_planned = self.toll.done == Counter(self.options.scale.events) and not self.toll.troubles
        on_time = not any(one.late for one in self.toll.recoveries)
        return self.report.ok and self.drained and on_time and as_planned and not self.unsent

    @property
    def unproven(self) -> str:
        """Why the recoveries prove too little; empty if they prove what they should."""
        if any(one.too_busy for one in self.toll.recoveries):
            return TOO_BUSY
        judged: Counter[str] = Counter()
        for one in self.toll.recoveries:
            judged[one.event if self.options.scale.judges_each_kill else "any kill"] += one.judged
        return "" if judged and all(judged.values()) else NOTHING_TO_JUDGE

    @property
    def verdict(self) -> str:
        """In one word, or nearly so."""
        return self.unproven or HOLDS if self.kept else BROKEN

    def count(self, kind: str) -> int:
        return len(self.report.of(kind))

    @property
    def latest_s(self) -> float:
        """By how much the latest judged lane was late, less what our processes waited for a processor.
        Negative: the least time that any had to spare."""
        return max((one.late_s for one in self.toll.recoveries), default=-inf)

    @property
    def latest_raw_s(self) -> float:
        """Of any lane, judged or not proven, with nothing taken off."""
        return max((max(one.raw_late_s, one.unproven_late_s) for one in self.toll.recoveries), default=-inf)

    @property
    def lanes_unproven(self) -> int:
        """Lanes that were late, and it cannot be said whether by our doing or by the machine's."""
        return sum(one.unproven for one in self.toll.recoveries)


def run(options: Options, folder: Path, progress: Callable[[str], None]) -> Result:
    """Start everything, torment it, let it come to rest, judge it. `folder` keeps logs and evidence."""
    began = time.monotonic()
    with Fleet(options.scale, options.seed, folder, options.appendfsync, options.settings) as fleet:
        fleet.let_faults_loose()
        fleet.let_producers_go_to(_schedule(options)[0][0])
        fleet.enqueue()
        tormentor = Tormentor(fleet, options.seed, options.hold_s)
        _torment(fleet, tormentor, options, progress)
        fleet.calm_down()
        drained = _drain(fleet, tormentor, progress)
        progress("judging")
        ledger = read(fleet)
        contacts, requests = fleet.control.contacts(), _requests_at_rest(fleet)
        declared = _declared(ledger, tormentor.toll, options.scale.windows)
        report = check(ledger.accepted, contacts, requests, declared)
    dump(folder / "evidence.json", ledger.accepted, contacts, requests, declared)
    faults, seconds = _faults(fleet, tormentor.toll, requests), time.monotonic() - began
    return Result(options, report, tormentor.toll, drained, ledger.unsent, faults, seconds, requests)


def _faults(fleet: Fleet, toll: Toll, requests: list[dict[str, Any]]) -> Counter[str]:
    """What the system met, as the sandbox's log and the proxies counted it."""
    faults = Counter(f"sandbox: {one['fault']}" for one in requests if one["fault"])
    proxies = {"Redis": fleet.lanes_proxy, "broker": fleet.broker_proxy, "Intercom": fleet.intercom_proxy}
    for name, proxy in proxies.items():
        faults[f"{name}: replies lost"] = proxy.dropped
        faults[f"{name}: connections cut"] = proxy.cuts
    faults["broker: wake-ups deleted"] = toll.wakes_deleted
    faults["broker: wake-ups doubled"] = toll.wakes_doubled
    return faults


def _schedule(options: Options) -> list[tuple[float, str]]:
    """When (seconds after the start) what happens: spread over the whole time, in an order by chance."""
    dice = Random(f"schedule {options.seed}")
    names = [name for name, count in options.scale.events.items() for _ in range(count)]
    dice.shuffle(names)
    step = options.scale.duration_s / (len(names) + 1)
    return [((place + dice.uniform(0.5, 1.5)) * step, name) for place, name in enumerate(names)]


def _torment(fleet: Fleet, tormentor: Tormentor, options: Options, progress: Callable[[str], None]) -> None:
    schedule = _schedule(options)
    while schedule or any(producer.running for producer in fleet.producers):
        if schedule and time.time() - fleet.began >= schedule[0][0]:
            _, event = schedule.pop(0)
            fleet.let_producers_go_to(schedule[0][0] if schedule else FOR_EVER)
            progress(f"{_standing(fleet)}, {len(schedule)} events to come: {event}")
            tormentor.do(event)
        tormentor.look_after()
        progress(f"{_standing(fleet)}, {len(schedule)} events to come")
        time.sleep(TICK_S)


def _standing(fleet: Fleet) -> str:
    at_work = sum(producer.running for producer in fleet.producers)
    try:
        return f"{time.time() - fleet.began:5.1f} s: {fleet.pending()} waiting, {at_work} producers at work"
    except RedisError as error:
        return f"{time.time() - fleet.began:5.1f} s: Redis is away ({type(error).__name__})"


def _drain(fleet: Fleet, tormentor: Tormentor, progress: Callable[[str], None]) -> bool:
    """Wait until every accepted intent has ended; whether that came to pass."""
    until = time.monotonic() + fleet.scale.drain_s
    while fleet.pending():
        if time.monotonic() > until:
            return False
        tormentor.look_after()
        progress(f"{_standing(fleet)}, draining")
        time.sleep(TICK_S)
    return True


def _requests_at_rest(fleet: Fleet) -> list[dict[str, Any]]:
    """The request log, once nothing is under way any more."""
    until = time.monotonic() + fleet.scale.windows.hold_s + 5
    while True:
        requests = fleet.control.requests()
        if all(one["duration_ms"] is not None for one in requests) or time.monotonic() > until:
            return requests
        time.sleep(TICK_S)


def _declared(ledger: Ledger, toll: Toll, windows: Windows) -> Declared:
    return Declared(
        poison=ledger.poison,
        frozen=tuple(toll.frozen),
        frozen_slack_s=windows.http_timeout_s,  # a late write, too, needs its time on a busy machine
        commit_window_s=windows.http_timeout_s + windows.write_tail_s,
        rollbacks=tuple(toll.rollbacks),
        rollback_slack_s=30 + windows.hold_s + windows.settle_window_s,
    )
