"""Random calls of scripts that make sense in the state in which they are made, or nearly so."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from random import Random
from typing import Any

from onelane_worker.lanes.types import (
    KEEP,
    Check,
    Ended,
    ExtNote,
    Grant,
    Left,
    Settled,
    Step,
    StoredEntry,
    TargetEnd,
)

from .twin import Call, Twin

LANES = ("la", "lb", "lc", "ld", "le")
EXTS = ("x1", "x2")
CONTACTS = ("c1", "c2", "c3")
ENGINES = ("ea", "eb", "ec")
UPDATED = '{"result":"updated","contact_id":"5","role":"lead","calls":2}'
PAUSES_MS = (0, 1, 3, 20, 150, 700, 2_000, 2_600, 5_001, 9_000, 16_000, 31_500)


class Drawn:
    """Draws the next call for a pair, and remembers what was granted."""

    def __init__(self, random: Random, twin: Twin, longest_ms: int) -> None:
        self._random = random
        self._twin = twin
        self._left_ms = longest_ms
        self._ids = 0
        self._numbers = dict.fromkeys(ENGINES, 0)
        self._grants: dict[tuple[str, int], Grant] = {}
        self._steps: dict[tuple[str, int], int] = {}
        self._past: list[Call] = []
        self._planned: list[Call] = []

    def next(self) -> Call:
        """The next call."""
        random = self._random
        if self._planned:
            return self._planned.pop(0)
        if self._past and random.random() < 0.1:
            return random.choice(self._past[-30:])
        makers = (
            (self._submit, 16), (self._claim, 14), (self._wait, 16), (self._tick, 8), (self._under_lease, 34),
            (self._withdraw, 3), (self._replay, 4), (self._discard, 1), (self._breaker, 4),
            (self._reserve, 2),
            (self._revise, 1), (self._stranger, 1), (self._server, 0.4), (self._outlive, 1.5),
            (self._crowd, 0.7), (self._line, 0.7), (self._alike, 0.4), (self._sleep, 0.2),
        )  # fmt: skip
        [make] = random.choices([one for one, _ in makers], [weight for _, weight in makers])
        call: Call = make()
        return call

    def heard(self, call: Call, answer: Any) -> None:
        """What was answered."""
        if call.name not in ("wait", "server", "empty"):
            self._past.append(call)
        grants = getattr(answer, "grants", ())
        if isinstance(answer, Settled) and answer.grant is not None:
            grants = (answer.grant,)
        for grant in grants:
            self._grants[grant.lane, grant.fence] = grant

    def _some(self, words: tuple[str, ...], most: int) -> tuple[str, ...]:
        return tuple(self._random.sample(words, self._random.randint(0, most)))

    def _maybe(self, value: Any, otherwise: Any = None, chance: float = 0.3) -> Any:
        return value if self._random.random() < chance else otherwise

    # ── time and servers ──

    def _wait(self) -> Call:
        pause_ms = min(self._left_ms, self._random.choice(PAUSES_MS))
        self._left_ms -= pause_ms
        return Call("wait", (pause_ms * 1000 + self._random.randint(1, 999),))

    def _server(self) -> Call:
        if self._random.random() < 0.2:
            self._planned = [self._claim(), self._submit(), self._tick()]
            self._planned.append(Call("empty", (f"{self._random.getrandbits(64):016x}",)))
            return Call("empty", ("",))
        return Call("server", (f"s{self._random.randint(0, 9)}",))

    # ── producers and operators ──

    def _submit(self) -> Call:
        random = self._random
        self._ids += 1
        lane = random.choice(LANES)
        kind = random.choices(("set", "ext", "change", "erase"), (5, 6, 2, 1))[0]
        return Call("submit", (self._maybe(f"{1:032x}", f"{self._ids:032x}", 0.05), lane), {
            "bulk": random.random() < 0.4,
            "kind": kind,
            "payload": "p" * random.choice((20, 20, 90, 200)),
            "schema": random.choices((1, 2, 9), (8, 2, 1))[0],
            "content": random.choice(("same", "other")),
            "dedupe": self._maybe(f"d{lane}", "", 0.4),
            "ext": random.choice(EXTS) if kind == "ext" else "",
            "target": random.choice([one for one in LANES if one != lane]) if kind == "change" else "",
            "erases": kind == "erase",
            "lane_max": random.choice((4, 8)), "queue_max": 14, "wake_max": 3,
        })  # fmt: skip

    def _an_id(self, waiting: bool) -> str:
        state = self._twin.model.state
        ids = [id for id, one in state.intents.items() if (not one.ended) == waiting]
        return self._random.choice(ids) if ids else "none"

    def _withdraw(self) -> Call:
        return Call("withdraw", (self._an_id(self._random.random() < 0.9), '{"result":"withdrawn"}'))

    def _a_letter(self) -> tuple[str, int]:
        state = self._twin.model.state
        id = self._random.choice(list(state.dead)) if state.dead else self._an_id(False)
        burials = state.intents[id].burials if id in state.intents else 1
        return id, burials + self._random.choice((0, 0, 0, 0, 0, -1, 1))

    def _replay(self) -> Call:
        whole = self._random.random() < 0.3
        return Call(
            "replay",
            self._a_letter(),
            {"whole": whole, "timeline": self._maybe('{"event":"replay","id":"0"}')},
        )

    def _discard(self) -> Call:
        return Call("discard", (*self._a_letter(), '{"result":"discarded"}'))

    def _revise(self) -> Call:
        lane = self._random.choice(LANES)
        known = self._twin.model.state.lanes.get(lane)
        old = known.registry if known is not None and known.registry else "nothing"
        return Call("revise", (lane, self._maybe(old, "another", 0.8), self._maybe("revised", None, 0.6)))

    def _stranger(self) -> Call:
        secret = self._random.choice(("ffffffffffffffff", self._twin.secret))
        return Call("caller", (secret, "withdraw", self._an_id(True), "{}"))

    def _breaker(self) -> Call:
        random = self._random
        if random.random() < 0.3:
            word = random.choices(("rejected", "written", "resume"), (6, 4, 1))[0]
            return Call(
                "breaker", (word,), {"lane": random.choice(("said1", "said2")), "problem": "{}", "bulk": True}
            )
        state = self._twin.model.state.breaker.state
        weights = (6, 6, 0.5, 0.5, 1) if state == "closed" else (8, 2, 0.5, 0.2, 5)
        word = random.choices(("ok", "failed", "refused", "pause", "resume"), weights)[0]
        return Call("breaker", (word,), {
            "lane": random.choice(LANES), "sort": random.choice(("reads", "writes", "subscriptions")),
            "problem": f'{{"kind":"{word}"}}', "probe": random.random() < 0.5, "now": random.random() < 0.4,
        })  # fmt: skip

    def _reserve(self) -> Call:
        return Call("reserve", (self._random.randint(0, 9), self._maybe(1_500, 0, 0.2)))

    # ── engines ──

    def _claim(self) -> Call:
        random, engine = self._random, self._random.choice(ENGINES)
        number = max(1, self._numbers[engine] + random.choices((1, 0, -1), (10, 1, 1))[0])
        self._numbers[engine] = max(number, self._numbers[engine])
        return Call("claim", (engine, number, random.choice((0, 1, 2, 3, 5, 5))), {
            "suspects": random.choice(((1, 0), (1, 0), (2, 0), (0, 1), (1, 1), (3, 1))),
            "wakes": random.choice((0, 0, 1, 2)), "in_hand": random.choice((0, 0, 0, 1, 4)),
        })  # fmt: skip

    def _outlive(self) -> Call:
        """One engine ticks for longer than a lease; the others are silent, so what they hold is killed."""
        engine = self._random.choice(ENGINES)
        for _ in range(self._random.randint(3, 5)):
            if self._left_ms >= 2_000:
                self._left_ms -= 2_000
                self._planned += [self._tick(engine), Call("wait", (2_000_001,))]
        return self._tick(engine)

    def _crowd(self) -> Call:
        """Several lanes want one external id."""
        ext = self._random.choice(EXTS)
        for lane in self._random.sample(LANES, self._random.randint(2, 4)):
            call = self._submit()
            named = {**call.named, "kind": "ext", "ext": ext, "target": "", "schema": 1}
            self._planned.append(Call("submit", (call.args[0], lane), named))
        self._planned += [self._claim(), self._claim(), self._withdraw()]
        return self._claim()

    def _line(self) -> Call:
        """Intercom fails, a probe succeeds, and something happens while the breaker is half open."""
        sort = self._random.choice(("reads", "writes"))
        told = {"sort": sort, "problem": "{}", "probe": False, "now": False}
        self._planned = [Call("breaker", ("failed",), {"lane": lane, **told}) for lane in LANES[:3]]
        self._planned += [Call("wait", (1_100_000,)), self._tick(), self._claim()]
        self._planned += [Call("breaker", ("ok",), {"lane": "", **told, "probe": True}), self._claim()]
        self._planned += [self._claim(), self._breaker(), self._tick(), self._claim()]
        return self._planned.pop(0)

    def _alike(self) -> Call:
        """Bulk intents are rejected alike until their class stops."""
        told = {"lane": "said1", "problem": "{}", "bulk": True}
        self._planned = [Call("breaker", ("rejected",), told) for _ in range(self._random.randint(2, 3))]
        self._planned += [
            self._submit(),
            self._submit(),
            self._claim(),
            Call("wait", (4_000_001,)),
            self._claim(),
        ]
        self._planned += [self._claim(), Call("breaker", ("written",), told), self._claim()]
        return self._planned.pop(0)

    def _sleep(self) -> Call:
        """Long enough for the backstop of blocked lanes."""
        pause_ms = 301_000 if self._left_ms > 301_000 else 0
        self._left_ms -= pause_ms
        self._planned = [self._tick(), self._claim(), self._claim()]
        return Call("wait", (pause_ms * 1000 + 1,))

    def _tick(self, engine: str | None = None) -> Call:
        random, engine = self._random, engine or self._random.choice(ENGINES)
        mine = [one for one in self._grants.values() if one.token.startswith(engine)][-6:]
        held = random.sample(mine, random.randint(0, len(mine)))
        return Call("tick", (engine, f"{engine}@host", held))

    def _a_grant(self) -> Grant | None:
        """Mostly one that lives."""
        lanes = self._twin.model.state.lanes
        live = [
            grant
            for grant in self._grants.values()
            if grant.lane in lanes and lanes[grant.lane].token == grant.token
            if lanes[grant.lane].fence == grant.fence
        ]
        if live and self._random.random() < 0.95:
            return self._random.choice(live)
        if self._random.random() < 0.7:
            return None
        return self._random.choice(list(self._grants.values())[-20:]) if self._grants else None

    def _step(self, grant: Grant) -> Step:
        """A number is never used for two calls; older ones come again as they were."""
        key = grant.lane, grant.fence
        self._steps[key] = self._steps.get(key, 0) + self._random.choices((1, 2), (30, 1))[0]
        return Step(grant.lane, grant.token, grant.fence, self._steps[key])

    def _under_lease(self) -> Call:
        grant = self._a_grant()
        if grant is None:
            return self._claim()
        makers = (
            (self._checkpoint, 7), (self._clear, 3), (self._settle, 12), (self._bury, 5), (self._postpone, 6),
            (self._scrub, 1),
        )  # fmt: skip
        [make] = self._random.choices([one for one, _ in makers], [weight for _, weight in makers])
        call: Call = make(grant)
        return call

    def _entry(self) -> Any:
        random = self._random
        if random.random() < 0.35:
            return random.choice((KEEP, None))
        about = self._some(CONTACTS, 2)
        elsewhere = tuple(one for one in about if random.random() < 0.3)
        return StoredEntry(f'{{"entry":{random.randint(1, 99)}}}', about, elsewhere)

    def _events(self) -> list[str]:
        return [f'{{"id":"{self._an_id(False)}"}}' for _ in range(self._random.choice((0, 0, 1, 2)))]

    def _part(self, text: str) -> Any:
        return self._random.choice((KEEP, KEEP, None, text))

    def _journal(self, grant: Grant) -> Any:
        return self._part(f'{{"ids":["{grant.head.id}"]}}')

    def _checkpoint(self, grant: Grant) -> Call:
        random = self._random
        return Call("checkpoint", (self._step(grant),), {
            "open_write": '{"op":"update"}', "journal": self._journal(grant), "registry": self._entry(),
            "contacts": self._some(CONTACTS, 2), "external_id": self._maybe(random.choice(EXTS), None, 0.15),
        })  # fmt: skip

    def _clear(self, grant: Grant) -> Call:
        return Call("clear", (self._step(grant), self._journal(grant)))

    def _more(self) -> int | None:
        return self._maybe(self._random.choice((0, 0, 2)), None, 0.6)

    def _notes(self, grant: Grant) -> list[ExtNote]:
        random = self._random
        digests = [lock.digest for lock in grant.locks] + list(self._some(EXTS, 1))
        return [
            ExtNote(
                digest,
                random.choice((KEEP, None, "pointer")),
                {source: f"{random.choice((7, 9, 10, 120))} id 5" for source in self._some(("", "crm"), 2)},
            )
            for digest in dict.fromkeys(digests)
        ]

    def _settle(self, grant: Grant) -> Call:
        random = self._random
        count = random.choices((1, len(grant.intents)), (2, 1))[0]
        ended = [Ended(one.id, UPDATED, random.random() < 0.3) for one in grant.intents[:count]]
        if random.random() < 0.03:
            ended = [*ended[::-1], Ended("none", "{}")]
        check: Any = random.choice((KEEP, KEEP, KEEP, None))
        if random.random() < 0.25:
            self._ids += 1
            check = Check(f"{self._ids:032x}", "check", random.choice((500, 4_000)), random.random() < 0.4)
        left = (
            [Left(random.choice(CONTACTS), grant.lane, random.choice(LANES))]
            if random.random() < 0.15
            else []
        )
        target = TargetEnd(self._entry(), self._part("consent")) if grant.target is not None else None
        return Call("settle", (self._step(grant), ended), {
            "registry": self._entry(), "consent": self._part("consent"), "ext": self._notes(grant),
            "left": left, "timeline": self._events(), "check": check, "target": target,
            "more": self._more(),
        })  # fmt: skip

    def _bury(self, grant: Grant) -> Call:
        random = self._random
        answered = random.choice((None, self._steps.get((grant.lane, grant.fence))))
        pointer = StoredEntry('{"pointer":1}', (random.choice(CONTACTS),)) if random.random() < 0.5 else None
        id = grant.head.id if random.random() < 0.95 else "none"
        return Call("bury", (self._step(grant), id, '{"problem":1}', '{"result":"rejected"}'), {
            "answered": answered, "registry": self._entry(), "consent": self._part("consent"),
            "timeline": self._events(), "target_pointer": pointer, "more": self._more(),
        })  # fmt: skip

    def _postpone(self, grant: Grant) -> Call:
        random = self._random
        delay = random.choice((0, 0, 200, 3_000, 20_000))
        state = random.choice(("retrying", "reconciling", "parked"))
        return Call("postpone", (self._step(grant), delay, state), {
            "unknown": random.random() < 0.4, "counted": random.choice((True, False, None)),
            "error": self._part('{"problem":2}'), "journal": self._journal(grant), "registry": self._entry(),
            "consent": self._part("consent"), "yields": random.random() < 0.3,
            "external_id": self._maybe(random.choice(EXTS), None, 0.2),
            "timeline": self._events(),
        })  # fmt: skip

    def _scrub(self, grant: Grant) -> Call:
        step = self._step(grant)
        return Call(
            "scrub",
            (step, '{"result":"rejected","reason":"erased"}', self._some(EXTS, 2), self._some(CONTACTS, 2)),
        )
