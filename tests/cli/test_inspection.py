"""`onelane status`, `lane` and `dead`: every state a person may meet."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from onelane.identity import lane_id
from redis import Redis

from onelane_worker.cli import _output as output

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


def test_an_address_instead_of_an_id_is_masked(onelane: Onelane) -> None:
    for words in ([], ["--json"]):
        ended = onelane("status", EMAIL, *words)
        assert ended.code == 3
        assert f"onelane: no intent has the id '{MASKED}'" in ended.err
        assert EMAIL not in ended.out + ended.err


@pytest.mark.parametrize("intent_id", ["0" * 32, "nonsense"])
def test_an_unknown_id_is_not_found(intent_id: str, onelane: Onelane) -> None:
    ended = onelane("status", intent_id)

    assert (ended.code, ended.out) == (3, "")
    assert "no intent has the id" in ended.err
    told = onelane("status", intent_id, "--json")
    assert (told.code, told.json["failed"]["exit_code"]) == (3, 3)
    assert "no intent has the id" in told.json["failed"]["message"]


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
        ("parked", {"class": "unauthorized"}, "put back when the line was stopped, looked at again in "),
        ("parked", {"class": "unreadable"}, "this head needs a newer worker, looked at again in "),
        (
            "reconciling",
            {"class": "reconciling"},
            "the index may not show everybody yet, looked at again in ",
        ),
        (
            "reconciling",
            {"class": "second_look"},
            "nobody was found, which proves nothing yet; a second look",
        ),
    ],
)
def test_why_it_waits(
    state: str, error: dict[str, Any], words: str, onelane: Onelane, intent: str, hand: Hand
) -> None:
    hand.postpone(LANE, state, error)

    assert words in onelane("lane", EMAIL).out


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"class": "second_look"}, "nobody was found, which proves nothing yet; a second look follows"),
        ({"class": "reconciling"}, "the index may not show everybody yet"),
        ({"class": "open", "message": "the line is stopped"}, "the line is stopped"),
        ({"class": "paused", "message": "the line is stopped"}, "the line is paused"),
        ({"class": "unauthorized", "http_status": 401, "code": "unauthorized"}, "unauthorized 401"),
        (REFUSED, f"refused 400 parameter_invalid: [{MASKED}] is odd"),
    ],
)
def test_errors_in_words(error: dict[str, Any], words: str, onelane: Onelane) -> None:
    assert output.error_words(error) == words


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


def test_an_id_will_do_where_only_a_masked_address_is_seen(
    onelane: Onelane, intent: str, hand: Hand, valkey: Redis
) -> None:
    def told(given: str) -> Any:
        page = onelane("lane", given, "--json").json
        return {name: page[name] for name in ("lane", "who", "waiting")}

    expected = {"lane": LANE, "who": MASKED, "waiting": 1}
    assert [told(given) for given in (EMAIL, intent, LANE, intent.upper())] == [expected] * 4

    hand.settle(LANE, {"result": "updated"}, belief(now_ms(valkey)))
    assert [told(given) for given in (EMAIL, intent, LANE)] == [expected | {"waiting": 0}] * 3
    unknown = onelane("lane", "0" * 32)
    assert (unknown.code, unknown.err.splitlines()[0]) == (3, f"onelane: nothing is known of {'0' * 32}")


def test_a_lane_of_a_stopped_line(onelane: Onelane, intent: str) -> None:
    onelane("pause")
    assert "  the line is paused: nobody is served until it runs again\n" in onelane("lane", EMAIL).out


def test_an_address_of_which_nothing_is_known(onelane: Onelane) -> None:
    ended = onelane("lane", EMAIL)

    assert (ended.code, ended.out) == (3, "")
    assert f"nothing is known of {MASKED}" in ended.err
    assert onelane("lane", "nonsense").code == 2


# ── dead ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def buried(onelane: Onelane, hand: Hand) -> list[str]:
    """Three dead letters, the oldest first."""
    ids = []
    for name in ("ann", "bob", "cleo"):
        email = f"{name}@example.test"
        ids.append(onelane("enqueue", "lead-capture", "--email", email, "--json").json["id"])
        hand.bury(lane_id(email), REFUSED)
    return ids


def test_no_dead_letters(onelane: Onelane) -> None:
    assert onelane("dead", "list").out == "No dead letters.\n"
    told = onelane("dead", "list", "--json")
    assert (told.code, told.lines, told.err) == (0, [], "")  # JSON lines, as of every list: none for none
    for verb in (["replay"], ["discard", "--reason", "x"]):
        told = onelane("dead", *verb, "--all", "--dry-run", "--json")
        assert (told.code, told.lines) == (0, [])
    assert "no line if there is none" in " ".join(onelane("dead", "list", "--help").out.split())


def test_dead_letters_are_listed_newest_first(onelane: Onelane, buried: list[str]) -> None:
    ended = onelane("dead", "list", "--json")

    assert [line["id"] for line in ended.lines] == buried[::-1]
    assert [line["who"] for line in ended.lines] == [f"{letter}***@example.test" for letter in "cba"]
    assert ended.err == ""


def test_of_many_the_newest_are_shown_and_the_rest_is_counted(onelane: Onelane, buried: list[str]) -> None:
    page = onelane("dead", "list", "--limit", "1")
    assert buried[2] in page.out
    assert buried[0] not in page.out
    assert "\n… and 2 older: --limit 3 shows them all.\n" in page.out

    told = onelane("dead", "list", "--limit", "1", "--json")
    assert [line["id"] for line in told.lines] == buried[2:]
    assert told.err == "… and 2 older: --limit 3 shows them all.\n"


def test_a_list_of_some(onelane: Onelane, buried: list[str]) -> None:
    listed = onelane("dead", "list", buried[0], buried[1], "--error", "400", "--json")
    assert [line["id"] for line in listed.lines] == [buried[1], buried[0]]
    none = onelane("dead", "list", "--kind", "contact-sync")
    assert none.out == "No dead letter matches. `onelane dead list` shows all.\n"
    assert onelane("dead", "list", "nonsense").code == 2


def test_a_dead_letter_is_shown_whole(onelane: Onelane, intent: str, hand: Hand) -> None:
    hand.bury(LANE, REFUSED)

    told = onelane("dead", "show", intent, "--json").json
    assert told["payload"] == {"kind": "lead_capture", "email": MASKED, "name": "Ann"}
    assert told["error"]["message"] == f"[{MASKED}] is odd"
    assert told["left_out"] is None

    page = onelane("dead", "show", intent).out
    for words in (
        f"lead-capture  {intent}  {MASKED}\n",
        f"  why       refused 400 parameter_invalid: [{MASKED}] is odd\n",
        '  wanted    name = "Ann"\n',
        "  replay    what was written since is not remembered any more: --as-is applies it whole\n",
        f"  onelane dead replay {intent}\n",
    ):
        assert words in page
    assert EMAIL not in page


def test_what_is_not_dead_is_not_found(onelane: Onelane, intent: str) -> None:
    assert onelane("dead", "show", intent).code == 3
    assert onelane("dead", "show", "0" * 32).code == 3
    assert onelane("dead", "show", "nonsense").code == 2


def test_a_page_of_a_long_lane_reads_what_it_shows(
    onelane: Onelane, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "\n".join(json.dumps({"email": EMAIL, "name": f"N{n}"}) for n in range(300))
    onelane("enqueue", "contact-sync", "--from", "-", given=lines)
    read: list[str] = []
    real = Redis.hgetall
    monkeypatch.setattr(
        "redis.client.Pipeline.hgetall", lambda self, key: read.append(key) or real(self, key)
    )

    page = onelane("lane", EMAIL).out

    assert "Waiting  300 intents, head first" in page
    assert "… and 280 more" in page
    assert len(read) < 50
