"""The timeline of a lane: what it tells, what it never tells, and that it is in nobody's way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from onelane.identity import lane_id
from onelane_worker.history import History, Observers
from onelane_worker.turn import serve
from redis import Redis

from onelane import LeadCapture, NewsletterOptIn, keyspace
from onelane_worker import history
from onelane_worker.planner import operations as op

from .world import Seen, World

ANN = "ann@example.test"
LANE = lane_id(ANN)
WEEK_MS = 7 * 86_400_000


class Told(World):
    """A world whose turns write their history."""

    def run(self) -> None:
        lists = History(self.redis, WEEK_MS)
        while self.broker.turns:
            turn = self.broker.turns.pop(0)
            with lists.of(turn.lane) as story:
                serve(self.deps, turn.lane, turn.queue, turn.seq, Observers(self.seen, story))

    def events(self, lane: str = LANE) -> list[dict[str, Any]]:
        return history.read(self.redis, lane)


@pytest.fixture
def told(redis: Redis) -> Iterator[Told]:
    world = Told(redis)
    yield world
    world.close()


def test_calls_and_outcome_are_told(told: Told) -> None:
    [receipt] = told.enqueue(LeadCapture(email=ANN, name="Ann"))
    told.run()

    [event] = told.events()

    assert (event["what"], event["id"], event["kind"]) == ("ended", receipt.id, "lead_capture")
    assert (event["result"], event["attempt"]) == ("created", 1)
    assert [call[:2] for call in event["calls"]] == [["search", "listed"], ["create", "found"]]
    assert event["accepted_ms"] <= event["at_ms"]


def test_a_failed_attempt_is_told_with_what_went_wrong(told: Told) -> None:
    lost = op.NotSent(op.Problem("network", message=f"no way to {ANN}"))
    replies: list[op.Reply] = [lost]
    told.gateway.before = lambda operation: replies.pop() if replies else None
    told.do(LeadCapture(email=ANN))

    put_back, ended = told.events()

    assert (put_back["what"], put_back["state"]) == ("put_back", "retrying")
    assert put_back["error"] == {"class": "network"}
    assert put_back["again_ms"] >= put_back["at_ms"]
    assert put_back["calls"][0][1] == "notsent network"
    assert (ended["what"], ended["attempt"]) == ("ended", 2)


def test_a_burial_is_told_without_intercoms_words(told: Told) -> None:
    refused = op.Refused(op.Problem("refused", 400, "parameter_invalid", f"{ANN} is odd"))
    told.gateway.before = lambda operation: refused if isinstance(operation, op.Create) else None
    told.do(LeadCapture(email=ANN))

    [event] = told.events()

    assert (event["what"], event["result"], event["reason"]) == ("buried", "rejected", "refused")
    assert event["calls"][-1][1] == "refused 400"


def test_of_a_fold_the_calls_are_told_once(told: Told) -> None:
    told.enqueue(LeadCapture(email=ANN, name="Ann"), LeadCapture(email=ANN, name="Anna"))
    told.run()

    first, second = told.events()

    assert "calls" in first
    assert "calls" not in second
    assert first["folded_with"] == second["folded_with"] == 1


def test_no_value_and_no_address_is_kept(told: Told, redis: Redis) -> None:
    told.attributes("secret")
    told.do(NewsletterOptIn(email=ANN, name="Zaphod", custom_attributes={"secret": "swordfish"}))

    text = "".join(map(str, redis.lrange(keyspace.history(LANE), 0, -1)))

    assert not [word for word in (ANN, "ann@", "Zaphod", "swordfish") if word in text]


def test_it_is_bounded_and_ends(redis: Redis) -> None:
    lists = History(redis, WEEK_MS)
    lists.add(LANE, [{"at_ms": n, "what": "ended"} for n in range(history.MOST_EVENTS + 5)])

    events = history.read(redis, LANE)

    assert len(events) == history.MOST_EVENTS
    assert events[0]["at_ms"] == 5
    assert 0 < redis.pttl(keyspace.history(LANE)) <= WEEK_MS  # type: ignore[operator]


def test_a_redis_that_is_away_costs_no_intent(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ConnectionError

    [receipt] = told.enqueue(LeadCapture(email=ANN))
    turn = told.broker.turns.pop()
    away = History(told.redis, WEEK_MS)
    monkeypatch.setattr(away, "_scripts", type("Away", (), {"run": broken})())
    with away.of(LANE) as story:
        serve(told.deps, turn.lane, turn.queue, turn.seq, Observers(Seen(), story))

    assert told.outcome(receipt) is not None
    assert told.events() == []
