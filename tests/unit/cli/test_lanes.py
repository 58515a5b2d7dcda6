"""`onelane lanes`: whether intents are served, who waits, and why."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from redis import Redis

from onelane.keys import Keys

from .helpers import Hand, Onelane

EMAIL, BOB = "ann@example.test", "bob@example.test"
MASKED = "a***@example.test"
REFUSED = {"class": "server_error", "http_status": 502, "message": f"{EMAIL} is odd"}
KEYS = Keys()


def enqueue(onelane: Onelane, email: str = EMAIL, **fields: str) -> str:
    words = [word for name, value in fields.items() for word in (f"--{name}", value)]
    receipt: str = onelane("enqueue", "lead-capture", "--email", email, *words, "--json").json["id"]
    return receipt


def first(onelane: Onelane) -> Any:
    """Who waits longest."""
    return onelane("lanes", "--json").json["waiting_longest"][0]


def test_nothing_waits_and_nobody_works(onelane: Onelane, valkey: Redis) -> None:
    assert onelane("lanes").out == "  breaker  closed\n  workers  none is alive\n  waiting  no intent\n"
    page = onelane("lanes", "--json").json
    assert (page["lanes"], page["intents"], page["waiting_longest"], page["oldest_s"]) == (0, 0, [], None)
    assert valkey.keys() == []  # looking changes nothing


def test_workers_that_ticked_are_named(onelane: Onelane, hand: Hand) -> None:
    hand.alive("onelane-1@box", "e1")
    hand.alive("onelane-2@box", "e2")
    assert "  workers  2: onelane-1 on box, onelane-2 on box\n" in onelane("lanes").out
    hand.redis.zadd(KEYS.key("engines"), {"e2": int(time.time() * 1000) - 12_000})
    assert onelane("lanes", "--json").json["workers"] == ["onelane-1@box"]


def test_who_waits_longest_and_the_longest_queues(onelane: Onelane, hand: Hand) -> None:
    head = enqueue(onelane)
    for n in range(3):
        enqueue(onelane, BOB, name=f"N{n}")
    hand.claim(BOB)

    page = onelane("lanes", "--json").json

    assert (page["lanes"], page["intents"], page["whole"]) == (2, 4, True)
    assert (page["ready"], page["due"], page["states"]) == (1, 1, {"ready": 1, "leased": 1})
    assert page["waiting_longest"][0]["head"] == head
    assert page["oldest_s"] >= page["waiting_longest"][0]["waited_s"] > 0
    assert [(one["who"], one["waiting"]) for one in page["longest_queues"]] == [("b***@example.test", 3)]
    shown = onelane("lanes", "--limit", "1").out
    assert re.search(r"waiting  4 intents in 2 lanes, the oldest for \d\.\d s\n", shown)
    assert "  lanes    1 leased, 1 ready\n" in shown
    assert "waits for a free worker" in shown
    assert MASKED in shown
    assert EMAIL not in shown


@pytest.mark.parametrize("state", ["retrying", "reconciling", "parked"])
def test_why_a_lane_was_put_back(state: str, onelane: Onelane, hand: Hand) -> None:
    enqueue(onelane)
    hand.postpone(EMAIL, state, REFUSED)

    lane = first(onelane)

    assert lane["state"] == state
    assert lane["why"].startswith("server_error 502: a***@example.test is odd; again in ")
    assert lane["error"]["http_status"] == 502
    assert lane["attempts"] == 1


def test_a_lane_at_work_and_one_whose_worker_died(onelane: Onelane, hand: Hand) -> None:
    enqueue(onelane)
    hand.claim(EMAIL)
    assert first(onelane)["state"] == "leased"

    hand.redis.hset(KEYS.key("lane", hand.lane(EMAIL)), "until", 1)
    hand.late(EMAIL, 6_000)
    assert first(onelane)["state"] == "cut_off"


def test_an_open_write_holds_a_lane(onelane: Onelane, hand: Hand) -> None:
    enqueue(onelane)
    grant = hand.claim(EMAIL)
    hand.checkpoint(grant, '{"op":"update"}')
    hand.postpone(EMAIL, "retrying", delay_ms=0, grant=grant, unknown=True)

    lane = first(onelane)

    assert lane["state"] == "held"
    assert lane["why"].startswith("a write whose answer was lost may still take effect for 3")


def test_blocked_lanes_name_the_lane_that_they_wait_for(onelane: Onelane, hand: Hand) -> None:
    for email in (EMAIL, BOB):
        onelane("enqueue", "product-sign-up", "--email", email, "--external-id", "u-1")
    hand.claim(EMAIL)
    hand.claim_nothing()

    page = onelane("lanes", "--json").json

    assert page["states"] == {"leased": 1, "blocked_by_external_id": 1}
    assert [one["blocked_by"] for one in page["waiting_longest"]] == [None, hand.lane(EMAIL)]
    assert "1 leased, 1 blocked" in onelane("lanes").out


def test_a_lane_that_only_owes_a_check_does_not_wait(onelane: Onelane, hand: Hand) -> None:
    enqueue(onelane)
    check: Any = hand.check_in(600_000)
    hand.settle(EMAIL, {"result": "created"}, {"contacts": []}, check=check)
    page = onelane("lanes", "--json").json
    assert (page["lanes"], page["due"]) == (0, 1)


def test_a_stranded_lane_is_named(onelane: Onelane, hand: Hand) -> None:
    enqueue(onelane)
    hand.postpone(EMAIL, "retrying", REFUSED)
    hand.late(EMAIL, 180_000)

    page = onelane("lanes", "--json").json

    assert page["states"] == {"stranded": 1}
    assert page["waiting_longest"][0]["why"].startswith("due for 2 min, and nobody came")
    assert "Stranded: due, and nobody came. `onelane doctor` looks why." in onelane("lanes").out


@pytest.mark.parametrize("stopped", ["paused", "open"])
def test_while_nothing_is_served_nobody_is_stranded(stopped: str, onelane: Onelane, hand: Hand) -> None:
    enqueue(onelane)
    hand.postpone(EMAIL, "parked", {"class": "server_error"})
    hand.late(EMAIL, 180_000)
    hand.redis.hset(KEYS.key("breaker"), mapping={"state": stopped, "next": 1, "problem": "{}"})

    lane = first(onelane)

    assert lane["state"] == "due"
    assert "nothing is served until" in lane["why"]


def test_of_very_many_lanes_both_ends_are_looked_at_and_all_are_counted(
    onelane: Onelane, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "\n".join(json.dumps({"email": f"p{n}@x.test"}) for n in range(7))
    onelane("enqueue", "lead-capture", "--from", "-", given=lines)
    monkeypatch.setattr("onelane_worker.operate.survey.survey.__defaults__", (2,))

    page = onelane("lanes", "--json").json

    assert (page["ready"], page["lanes"], page["whole"], page["intents"]) == (7, 4, False, 7)
    shown = onelane("lanes").out
    assert "7 intents in 7 lanes, 4 of them looked at, the oldest for " in shown
    assert "  lanes    7 ready\n" in shown


# ── whether intents are served ────────────────────────────────────────────────────────────────────────────


def test_a_stop_of_another_day_is_told_with_its_date(onelane: Onelane, valkey: Redis) -> None:
    at_s = time.time() - 3 * 86_400
    record = {"state": "open", "since": round(at_s * 1000), "problem": "{}"}
    valkey.hset(KEYS.key("breaker"), mapping=record)
    then = time.strftime("%Y-%m-%d %H:%M:", time.localtime(at_s))
    assert onelane("lanes").out.startswith(f"  breaker  open since {then}")
    assert "(3 d ago)" in onelane("lanes").out


def test_an_open_breaker_tells_when_intercom_is_probed(onelane: Onelane, valkey: Redis) -> None:
    at_ms = round((time.time() - 600) * 1000)
    problem = json.dumps({"class": "unauthorized", "http_status": 401})
    record = {"state": "open", "since": at_ms, "next": at_ms + 609_900, "problem": problem}
    valkey.hset(KEYS.key("breaker"), mapping=record)
    said = r"  breaker  open since [\d: -]+ \(10 min ago\): unauthorized 401; probed again in 9\."
    assert re.match(said, onelane("lanes").out)
    told = onelane("lanes", "--json").json["breaker"]
    assert (told["state"], told["next_probe_ms"]) == ("open", at_ms + 609_900)


def test_a_half_open_breaker_and_a_streak(onelane: Onelane, valkey: Redis) -> None:
    valkey.hset(KEYS.key("breaker"), mapping={"state": "half", "since": 1, "problem": "{}"})
    assert "; one lane at a time is served until a call is answered\n" in onelane("lanes").out
    valkey.delete(KEYS.key("breaker"))
    valkey.hset(KEYS.key("breaker"), "streak", 2)
    assert onelane("lanes").out.startswith("  breaker  closed\n")


def test_what_to_grant_to_a_token_is_told(onelane: Onelane, valkey: Redis) -> None:
    problem = json.dumps({"class": "forbidden", "http_status": 403, "code": "forbidden"})
    record = {"state": "open", "next": 1, "problem": problem, "sort": "writes"}
    valkey.hset(KEYS.key("breaker"), mapping=record)
    assert 'grant its app "Write users and companies"' in " ".join(onelane("lanes").out.split())
    assert "Write users and companies" in onelane("lanes", "--json").json["breaker"]["todo"]


def test_the_failover_hold_is_told_with_its_end(onelane: Onelane, valkey: Redis) -> None:
    enqueue(onelane)
    now_ms = round(time.time() * 1000)
    valkey.hset(KEYS.key("epoch"), mapping={"server": "s", "since": now_ms})

    page = onelane("lanes", "--json").json

    assert 25_000 < page["hold_until_ms"] - now_ms <= 31_000
    assert re.search(
        r"hold     Redis was restarted or failed over: nothing is served for \d+ s more", onelane("lanes").out
    )
    assert page["waiting_longest"][0]["why"].startswith("Redis was restarted or failed over")

    assert onelane("resume").out.endswith("`onelane resume --now` ends that at once.\n")
    assert onelane("lanes", "--json").json["hold_until_ms"] is not None
    assert onelane("resume", "--now").out == "The failover hold has ended.\n"
    assert onelane("lanes", "--json").json["hold_until_ms"] is None


def test_a_server_that_can_have_lost_nothing_holds_up_nobody(onelane: Onelane, valkey: Redis) -> None:
    valkey.hset(KEYS.key("epoch"), mapping={"server": "s", "since": 0})
    assert onelane("lanes", "--json").json["hold_until_ms"] is None


def test_data_of_version_0_2_is_named_by_every_command(onelane: Onelane, valkey: Redis) -> None:
    valkey.hset("onelane:{0}:counters", "pending", 3)
    for words in (["lanes"], ["lane", EMAIL], ["dead", "list"], ["status", "0" * 32], ["pause"]):
        ended = onelane(*words)
        assert (ended.code, "data of Onelane 0.2 (3 waiting intents" in ended.err) == (1, True), words
    ended = onelane("enqueue", "lead-capture", "--email", EMAIL, "--json")
    assert (ended.code, ended.json["failed"]["exit_code"]) == (1, 1)


def test_another_workspace_is_looked_at_by_its_name(
    onelane: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(onelane)
    monkeypatch.setenv("ONELANE_WORKSPACE", "shop")
    assert onelane("lanes", "--json").json["lanes"] == 0
    monkeypatch.setenv("ONELANE_WORKSPACE", "No Such Name")
    assert onelane("lanes").code == 2
