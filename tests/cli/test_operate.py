"""`onelane lanes`, `pause`, `resume`, and the timeline of `onelane lane`."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from onelane.identity import lane_id
from redis import Redis

from onelane import keyspace
from onelane_worker.breaker import Breaker, BulkBreaker
from onelane_worker.history import History, by_hand

from .helpers import Hand, Onelane

EMAIL = "ann@example.test"
LANE = lane_id(EMAIL)
MASKED = "a***@example.test"
REFUSED = {"class": "server_error", "http_status": 502, "message": f"{EMAIL} is odd"}


def enqueue(onelane: Onelane, email: str = EMAIL, **fields: str) -> str:
    words = [word for name, value in fields.items() for word in (f"--{name}", value)]
    receipt: str = onelane("enqueue", "lead-capture", "--email", email, *words, "--json").json["id"]
    return receipt


def late(redis: Redis, lane: str, by_ms: int) -> None:
    """The lane became due long ago."""
    redis.zincrby(keyspace.due(keyspace.partition_of(lane)), -by_ms, lane)


# ── lanes ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_waits(onelane: Onelane) -> None:
    assert onelane("lanes").out == "The line is running.\nNo intent waits.\n"
    page = onelane("lanes", "--json").json
    assert (page["lanes"], page["intents"], page["blocked_longest"]) == (0, 0, [])


def test_those_blocked_longest_and_the_longest_queues(onelane: Onelane) -> None:
    head = enqueue(onelane)
    for n in range(3):
        enqueue(onelane, "bob@example.test", name=f"N{n}")

    page = onelane("lanes", "--json").json

    assert (page["lanes"], page["intents"], page["whole"]) == (2, 4, True)
    assert page["blocked_longest"][0]["head"] == head
    assert [(one["who"], one["waiting"]) for one in page["longest"]] == [("b***@example.test", 3)]
    shown = onelane("lanes", "--limit", "1").out
    assert "4 intents in 2 lanes" in shown
    assert "its turn waits for a free worker" in shown
    assert MASKED in shown
    assert EMAIL not in shown


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("retrying", "server_error 502: a***@example.test is odd; again in "),
        ("reconciling", "server_error 502: a***@example.test is odd; again in "),
        ("parked", "server_error 502: a***@example.test is odd; again in "),
    ],
)
def test_why_a_lane_was_put_back(state: str, words: str, onelane: Onelane, hand: Hand) -> None:
    enqueue(onelane)
    hand.postpone(LANE, state, REFUSED)

    [lane] = onelane("lanes", "--json").json["blocked_longest"]

    assert lane["state"] == state
    assert lane["why"].startswith(words)
    assert lane["error"]["http_status"] == 502
    assert lane["attempts"] == 1


def test_a_lane_at_work_and_one_whose_worker_died(onelane: Onelane, hand: Hand, valkey: Redis) -> None:
    enqueue(onelane)
    hand.claim(LANE)
    assert onelane("lanes", "--json").json["blocked_longest"][0]["state"] == "working"

    valkey.hset(keyspace.lane(LANE), "until", 1)
    late(valkey, LANE, 6_000)
    assert onelane("lanes", "--json").json["blocked_longest"][0]["state"] == "cut_off"


def test_an_open_write_holds_a_lane(onelane: Onelane, hand: Hand) -> None:
    enqueue(onelane)
    grant = hand.claim(LANE)
    hand.store.checkpoint(grant, "op", open_write='{"op":"update"}', commit_ms=31_000)
    hand.store.postpone(grant, "op2", 0, "retrying", None, False, True, False)

    [lane] = onelane("lanes", "--json").json["blocked_longest"]

    assert lane["state"] == "held"
    assert lane["why"].startswith("a write whose answer was lost may still take effect; certain in 3")


def test_a_stranded_lane_is_named(onelane: Onelane, hand: Hand, valkey: Redis) -> None:
    enqueue(onelane)
    hand.postpone(LANE, "retrying", REFUSED, delay_ms=0)
    late(valkey, LANE, 120_000)

    page = onelane("lanes", "--json").json

    assert page["stranded"] == 1
    assert page["blocked_longest"][0]["why"].startswith("due for 2 min, and nobody came")
    assert "1 lane stranded: due, and nobody came" in onelane("lanes").out


@pytest.mark.parametrize("stopped", ["paused", "open", "trial"])
def test_while_the_line_is_stopped_nobody_is_stranded(
    stopped: str, onelane: Onelane, hand: Hand, valkey: Redis
) -> None:
    enqueue(onelane)
    hand.postpone(LANE, "parked", {"class": "open"}, delay_ms=0)
    late(valkey, LANE, 120_000)
    record = {"state": "paused"} if stopped == "paused" else {"state": "open", "problem": "{}"}
    valkey.hset(keyspace.BREAKER, mapping={**record, "next": 1 if stopped == "trial" else 10**13})

    page = onelane("lanes", "--json").json

    assert page["stranded"] == 0
    assert page["blocked_longest"][0]["state"] == "parked"
    assert page["blocked_longest"][0]["why"] == "waits until the line runs again"


# ── pause and resume ──────────────────────────────────────────────────────────────────────────────────────


def breaker(valkey: Redis) -> Breaker:
    return Breaker(valkey, calls=5, lanes=3, pause_ms=1)


def test_a_pause_stops_everybody_until_it_is_lifted(onelane: Onelane, valkey: Redis) -> None:
    ended = onelane("pause", "--reason", f"import by {EMAIL}")

    assert ended.code == 0
    assert ended.out.startswith("The line is paused. What is under way ends first")
    assert ended.out.endswith("`onelane resume` starts it again.\n")
    assert breaker(valkey).ask().word == "paused"
    since = r"since (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d \(\S+ s ago\)"
    assert re.match(rf"The line is paused {since}: import by {re.escape(MASKED)}\.\n", onelane("lanes").out)
    line = onelane("lanes", "--json").json["line"]
    assert (line["state"], line["why"]["message"]) == ("paused", f"import by {MASKED}")
    assert line["since_ms"] > 0
    assert EMAIL not in json.dumps(valkey.hgetall(keyspace.BREAKER))

    assert onelane("resume").out.startswith("The line runs again; it was paused for ")
    assert breaker(valkey).ask().word == "closed"
    assert onelane("resume").out == "The line was not stopped.\n"


def test_a_stop_of_another_day_is_told_with_its_date(onelane: Onelane, valkey: Redis) -> None:
    at_s = time.time() - 3 * 86_400
    valkey.hset(keyspace.BREAKER, mapping={"state": "open", "since": round(at_s * 1000), "problem": "{}"})
    then = time.strftime("%Y-%m-%d %H:%M:", time.localtime(at_s))
    assert onelane("lanes").out.startswith(f"The line is stopped since {then}")
    assert "(3 d ago)" in onelane("lanes").out


def test_a_pause_without_a_reason(onelane: Onelane) -> None:
    assert onelane("pause", "--json").json == {"line": "paused", "was": "running", "reason": None}
    assert onelane("pause", "--json").json["was"] == "paused"
    assert onelane("pause").out.startswith("The line was paused already; the reason is the new one.")
    assert onelane("lanes").out.startswith("The line is paused since ")
    assert onelane("resume", "--json").json == {"line": "running", "was": "paused", "offered": 0}


def test_resume_starts_a_line_that_an_outage_stopped(onelane: Onelane, valkey: Redis) -> None:
    problem = json.dumps({"class": "unauthorized", "http_status": 401})
    at_ms = round((time.time() - 600) * 1000)
    record = {"state": "open", "since": at_ms, "next": at_ms + 609_900, "problem": problem}
    valkey.hset(keyspace.BREAKER, mapping=record)

    shown = onelane("lanes").out
    assert re.match(
        r"The line is stopped since [\d: -]+ \(10 min ago\): unauthorized 401; tried again in 9\.", shown
    )
    assert onelane("resume").out.startswith(
        "The line runs again; it was stopped for 10 min: unauthorized 401"
    )
    assert valkey.exists(keyspace.BREAKER) == 0


def test_what_to_grant_to_a_token_is_told(onelane: Onelane, valkey: Redis) -> None:
    problem = json.dumps({"class": "forbidden", "http_status": 403, "code": "forbidden"})
    valkey.hset(keyspace.BREAKER, mapping={"state": "open", "next": 1, "problem": problem, "sort": "writes"})
    assert 'grant its app "Write users and companies"' in " ".join(onelane("lanes").out.split())
    assert "Write users and companies" in onelane("lanes", "--json").json["line"]["todo"]


def test_bulk_intents_that_are_stopped_are_told_and_tried_by_a_resume(
    onelane: Onelane, valkey: Redis
) -> None:
    problem = json.dumps({"class": "refused", "http_status": 400, "message": "no attribute plan"})
    record = {"state": "open", "streak": 80, "next": 10**13, "since": 1, "problem": problem}
    valkey.hset(keyspace.BULK_BREAKER, mapping=record)
    assert re.search(r"Bulk intents are stopped since .*: refused 400", onelane("lanes").out)
    assert onelane("lanes", "--json").json["bulk"]["why"]["message"] == "no attribute plan"

    resumed = onelane("resume")
    assert resumed.out.startswith("Bulk intents are tried again now; they were stopped for ")
    bulk = BulkBreaker(valkey, rejections=20, pause_ms=60_000)
    assert [bulk.ask().word for _ in range(2)] == ["trial", "open"]


def test_after_a_resume_a_parked_lane_does_not_wait_for_its_time(
    onelane: Onelane, hand: Hand, valkey: Redis
) -> None:
    enqueue(onelane)
    enqueue(onelane, "bob@example.test")
    onelane("pause")
    hand.postpone(LANE, "parked", {"class": "paused"}, delay_ms=3_600_000)
    hand.postpone(lane_id("bob@example.test"), "retrying", REFUSED, delay_ms=3_600_000)

    assert onelane("resume").out.endswith("1 parked lane is served now.\n")

    turns = [turn for partition in keyspace.PARTITIONS for turn in hand.store.hand_out(partition, 10, {})]
    assert [turn.lane for turn in turns] == [LANE]


# ── the timeline ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_timeline_of_an_address(onelane: Onelane, valkey: Redis) -> None:
    waiting = enqueue(onelane)
    at_ms = 1_700_000_000_000
    call: list[Any] = ["create", "unknown timeout", 15_000]
    ended = {"id": "f" * 32, "kind": "lead_capture", "accepted_ms": at_ms}
    put_back = {"what": "put_back", "at_ms": at_ms + 16_000, "state": "reconciling", "calls": [call]}
    done = {"what": "ended", "at_ms": at_ms + 60_000, "result": "created", "adopted": True, "attempt": 2}
    error = {"error": {"class": "timeout"}, "again_ms": at_ms + 47_000}
    by_operator = by_hand("discarded", "e" * 32, "lead_capture", at_ms + 99_000, reason="a test")
    History(valkey, 60_000).add(LANE, [ended | put_back | error, ended | done, by_operator])

    page = onelane("lane", EMAIL, "--json").json
    shown = onelane("lane", EMAIL).out

    assert [(one["what"], one["id"]) for one in page["timeline"]] == [
        ("accepted", "f" * 32),
        ("put_back", "f" * 32),
        ("ended", "f" * 32),
        ("discarded", "e" * 32),
        ("accepted", waiting),
    ]
    for words in (
        "reconciling, timeout, again after 31 s",
        "    create → unknown timeout, 15000 ms",
        "created, adopted, attempt 2",
        "a test",
    ):
        assert words in shown


def test_an_address_of_which_only_the_past_is_known(onelane: Onelane, valkey: Redis) -> None:
    event = {"what": "ended", "id": "f" * 32, "kind": "lead_capture", "at_ms": 1, "result": "created"}
    History(valkey, 60_000).add(LANE, [event])

    ended = onelane("lane", EMAIL)

    assert ended.code == 0
    assert "Timeline" in ended.out
