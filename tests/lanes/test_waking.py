"""Parked lanes, once the line runs again: offered at once, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from onelane import ContactQueue, LeadCapture, keyspace
from onelane.identity import lane_id
from onelane_worker.lanes.model import Grant, LaneSettings
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lanes.waking import offer_parked

HOUR_MS = 3_600_000
EMAILS = [f"person{n}@example.test" for n in range(40)]


class Unheard:
    """A broker that is not there."""

    def publish(self, turns: Any) -> bool:
        return False

    def close(self) -> None:
        """Nothing was opened."""


@pytest.fixture
def store(redis: Redis) -> LaneStore:
    queue = ContactQueue(redis=redis, publisher=Unheard())  # type: ignore[arg-type]
    queue.enqueue_many([LeadCapture(email=email) for email in EMAILS])
    return LaneStore(redis, LaneSettings())


def claim(store: LaneStore, email: str) -> Grant:
    grant = store.claim(lane_id(email), "interactive", 0, f"token {email}")
    assert isinstance(grant, Grant)
    return grant


def put_back(store: LaneStore, email: str, state: Any) -> None:
    store.postpone(claim(store, email), f"op {email}", HOUR_MS, state, None, False, False, False)


def handed_out(store: LaneStore) -> set[str]:
    return {turn.lane for partition in keyspace.PARTITIONS for turn in store.hand_out(partition, 100, {})}


def test_every_parked_lane_is_offered(redis: Redis, store: LaneStore) -> None:
    for email in EMAILS:
        put_back(store, email, "parked")
    assert handed_out(store) == set()

    assert offer_parked(redis) == len(EMAILS)

    assert handed_out(store) == {lane_id(email) for email in EMAILS}
    assert offer_parked(redis) == 0


def test_whoever_waits_for_something_else_goes_on_waiting(redis: Redis, store: LaneStore) -> None:
    put_back(store, EMAILS[0], "retrying")
    put_back(store, EMAILS[1], "reconciling")
    claim(store, EMAILS[2])

    assert offer_parked(redis) == 0
    assert handed_out(store) == set()


def test_an_open_write_is_waited_for_all_the_same(redis: Redis, store: LaneStore) -> None:
    grant = claim(store, EMAILS[0])
    store.checkpoint(grant, "write", open_write="{}", commit_ms=HOUR_MS)
    store.postpone(grant, "op", 0, "parked", None, False, True, False)

    offer_parked(redis)

    assert handed_out(store) == {lane_id(EMAILS[0])}
    refused = store.claim(lane_id(EMAILS[0]), "interactive", 1, "another")
    assert getattr(refused, "reason", None) == "held"
    assert handed_out(store) == set()


def test_an_overdue_lane_keeps_its_place(redis: Redis, store: LaneStore) -> None:
    lane = lane_id(EMAILS[0])
    put_back(store, EMAILS[0], "parked")
    redis.zadd(keyspace.due(keyspace.partition_of(lane)), {lane: 5})

    assert offer_parked(redis) == 1
    assert redis.zscore(keyspace.due(keyspace.partition_of(lane)), lane) == 5
