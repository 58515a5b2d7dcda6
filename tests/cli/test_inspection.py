"""`onelane status`, `lane` and `dead`: every state a person may meet."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from redis import Redis

from producers.identity import lane_id

from .helpers import Hand, Onelane

EMAIL = "ann@example.test"
LANE = lane_id(EMAIL)
MASKED = "a***@example.test"
REFUSED = {
    "class": "refused",
    "http_status": 400,
    "code": "parameter_invalid",
    "message": f"[{EMAIL}] is odd",
}


@pytest.fixture
def intent(onelane: Onelane) -> str:
    """The id of one waiting intent."""
    receipt: str = onelane("enqueue", "lead-capture", "--email", EMAIL, "--name", "Ann", "--json").json["id"]
    return receipt


def belief(now_ms: int) -> dict[str, Any]:
    facts = {
        "id": "6b04",
        "role": "user",
        "fields": {"name": "[Ann]", "phone": None, "custom_attributes.mail": EMAIL},
        "as_of_ms": now_ms - 3_000,
        "source": "written",
    }
    user = {
        "id": "6b04",
        "role": "user",
        "external_id": "u1",
        "email": EMAIL,
        "resolved_ms": now_ms,
        "facts": facts,
    }
    hint = {"id": "6b05", "role": "lead", "resolved_ms": now_ms, "confirmed": False}
    stones = {"6b06": {"why": "merged", "into": "6b04", "at_ms": now_ms}}
    return {"contacts": [user, hint], "primary": "6b04", "tombstones": stones}


def now_ms(redis: Redis) -> int:
    seconds, micros = redis.time()
    return seconds * 1000 + micros // 1000


# ── status ────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_of_a_waiting_intent(onelane: Onelane, intent: str) -> None:
    ended = onelane("status", intent)

    assert ended.code == 0
    assert ended.out.splitlines()[:2] == [f"lead-capture  {intent}", "  state     waiting"]
    assert onelane("status", intent, "--json").json["state"] == "waiting"


def test_status_of_one_that_is_tried_again(onelane: Onelane, intent: str, hand: Hand) -> None:
    hand.postpone(LANE, "retrying", REFUSED)

    lines = onelane("status", intent).out.splitlines()

    assert lines[1] == "  state     retrying, 1 attempt"
    assert lines[2] == f"  error     refused 400 parameter_invalid: [{MASKED}] is odd"
    assert lines[3].startswith(("  next      in 60 s (", "  next      in 59 s ("))


def test_status_of_one_that_is_done(onelane: Onelane, intent: str, hand: Hand) -> None:
    hand.settle(LANE, {"result": "superseded", "superseded_by": "ff", "calls": 0})

    ended = onelane("status", intent)

    assert ended.code == 0
    assert "  outcome   superseded, by ff, 0 calls\n" in ended.out


def test_a_dead_one_is_a_negative_result(onelane: Onelane, intent: str, hand: Hand) -> None:
    hand.bury(LANE, REFUSED)

    ended = onelane("status", intent)

    assert ended.code == 1
    assert f"  outcome   rejected, refused, 1 call: [{MASKED}] is odd\n" in ended.out
    assert EMAIL not in onelane("status", intent, "--json").out


@pytest.mark.parametrize("intent_id", ["0" * 32, "nonsense"])
def test_an_unknown_id_is_not_found(intent_id: str, onelane: Onelane) -> None:
    ended = onelane("status", intent_id)

    assert (ended.code, ended.out) == (3, "")
    assert "no intent has the id" in ended.err


# ── lane ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lane_that_waits_for_a_worker(onelane: Onelane, intent: str) -> None:
    ended = onelane("lane", " Ann@Example.Test ")

    assert ended.code == 0
    assert ended.out.splitlines()[:2] == [f"{MASKED}  lane {LANE}", "  its turn waits for a free worker"]
    assert intent in ended.out
    assert EMAIL not in ended.out.lower()


def test_a_lane_at_work(onelane: Onelane, intent: str, hand: Hand) -> None:
    grant = hand.claim(LANE)
    hand.store.checkpoint(grant, "op", open_write='{"op":"create"}', commit_ms=31_000)

    ended = onelane("lane", EMAIL)

    assert "  a worker is at it\n" in ended.out
    assert f"fence {grant.fence}\n" in ended.out
    assert "  open write: create, certain in 31 s\n" in ended.out or "certain in 30 s" in ended.out
    page = onelane("lane", EMAIL, "--json").json
    assert page["holder"]["alive"] is True
    assert page["intents"][0]["state"] == "working"


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("retrying", REFUSED, "the last attempt failed, looked at again in "),
        ("parked", {"class": "unauthorized"}, "the line is stopped, looked at again in "),
        (
            "reconciling",
            {"class": "reconciling"},
            "the index may not show everybody yet, looked at again in ",
        ),
        (
            "reconciling",
            {"class": "second_look"},
            "nobody was found, which proves nothing yet: a second look",
        ),
    ],
)
def test_why_it_waits(
    state: str, error: dict[str, Any], words: str, onelane: Onelane, intent: str, hand: Hand
) -> None:
    hand.postpone(LANE, state, error)

    assert words in onelane("lane", EMAIL).out


def test_an_unknown_write_holds_the_lane(onelane: Onelane, intent: str, hand: Hand) -> None:
    grant = hand.claim(LANE)
    journal = json.dumps({"role": "lead", "looks": 2, "body": {"email": EMAIL}})
    hand.store.checkpoint(grant, "op", open_write='{"op":"create"}', commit_ms=31_000, journal=journal)
    hand.store.postpone(grant, "op2", 0, "reconciling", None, False, True, False, journal=journal)

    ended = onelane("lane", EMAIL)

    assert "a write whose answer was lost may still take effect for 3" in ended.out
    assert "  unknown create of a lead, 2 looks so far\n" in ended.out
    assert EMAIL not in ended.out + onelane("lane", EMAIL, "--json").out


def test_an_empty_lane_is_asleep_and_shows_what_is_believed(
    onelane: Onelane, intent: str, hand: Hand, valkey: Redis
) -> None:
    now = now_ms(valkey)
    consent = {"all": {"opted_in": False, "at_ms": now - 7_200_000, "by": intent, "pending": True}}
    hand.settle(LANE, {"result": "updated"}, belief(now), {"consent": consent})

    ended = onelane("lane", EMAIL)

    assert ended.code == 0
    for line in (
        "  asleep: nothing waits",
        "  user, 6b04, external id u1",
        '    name = "[Ann]"',
        f'    custom_attributes.mail = "{MASKED}"',
        "  lead, 6b05, only seen in the index",
        "    its fields are not known",
        "  not to be used: 6b06, merged into 6b04",
        "  all mail: opted out 2 h ago, still to be carried out",
    ):
        assert line in ended.out.splitlines()
    assert re.search(r"^    written \d\.\d s ago$", ended.out, re.MULTILINE)
    page = onelane("lane", EMAIL, "--json").json
    assert page["contacts"][0]["chosen"] is True
    assert page["contacts"][0]["facts"]["name"] == "[Ann]"


def test_of_a_long_lane_the_head_is_shown(onelane: Onelane) -> None:
    lines = "\n".join(json.dumps({"email": EMAIL, "name": f"N{n}"}) for n in range(25))
    onelane("enqueue", "contact-sync", "--from", "-", given=lines)

    ended = onelane("lane", EMAIL)

    assert "Waiting  25 intents, head first" in ended.out
    assert "… and 5 more" in ended.out


def test_an_address_of_which_nothing_is_known(onelane: Onelane) -> None:
    ended = onelane("lane", EMAIL)

    assert (ended.code, ended.out) == (3, "")
    assert f"nothing is known of {MASKED}" in ended.err
    assert onelane("lane", "nonsense").code == 2


# ── dead ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_dead_letters_are_listed_oldest_first(onelane: Onelane, hand: Hand) -> None:
    assert onelane("dead", "list").out == "No dead letters.\n"
    buried = []
    for name in ("ann", "bob", "cleo"):
        email = f"{name}@example.test"
        buried.append(onelane("enqueue", "lead-capture", "--email", email, "--json").json["id"])
        hand.bury(lane_id(email), REFUSED)

    ended = onelane("dead", "list", "--json")

    assert [line["id"] for line in ended.lines] == buried
    assert [line["who"] for line in ended.lines] == [
        "a***@example.test",
        "b***@example.test",
        "c***@example.test",
    ]
    page = onelane("dead", "list", "--limit", "2").out
    assert buried[1] in page
    assert buried[2] not in page
    assert page.endswith("There are more: raise --limit.\n")


def test_a_dead_letter_is_shown_whole(onelane: Onelane, intent: str, hand: Hand) -> None:
    hand.bury(LANE, REFUSED)

    shown = json.loads(onelane("dead", "show", intent).out)

    assert shown["payload"] == {"kind": "lead_capture", "email": MASKED, "name": "Ann"}
    assert shown["error"]["message"] == f"[{MASKED}] is odd"
    assert shown == onelane("dead", "show", intent, "--json").json


def test_what_is_not_dead_is_not_found(onelane: Onelane, intent: str) -> None:
    assert onelane("dead", "show", intent).code == 3
    assert onelane("dead", "show", "0" * 32).code == 3
    assert onelane("dead", "show", "nonsense").code == 2
