"""due: what hands out lanes whose time has come, and those whose turn was lost."""

from __future__ import annotations

import logging

import pytest

from onelane import keyspace
from onelane.identity import lane_id
from onelane.keyspace import BULK, INTERACTIVE

from .bench import EMAIL, LANE, LEASE_MS, PARTITION, Bench

NEIGHBOURS = [email for i in range(4000) if lane_id(email := f"p{i}@example.test").startswith(PARTITION)]


def _overtake(bench: Bench, turns: int, queue: str = INTERACTIVE) -> None:
    """So many later turns of the queue are claimed (of lanes that sleep: it makes no difference)."""
    newest = bench.store.turn_counters(PARTITION).seq[queue]  # type: ignore[index]
    bench.store.claim(lane_id(NEIGHBOURS[-1]), queue, newest + turns, bench.new_token())  # type: ignore[arg-type]


def test_a_retry_is_handed_out_when_its_time_has_come(bench: Bench) -> None:
    (id_,) = bench.submit_many(1)
    bench.postpone(bench.claim(seq=1), "op", 4_000)
    assert bench.hand_out() == []

    bench.elapse(4_001)
    (turn,) = bench.hand_out()

    assert (turn.lane, turn.head, turn.kind, turn.who) == (LANE, id_, "lead_capture", "a***@example.test")
    assert (turn.queue, turn.seq, turn.retries) == (INTERACTIVE, 2, 1)
    assert (bench.sent(), bench.due_ms()) == ({INTERACTIVE: 2}, None)


def test_nothing_is_handed_out_twice(bench: Bench) -> None:
    bench.submit()
    bench.postpone(bench.claim(seq=1), "op", 0)

    assert len(bench.hand_out()) == 1
    assert bench.hand_out() == []


