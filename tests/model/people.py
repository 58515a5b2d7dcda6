"""Producers, operators, the broker, and what happens to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onelane_worker.lanes.types import LaneError

from .attempt import Wish
from .faults import BEGIN_MS, Crash
from .judge import elements
from .scripts import Scripts
from .world import Steps

if TYPE_CHECKING:
    from .history import History


class Broker:
    """Carries wake-ups: anonymous, perhaps lost, doubled or late."""

    def __init__(self, history: History) -> None:
        self._h = history
        self.under_way = 0
        self.doubled = 0
        self.sent_at = BEGIN_MS

    def send(self) -> None:
        """One wake-up."""
        history = self._h
        self.sent_at = history.now
        if history.strikes("wake_lost", 0.08):
            return
        copies = 2 if history.strikes("wake_doubled", 0.06) else 1
        self.doubled += copies - 1
        for _ in range(copies):
            self.under_way += 1
            late = history.strikes("wake_late", 0.06)
            delay = (
                history.between(5_000, 60_000) if late else history.between(0, history.suite.wake_delay_ms)
            )
            history.start(self._deliver(delay))
        healed = int((history.now - BEGIN_MS) / 1_000) + 1
        if self.under_way > history.settings.wake_max + self.doubled + healed:
            history.violation("too many wake-ups", self.under_way)

    def _deliver(self, delay: float) -> Steps[None]:
        history = self._h
        yield delay
        while not history.engines:
            yield 500.0
        self.under_way -= 1
        engine = history.random.choice(history.engines)
        engine.wakes += 1
        history.poke(engine)


def drawn_wishes(history: History) -> list[tuple[int, bool, Wish]]:
    """Address, bulk, wish; in the order of acceptance."""
    suite, random = history.suite, history.random
    exts = ["e0"] if suite.mix in ("all", "crowd") or random.random() < 0.6 else ["e0", "e1"]
    drawn = []
    for number in range(suite.intents):
        address = random.randrange(suite.lanes)
        bulk = random.random() < (0.8 if suite.mix == "bulk" else 0.4)
        wish, chance = Wish("set", random.randint(1, 2)), random.random()
        if suite.mix == "crowd" or (suite.mix in ("ext", "all") and chance < 0.45):
            version = number if random.random() < 0.7 else None
            wish = wish._replace(kind="ext", external_id=random.choice(exts), version=version)
        elif suite.mix in ("change", "all") and chance < 0.75 and suite.lanes > 1:
            target = random.choice([other for other in range(suite.lanes) if other != address])
            wish, bulk = wish._replace(kind="change", target=target), False
        elif suite.mix in ("erase", "all") and chance > 0.9:
            wish = wish._replace(kind="erase")
        if suite.upgrade and random.random() < 0.3:
            wish = wish._replace(schema=2)
        drawn.append((address, bulk, wish))
    return drawn


def producer(history: History, number: int, address: int, bulk: bool, wish: Wish) -> Steps[None]:
    """Submits one intent; the reply may be lost, a copy may come late, the process may die."""
    id = f"i{number}"
    history.submitted += 1
    if number < history.suite.poison:
        history.poison[id] = "write" if history.suite.poison_writes else "grant"
    if history.suite.rejecting and bulk and history.random.random() < 0.9:
        history.alike.add(id)
    elif wish.kind != "erase" and history.random.random() < 0.12:
        history.rejected.add(id)
    dedupe = f"d{address}" if wish.kind == "set" and history.random.random() < 0.1 else ""
    secret = history.open_workspace()
    try:
        yield from history.hop(None)
        wake = _submit(history, secret, id, address, bulk, wish, dedupe)
        if wish.target >= 0 and not history.rules.marker_with_change:
            yield history.between(1, 300)
            history.scripts.append_marker(id)
        if history.strikes("lost_reply", 0.05):
            yield history.random.choice((50.0, 2_000.0, history.between(5_000, 70_000)))
            wake = _submit(history, secret, id, address, bulk, wish, dedupe)
        if history.strikes("late_copy", 0.05):
            history.later(
                history.between(500, 70_000),
                lambda: _submit(history, secret, id, address, bulk, wish, dedupe),
            )
        yield from history.hop(None)
        if wake:
            history.broker.send()
    except Crash:
        history.log("the producer dies")
    finally:
        history.people -= 1
    if history.engines and history.strikes("stop", 0.1):
        history.stop(history.random.choice(history.engines))


def _submit(
    history: History, secret: str, id: str, address: int, bulk: bool, wish: Wish, dedupe: str
) -> bool:
    """Returns whether a wake-up is to be sent."""
    known = id in history.scripts.state.intents
    answer = history.execute(
        secret,
        history.settings,
        "submit",
        (id, f"{address}@{secret}"),
        {
            "bulk": bulk,
            "kind": wish.kind,
            "payload": wish,
            "schema": wish.schema,
            "content": f"{wish.kind} {wish.value}",
            "dedupe": dedupe,
            "ext": f"{wish.external_id}@{secret}" if wish.external_id else "",
            "target": f"{wish.target}@{secret}" if wish.target >= 0 else "",
            "erases": wish.kind == "erase",
            "wake_max": history.settings.wake_max,
        },
    )
    if isinstance(answer, LaneError):  # Redis was emptied meanwhile
        history.log("-", "submit", id, "->", type(answer).__name__)
        return _submit(history, history.open_workspace(), id, address, bulk, wish, dedupe)
    history.log("-", "submit", id, address, "bulk" if bulk else "", *wish, "->", *answer)
    history.active()
    if answer.word == "accepted" and not known:
        history.judge.takes_place(id)
        history.judge.accepted.setdefault(address, []).append(id)
    elif answer.word in ("duplicate", "mismatch"):
        other = history.scripts.state.intents.get(answer.detail)
        if other is None or not dedupe or other.dedupe != dedupe:
            history.violation("a duplicate of nothing", id)
    return bool(answer.wake)


def operator(history: History) -> Steps[None]:
    """Withdraws, replays and discards."""
    try:
        for _ in range(3):
            yield history.between(1_000, 20_000)
            if history.random.random() < 0.4:
                _withdraw(history)
            if history.scripts.state.dead:
                _replay_or_discard(history)
    finally:
        history.people -= 1


def _withdraw(history: History) -> None:
    waiting = [id for lane in history.scripts.state.lanes.values() for id in elements(lane)]
    if not waiting:
        return
    id = history.random.choice(waiting)
    word = _run(history, "withdraw", id, "withdrawn")
    history.log("-", "withdraw", id, "->", word)
    if word == "ok":
        history.active()
        history.judge.withdrawn.add(id)
        if id in history.judge.written and not history.rolled_back:
            history.violation("withdrawn after it was written", id)


def _replay_or_discard(history: History) -> None:
    state = history.scripts.state
    id = history.random.choice(list(state.dead))
    letter = state.intents[id]
    if history.random.random() < 0.15:
        _run(history, "discard", id, letter.burials, "discarded")
        return
    lane = state.lanes[letter.lane]
    erasing = any(state.intents[one].erases for one in elements(lane))
    burials = letter.burials
    replayed = _run(history, "replay", id, burials, whole=False)
    history.log("-", "replay", id, "->", replayed)
    history.active()
    if not isinstance(replayed, LaneError) and replayed.word == "accepted":
        if erasing:
            history.violation("replayed behind an erasure", id)
        history.judge.takes_place(id)
        history.judge.spared_kills.pop(id, None)
        history.poison.pop(id, None)
        history.alike.discard(id)
        if history.random.random() < 0.6:
            history.rejected.discard(id)
        if replayed.wake:
            history.broker.send()
    if history.strikes("late_copy", 0.3):
        history.later(history.between(500, 60_000), lambda: _replay_again(history, id, burials))


def _replay_again(history: History, id: str, burials: int) -> None:
    known = history.scripts.state.intents.get(id)
    was_dead = known is not None and known.state == "dead"
    _run(history, "replay", id, burials, whole=False)
    if was_dead and known is not None and known.state != "dead":
        history.violation("replayed twice by one command", id)


def _run(history: History, script: str, *args: object, **named: object) -> Any:
    secret = history.scripts.state.secret or ""
    return history.execute(secret, history.settings, script, args, named)


def pauser(history: History) -> Steps[None]:
    """An operator pauses, and resumes."""
    _run(history, "breaker", "pause", problem="holiday")
    yield history.between(3_000, 30_000)
    _run(history, "breaker", "resume")
    history.people -= 1
    history.active()


def resumer(history: History) -> Steps[None]:
    """An operator ends the hold after a failover. What overlaps is their doing."""
    while not history.judge.rollback_at:
        yield 500.0
        if history.now > BEGIN_MS + history.suite.horizon_ms * 2:
            break
    yield history.between(100, 20_000)
    if history.judge.rollback_at and not isinstance(_run(history, "breaker", "resume", now=True), LaneError):
        history.judge.hold_ended_at = history.now
    history.people -= 1


def failover(history: History) -> Steps[None]:
    """Another server takes over; it lost the last moment, or everything."""
    try:
        for _ in range(6):
            snapshot = history.scripts.state.copy()
            yield history.between(20, 1_000)
            if history.random.random() < 0.5:
                history.faults.happened.append("failover")
                known = set(history.scripts.state.intents)
                if history.suite.failover == "emptied":
                    snapshot = Scripts(history.settings, history.rules).state
                waits = {id: not one.ended for id, one in snapshot.intents.items()}
                history.judge.rolled_back(known, waits)
                history.restore(snapshot)
                history.log("another server; lost:", *sorted(known - waits.keys()))
                return
            yield history.between(0, 8_000)
    finally:
        history.people -= 1
