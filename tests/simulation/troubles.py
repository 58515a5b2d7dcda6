"""What happens to all: servers away or without a moment, outages of Intercom, operators, deadly intents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.checker.history import Span
from tests.world.world import START_S

from onelane.submission import withdraw

from .script import Trouble

if TYPE_CHECKING:
    from .history import History

DEATH_S = (0.0, 0.1)
"""How long after its grant a deadly intent kills its process."""

RESUMES, RESUME_AGAIN_S = 12, 15.0


class Troubles:
    """Lets them happen to one history."""

    def __init__(self, history: History) -> None:
        self.deadly: dict[str, int] = {}
        """Intent → how often it will still kill the process that serves it."""
        self.deaths = 0
        """How often a deadly intent has killed."""
        self.rollbacks: list[Span] = []
        self.ends_lost: set[str] = set()
        """Intents that had ended, and whose end Redis has lost."""
        self.withdrawn: set[str] = set()
        self.last_s = 0.0
        self._history = history
        self._world = history.world
        self._killed: set[tuple[str, str]] = set()
        self._snapshot: Any = None
        self._operated: list[Any] = []
        """Tasks of operators: one whose process has died never ends."""

    def plan(self, troubles: Sequence[Trouble]) -> None:
        """Put them on the calendar."""
        loop = self._world.loop
        for one in troubles:
            happens: Callable[[Trouble], None] = getattr(self, f"_{one.kind}")
            if one.kind == "failover":
                loop.at(START_S + one.at_s - one.lost_s, self._remember)
            loop.at(START_S + one.at_s, partial(self._happen, happens, one))

    def after_effect(self) -> None:
        """Kill the process that has been given a deadly intent."""
        for intent_id, left in self.deadly.items():
            if left:
                self._kill_its_process(intent_id, left)

    def _happen(self, happens: Callable[[Trouble], None], one: Trouble) -> None:
        self._world.note("TROUBLE", one)
        self.last_s = max(self.last_s, self._world.now + one.for_s)
        happens(one)

    # ── Redis ──

    def _remember(self) -> None:
        self._snapshot = self._world.redis.snapshot()

    def _failover(self, one: Trouble) -> None:
        self._comes_back(one, self._snapshot, self._world.now - one.lost_s)

    def _emptied(self, one: Trouble) -> None:
        self._comes_back(one, None, START_S)

    def _comes_back(self, one: Trouble, snapshot: Any, since_s: float) -> None:
        history, world = self._history, self._world
        history.note_ends()
        world.link.away_until_s = world.now + one.for_s
        self.rollbacks.append(Span(since_s, world.now + one.for_s))
        world.fail_over(snapshot)
        history.door.forgetful_until_s = world.now + one.for_s + 60
        for told in history.accepted.values():
            record = world.hash("intent", told.id)
            told.lost = not record
            if told.outcome is not None and "outcome" not in record and not told.lost:
                self.ends_lost.add(told.id)
                told.outcome = None

    def _redis_away(self, one: Trouble) -> None:
        self._world.link.away_until_s = self._world.now + one.for_s

    def _redis_refuses(self, one: Trouble) -> None:
        self._world.link.refusal = "oom"
        self._world.loop.after(one.for_s, lambda: setattr(self._world.link, "refusal", None))

    # ── Intercom ──

    def _outage(self, one: Trouble) -> None:
        self._world.intercom.outage = "all"
        self._world.loop.after(one.for_s, lambda: setattr(self._world.intercom, "outage", None))

    def _no_writes(self, one: Trouble) -> None:
        self._world.intercom.outage = "writes"
        self._world.loop.after(one.for_s, lambda: setattr(self._world.intercom, "outage", None))

    # ── processes ──

    def _shutdown(self, one: Trouble) -> None:
        up = [worker for worker in self._world.workers if worker.is_up]
        if up:
            self._world.dice.choice(up).stop()

    def _kill_its_process(self, intent_id: str, left: int) -> None:
        told, world = self._history.accepted[intent_id], self._world
        lane = world.hash("lane", told.lane)
        key = told.lane, lane.get("fence", "")
        head = world.redis.execute("LINDEX", world.workspace.keys.key("queue", told.lane), 0)
        holder = world.worker_of(lane.get("token", "").partition(":")[0])
        if "token" not in lane or head != intent_id or key in self._killed or holder is None:
            return
        self._killed.add(key)
        self.deadly[intent_id] = left - 1
        self.deaths += 1
        world.loop.after(world.dice.uniform(*DEATH_S), partial(self._dies, holder.process))

    def _dies(self, process: Any) -> None:
        if process.alive:
            self._world.kill(process)

    # ── people ──

    def _pause(self, one: Trouble) -> None:
        self._operate(lambda store: store.breaker("pause", problem='"a test"'))
        self._world.loop.after(one.for_s, partial(self._resume, RESUMES))

    def _resume(self, left: int) -> None:
        """Again and again: the pause may be under way still, and the operator's process may die, too."""
        self._operate(lambda store: store.breaker("resume"))
        if left:
            self._world.loop.after(RESUME_AGAIN_S, partial(self._resume, left - 1))

    def _withdraw(self, one: Trouble) -> None:
        if not self._history.accepted:
            return
        told = list(self._history.accepted.values())[-1]
        self._withdraw_by(withdraw(self._world.queue._session, told.id, self._world.queue.settings), told.id)

    def _withdraw_by(self, exchange: Any, intent_id: str, replies: Any = None) -> None:
        try:
            commands = next(exchange) if replies is None else exchange.send(replies)
        except StopIteration as end:
            if end.value:
                self.withdrawn.add(intent_id)
            return
        effect = partial(self._execute, commands)
        self._world.link.submit("withdraw", effect, lambda told: self._withdraw_by(exchange, intent_id, told))

    def _execute(self, commands: Any) -> Any:
        return self._world.redis.all(commands)

    def _replay(self, one: Trouble) -> None:
        for told, burials in self._dead():
            self._operate(lambda store, told=told, n=burials: store.replay(told, n, whole=False))

    def _discard(self, one: Trouble) -> None:
        outcome = '{"result":"rejected","reason":"discarded"}'
        for told, burials in self._dead():
            self._operate(lambda store, told=told, n=burials: store.discard(told, n, outcome))

    def _dead(self) -> list[tuple[str, int]]:
        key = self._world.workspace.keys.key("dead")
        ids = self._world.redis.execute("ZRANGE", key, 0, -1)
        return [(one, int(self._world.hash("intent", one).get("burials", 0))) for one in ids]

    def _operate(self, make: Any) -> None:
        self._operated.append(self._world.begin(make))