def test_a_living_lease_is_left_alone(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim(seq=1)
    bench.redis.zadd(keyspace.due(PARTITION), {LANE: 0})  # as if the timer had looked at an older time

    assert bench.hand_out() == []
    assert bench.due_ms() == grant.now_ms + LEASE_MS


def test_a_dead_holder_is_followed_and_its_token_stays_to_be_seen(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim(seq=1)
    bench.elapse(LEASE_MS + 1)

    (turn,) = bench.hand_out()

    assert bench.lane()["token"] == grant.token
    assert bench.claim(seq=turn.seq).kills == 1


def test_a_turn_in_a_long_queue_is_not_lost(bench: Bench) -> None:
    for email in NEIGHBOURS[: bench.limits.lost_after_turns]:
        bench.submit(email=email)
    bench.submit()
    bench.elapse(3_600_000)

    assert bench.hand_out() == []


def test_a_turn_that_many_have_overtaken_is_lost(bench: Bench) -> None:
    bench.submit()
    _overtake(bench, bench.limits.lost_after_turns)
    assert bench.hand_out() == []

    _overtake(bench, 1)
    (turn,) = bench.hand_out()

    assert turn.lane == LANE
    assert bench.sent() == {INTERACTIVE: turn.seq}
    assert bench.hand_out() == []


def test_turns_of_the_other_queue_overtake_nobody(bench: Bench) -> None:
    bench.submit(queue=BULK)
    _overtake(bench, 10 * bench.limits.lost_after_turns, INTERACTIVE)

    assert bench.hand_out() == []


def test_a_turn_published_before_its_queue_was_seen_empty_is_lost(bench: Bench) -> None:
    bench.submit()
    seen = bench.store.turn_counters(PARTITION).seq
    bench.submit(email=NEIGHBOURS[0])  # published after the look: it may be on its way

    (turn,) = bench.hand_out(**{INTERACTIVE: seen[INTERACTIVE]})

    assert turn.lane == LANE


def test_one_queue_seen_empty_says_nothing_about_the_other(bench: Bench) -> None:
    bench.submit(queue=BULK)

    assert bench.hand_out(interactive=1) == []
    assert len(bench.hand_out(bulk=1)) == 1


def test_a_lost_turn_beside_a_lease_is_only_forgotten(bench: Bench) -> None:
    bench.submit()
    bench.claim()  # by a double

    assert bench.hand_out(interactive=1) == []
    assert bench.sent() == {}
    assert bench.due_ms() is not None


def test_an_outstanding_turn_is_not_doubled_when_a_lease_ends(bench: Bench) -> None:
    bench.submit()
    bench.claim()  # by a double: turn 1 waits in a long queue
    bench.elapse(LEASE_MS + 1)

    assert bench.hand_out() == []
    assert (bench.sent(), bench.due_ms()) == ({INTERACTIVE: 1}, None)
    assert bench.claim(seq=1).kills == 1


@pytest.mark.parametrize("where", ["due", "sent"])
def test_an_empty_lane_is_forgotten(bench: Bench, where: str) -> None:
    key = keyspace.due(PARTITION) if where == "due" else keyspace.sent(PARTITION, BULK)
    bench.redis.zadd(key, {LANE: 0})

    assert bench.hand_out(bulk=1) == []
    assert bench.redis.exists(key) == 0


def test_each_cause_has_its_own_limit(bench: Bench) -> None:
    for email in (EMAIL, *NEIGHBOURS[:2]):
        bench.submit(email=email)
    for email in NEIGHBOURS[2:5]:
        lane = lane_id(email)
        bench.submit(email=email, queue=BULK)
        bench.postpone(bench.store.claim(lane, BULK, 1, bench.new_token()), f"op{email}", 0)  # type: ignore[arg-type]
        bench.redis.zrem(keyspace.sent(PARTITION, BULK), lane)

    first = bench.hand_out(limit=2, interactive=3)
    second = bench.hand_out(limit=2, interactive=3)

    assert sorted(turn.queue for turn in first) == [BULK, BULK, INTERACTIVE, INTERACTIVE]
    assert sorted(turn.queue for turn in second) == [BULK, INTERACTIVE]


def test_a_lost_bulk_turn_travels_with_the_interactive_that_came(bench: Bench) -> None:
    bench.submit(queue=BULK)
    bench.postpone(bench.claim(seq=1, queue=BULK), "op", 0)
    bench.submit(queue=INTERACTIVE)

    assert [turn.queue for turn in bench.hand_out()] == [INTERACTIVE]


def test_an_unreadable_payload_stops_no_other_lane(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bad = bench.submit().id
    bench.submit(email=NEIGHBOURS[0])
    bench.redis.hset(keyspace.intent(bad), "payload", "{")

    with caplog.at_level(logging.ERROR):
        turns = bench.hand_out(interactive=2)

    assert [turn.lane for turn in turns] == [lane_id(NEIGHBOURS[0])]
    assert bad in caplog.text


class TestWhileBulkIntentsAreStopped:
    @pytest.fixture
    def due(self, bench: Bench) -> list[str]:
        """Lanes whose time has come: six of bulk intents, and last one of an interactive intent."""
        emails = NEIGHBOURS[:7]
        for number, email in enumerate(emails):
            queue = BULK if number < 6 else INTERACTIVE
            turn = bench.submit(email=email, queue=queue)
            grant = bench.ask(seq=turn.seq, queue=queue, lane=lane_id(email))
            bench.postpone(grant, f"op{number}", number)  # type: ignore[arg-type]
        bench.elapse(1_000)
        return [lane_id(email) for email in emails]

    def test_their_lanes_are_put_off_and_those_behind_them_handed_out(
        self, bench: Bench, due: list[str]
    ) -> None:
        at_ms = bench.now_ms() + 15_000
        turns = [turn for _ in range(4) for turn in bench.store.hand_out(PARTITION, 2, {}, bulk=(0, at_ms))]
        assert [turn.lane for turn in turns] == due[6:]
        assert bench.store.hand_out(PARTITION, 100, {}, bulk=(0, at_ms)) == []

    def test_one_of_them_is_tried(self, bench: Bench, due: list[str]) -> None:
        turns = bench.store.hand_out(PARTITION, 100, {}, bulk=(1, bench.now_ms()))
        assert [turn.lane for turn in turns] == [due[0], due[6]]

    def test_afterwards_all_are_handed_out(self, bench: Bench, due: list[str]) -> None:
        bench.store.hand_out(PARTITION, 100, {}, bulk=(0, bench.now_ms() + 15_000))
        bench.elapse(16_000)
        turns = bench.store.hand_out(PARTITION, 100, {})
        assert sorted(turn.lane for turn in turns) == sorted(due[:6])
