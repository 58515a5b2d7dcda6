"""The due timer: which turns it takes for lost while others wait in the broker's queue."""

from __future__ import annotations

from collections import deque

import pytest
from redis import Redis

from onelane.identity import lane_id
from onelane.keyspace import BULK, INTERACTIVE, QueueName
from onelane.turns import Turn
from onelane_worker.breaker import Gate
from onelane_worker.timer import DueTimer

from .bench import Bench

IN_LINE = 40


class Broker:
    """A queue that is always busy: turns go in at one end, and are claimed and settled at the other."""

    def __init__(self, redis: Redis) -> None:
        self.bench = Bench(redis)
        self.line: deque[tuple[str, int]] = deque()
        self.handed_out: list[str] = []
        self.timer = DueTimer(self.bench.store, Gate, self._publish, self._waiting, 0.5)
        self._people = 0

    def submit(self, *, lost: bool = False) -> str:
        """Somebody new has a turn in the queue, or should have."""
        self._people += 1
        email = f"p{self._people}@example.test"
        turn = self.bench.submit(email=email)
        if not lost:
            self.line.append((lane_id(email), turn.seq))
        return lane_id(email)

    def serve(self, turns: int) -> None:
        for _ in range(turns):
            lane, seq = self.line.popleft()
            grant = self.bench.ask(seq=seq, lane=lane)
            if not hasattr(grant, "reason"):
                self.bench.settle(grant, f"{grant.token}:1")

    def goes_on(self, *, ticks: int, turns: int) -> None:
        """Between two ticks so many turns come, and as many are served."""
        for _ in range(ticks):
            for _ in range(turns):
                self.submit()
            self.serve(turns)
            self.timer.tick()

    def _publish(self, turn: Turn) -> None:
        self.handed_out.append(turn.lane)
        self.line.append((turn.lane, turn.seq))

    def _waiting(self) -> dict[QueueName, int]:
        return {INTERACTIVE: len(self.line), BULK: 0}


@pytest.fixture
def broker(redis: Redis) -> Broker:
    broker = Broker(redis)
    for _ in range(IN_LINE):
        broker.submit()
    broker.timer.tick()
    return broker


def test_a_lost_turn_is_found_when_the_line_behind_it_has_passed(broker: Broker) -> None:
    lane = broker.submit(lost=True)
    broker.goes_on(ticks=IN_LINE // 10 - 1, turns=10)
    assert broker.handed_out == []
    broker.goes_on(ticks=4, turns=10)
    assert broker.handed_out == [lane]


def test_turns_in_a_line_that_moves_are_not_lost(broker: Broker) -> None:
    broker.goes_on(ticks=30, turns=7)
    assert broker.handed_out == []


def test_turns_in_a_line_that_stands_still_are_not_lost(broker: Broker) -> None:
    for _ in range(30):
        broker.submit()
        broker.timer.tick()
    assert broker.handed_out == []


def test_a_turn_that_is_just_on_its_way_is_not_lost(broker: Broker) -> None:
    broker.serve(IN_LINE)
    broker.submit(lost=True)
    broker.timer.tick()
    assert broker.handed_out == []


def test_in_an_empty_line_a_lost_turn_is_found_at_the_second_look(broker: Broker) -> None:
    broker.serve(IN_LINE)
    lane = broker.submit(lost=True)
    broker.goes_on(ticks=2, turns=0)
    assert broker.handed_out == [lane]
