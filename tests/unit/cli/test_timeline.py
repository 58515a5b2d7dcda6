"""The timeline of `onelane lane`."""

from __future__ import annotations

import json
from typing import Any

from onelane.keys import Keys
from onelane_worker.engine.timeline import by_hand

from .helpers import Hand, Onelane

EMAIL = "ann@example.test"
KEYS = Keys()


def store(hand: Hand, *events: str) -> None:
    hand.redis.rpush(KEYS.key("timeline", hand.lane(EMAIL)), *events)


def test_the_timeline_of_an_address(onelane: Onelane, hand: Hand) -> None:
    waiting = onelane("enqueue", "lead-capture", "--email", EMAIL, "--json").json["id"]
    at_ms = 1_700_000_000_000
    call: list[Any] = ["create", "unknown timeout", 15_000]
    ended = {"id": "f" * 32, "kind": "lead_capture", "accepted_ms": at_ms}
    put_back = {"what": "put_back", "at_ms": at_ms + 16_000, "state": "reconciling", "calls": [call]}
    done = {"what": "ended", "at_ms": at_ms + 60_000, "result": "created", "adopted": True, "attempt": 2}
    error = {"error": {"class": "timeout"}, "again_ms": at_ms + 47_000}
    by_operator = by_hand("discarded", "e" * 32, "lead_capture", at_ms + 99_000, reason="a test")
    store(hand, json.dumps(ended | put_back | error), json.dumps(ended | done), by_operator)

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


def test_an_address_of_which_only_the_past_is_known(onelane: Onelane, hand: Hand) -> None:
    event = {"what": "ended", "id": "f" * 32, "kind": "lead_capture", "at_ms": 1, "result": "created"}
    store(hand, json.dumps(event))

    ended = onelane("lane", EMAIL)

    assert ended.code == 0
    assert "Timeline" in ended.out
