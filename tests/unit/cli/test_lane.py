"""`onelane lane`: every state of a lane that a person may meet."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from redis import Redis

from onelane_worker.cli import _output as output
from onelane_worker.lanes.types import Check

from .helpers import Hand, Onelane

EMAIL, BOB = "ann@example.test", "bob@example.test"
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


def registry(now_ms: int) -> dict[str, Any]:
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


def test_a_lane_that_waits_for_a_worker(onelane: Onelane, intent: str, hand: Hand) -> None:
    ended = onelane("lane", " Ann@Example.Test ")

    assert ended.code == 0
    assert ended.out.splitlines()[:2] == [f"{MASKED}  lane {hand.lane(EMAIL)}", "  waits for a free worker"]
    assert intent in ended.out
    assert EMAIL not in ended.out.lower()
    page = onelane("lane", EMAIL, "--json").json
    assert (page["state"], page["ready"], page["breaker"]) == ("ready", "interactive", "closed")


def test_a_lane_at_work(onelane: Onelane, intent: str, hand: Hand) -> None:
    grant = hand.claim(EMAIL)
    hand.checkpoint(grant, '{"op":"create"}')

    ended = onelane("lane", EMAIL)

    assert "  a worker is at it\n" in ended.out
    assert f"fence {grant.fence}\n" in ended.out
    assert "  open write: create, certain in 31 s\n" in ended.out or "certain in 30 s" in ended.out
    page = onelane("lane", EMAIL, "--json").json
    assert page["state"] == "leased"
    assert page["lease_until_ms"] > page["now_ms"]
    assert page["intents"][0]["state"] == "working"


def test_a_lane_whose_worker_died(onelane: Onelane, intent: str, hand: Hand, valkey: Redis) -> None:
    hand.claim(EMAIL)
    valkey.hset(hand.keys.key("lane", hand.lane(EMAIL)), "until", 1)

    ended = onelane("lane", EMAIL)

    assert "  its worker never came back; the next one goes on from what is recorded\n" in ended.out
    assert "  lease ended " in ended.out


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("retrying", REFUSED, f"refused 400 parameter_invalid: [{MASKED}] is odd; again in "),
        ("parked", {"class": "unauthorized", "http_status": 401}, "unauthorized 401; again in "),
        ("parked", {"class": "unreadable"}, "unreadable; again in "),
        ("reconciling", {"class": "reconciling"}, "the index may not show everybody yet; again in "),
        (
            "reconciling",
            {"class": "second_look"},
            "nobody was found, which proves nothing yet; a second look follows; again in ",
        ),
    ],
)
def test_why_it_waits(
    state: str, error: dict[str, Any], words: str, onelane: Onelane, intent: str, hand: Hand
) -> None:
    hand.postpone(EMAIL, state, error)

    page = onelane("lane", EMAIL)
    assert f"\n  {words}" in page.out
    assert onelane("lane", EMAIL, "--json").json["state"] == state


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"class": "second_look"}, "nobody was found, which proves nothing yet; a second look follows"),
        ({"class": "reconciling"}, "the index may not show everybody yet"),
        ({"class": "unauthorized", "http_status": 401, "code": "unauthorized"}, "unauthorized 401"),
        (REFUSED, f"refused 400 parameter_invalid: [{MASKED}] is odd"),
    ],
)
def test_errors_in_words(error: dict[str, Any], words: str, onelane: Onelane) -> None:
    assert output.error_words(error) == words


def test_an_unknown_write_holds_the_lane(onelane: Onelane, intent: str, hand: Hand) -> None:
    grant = hand.claim(EMAIL)
    journal = json.dumps({"role": "lead", "looks": 2, "body": {"email": EMAIL}})
    hand.checkpoint(grant, '{"op":"create"}', journal)
    hand.postpone(EMAIL, "reconciling", delay_ms=0, grant=grant, unknown=True, journal=journal)

    ended = onelane("lane", EMAIL)

    said = r"a write whose answer was lost may still take effect for 3\d s; nobody writes meanwhile"
    assert re.search(said, ended.out)
    assert "  unknown create of a lead, 2 looks so far\n" in ended.out
    assert EMAIL not in ended.out + onelane("lane", EMAIL, "--json").out


def test_a_lane_that_waits_for_an_external_id_names_who_has_it(onelane: Onelane, hand: Hand) -> None:
    for email in (EMAIL, BOB):
        onelane("enqueue", "product-sign-up", "--email", email, "--external-id", "u-1")
    hand.claim(EMAIL)
    hand.claim_nothing()

    page = onelane("lane", BOB, "--json").json

    assert (page["state"], page["blocked_by"]) == ("blocked_by_external_id", hand.lane(EMAIL))
    assert f"another lane works for its external id: lane {hand.lane(EMAIL)}" in onelane("lane", BOB).out


def test_a_change_of_address_waits_for_the_other_lane(onelane: Onelane, hand: Hand) -> None:
    onelane("enqueue", "lead-capture", "--email", BOB)
    change = onelane("enqueue", "email-change", "--email", EMAIL, "--set", f"new_email={BOB}", "--json").json
    hand.claim(BOB)
    hand.claim_nothing()
    page = onelane("lane", EMAIL, "--json").json
    assert (page["state"], page["blocked_by"]) == ("blocked_by_lane", hand.lane(BOB))
    shown = onelane("lane", BOB).out
    assert re.search(rf"^{change['id']}  email-change  of the other lane$", shown, re.MULTILINE)


def test_an_empty_lane_is_asleep_and_shows_what_is_known(
    onelane: Onelane, intent: str, hand: Hand, valkey: Redis
) -> None:
    now = now_ms(valkey)
    consent = {"all": {"opted_in": False, "at_ms": now - 7_200_000, "by": intent, "pending": True}}
    hand.settle(EMAIL, {"result": "updated"}, registry(now), {"consent": consent})

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


def test_an_id_will_do_where_only_a_masked_address_is_seen(
    onelane: Onelane, intent: str, hand: Hand, valkey: Redis
) -> None:
    def told(given: str) -> Any:
        page = onelane("lane", given, "--json").json
        return {name: page[name] for name in ("lane", "who", "waiting")}

    lane = hand.lane(EMAIL)
    expected = {"lane": lane, "who": MASKED, "waiting": 1}
    assert [told(given) for given in (EMAIL, intent, lane, intent.upper())] == [expected] * 4

    hand.settle(EMAIL, {"result": "updated"}, registry(now_ms(valkey)))
    assert [told(given) for given in (EMAIL, intent, lane)] == [expected | {"waiting": 0}] * 3
    unknown = onelane("lane", "0" * 32)
    assert (unknown.code, unknown.err.splitlines()[0]) == (3, f"onelane: nothing is known of {'0' * 32}")


def test_a_lane_of_a_paused_workspace(onelane: Onelane, intent: str) -> None:
    onelane("pause")
    words = "the workspace is paused: nothing is served until `onelane resume`"
    assert f"  {words}\n" in onelane("lane", EMAIL).out


def test_a_settle_check_that_is_owed_is_told(onelane: Onelane, intent: str, hand: Hand) -> None:
    check = Check("c" * 32, json.dumps({"kind": "settle_check", "email": EMAIL}), 600_000)
    hand.settle(EMAIL, {"result": "created"}, {"contacts": []}, check=check)
    assert (
        "  asleep: nothing waits; looked at once more for duplicates in 10 min\n"
        in onelane("lane", EMAIL).out
    )
    assert onelane("lane", EMAIL, "--json").json["state"] == "check"


def test_what_was_not_settled_cleanly_is_told(onelane: Onelane, intent: str, hand: Hand) -> None:
    hand.postpone(EMAIL, "retrying", REFUSED)
    assert "not settled cleanly: no write is skipped because of older facts" in onelane("lane", EMAIL).out


def test_an_address_of_which_nothing_is_known(onelane: Onelane) -> None:
    ended = onelane("lane", EMAIL)

    assert (ended.code, ended.out) == (3, "")
    assert f"nothing is known of {MASKED}" in ended.err
    assert onelane("lane", "nonsense").code == 2


def test_a_page_of_a_long_lane_reads_what_it_shows(onelane: Onelane) -> None:
    lines = "\n".join(json.dumps({"email": EMAIL, "name": f"N{n}"}) for n in range(300))
    onelane("enqueue", "contact-sync", "--from", "-", given=lines)

    page = onelane("lane", EMAIL, "--json").json

    assert (page["waiting"], len(page["intents"])) == (300, 20)
    shown = onelane("lane", EMAIL).out
    assert "Waiting  300 intents, head first" in shown
    assert "… and 280 more" in shown
