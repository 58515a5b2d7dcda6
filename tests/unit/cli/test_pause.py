"""`onelane pause` and `resume`."""

from __future__ import annotations

import json
import re
import time

from redis import Redis

from onelane.keys import Keys

from .helpers import Hand, Onelane

EMAIL = "ann@example.test"
MASKED = "a***@example.test"
KEYS = Keys()


def test_a_pause_stops_everybody_until_it_is_lifted(onelane: Onelane, hand: Hand, valkey: Redis) -> None:
    onelane("enqueue", "lead-capture", "--email", EMAIL)
    ended = onelane("pause", "--reason", f"import by {EMAIL}")

    assert ended.code == 0
    assert ended.out.startswith("The workspace is paused. What is under way ends first")
    assert ended.out.endswith("`onelane resume` starts it again.\n")
    hand.claim_nothing()
    since = r"since (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d \(\S+ s ago\)"
    assert re.match(rf"  breaker  paused {since}: import by {re.escape(MASKED)}\n", onelane("lanes").out)
    told = onelane("lanes", "--json").json["breaker"]
    assert (told["state"], told["why"]["message"]) == ("paused", f"import by {MASKED}")
    assert told["since_ms"] > 0
    assert EMAIL not in json.dumps(valkey.hgetall(KEYS.key("breaker")))

    assert onelane("resume").out.startswith("Intents are served again; the workspace was paused for ")
    assert hand.claim(EMAIL).intents
    assert onelane("resume").out == "Nothing was stopped.\n"


def test_a_pause_without_a_reason(onelane: Onelane) -> None:
    assert onelane("pause", "--json").json == {"breaker": "paused", "was": "closed", "reason": None}
    assert onelane("pause", "--json").json["was"] == "paused"
    assert onelane("pause").out.startswith("The workspace was paused already; the reason is the new one.")
    assert onelane("lanes").out.startswith("  breaker  paused since ")
    told = onelane("resume", "--json").json
    assert told == {"breaker": "closed", "was": "paused", "hold_until_ms": None}


def test_resume_closes_a_breaker_that_an_outage_opened(onelane: Onelane, valkey: Redis) -> None:
    problem = json.dumps({"class": "unauthorized", "http_status": 401})
    at_ms = round((time.time() - 600) * 1000)
    valkey.hset(KEYS.key("breaker"), mapping={"state": "open", "since": at_ms, "next": 1, "problem": problem})
    said = "Intents are served again; the circuit breaker was open for 10 min: unauthorized 401"
    assert onelane("resume").out.startswith(said)
    assert valkey.exists(KEYS.key("breaker")) == 0


def test_bulk_intents_that_are_stopped_are_told_and_served_again_by_a_resume(
    onelane: Onelane, valkey: Redis
) -> None:
    problem = json.dumps({"class": "refused", "http_status": 400, "message": "no attribute plan"})
    record = {"state": "open", "streak": 80, "next": 10**13, "since": 1, "problem": problem}
    valkey.hset(KEYS.key("breaker:bulk"), mapping=record)
    assert re.search(r"bulk     stopped: open since .*: refused 400", onelane("lanes").out)
    assert onelane("lanes", "--json").json["bulk"]["why"]["message"] == "no attribute plan"

    said = "Bulk intents are served again; their circuit breaker was open for "
    assert onelane("resume").out.startswith(said)
    assert onelane("lanes", "--json").json["bulk"]["state"] == "closed"
