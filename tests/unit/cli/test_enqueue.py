"""`onelane enqueue`: from options and files to stored intents."""

from __future__ import annotations

import codecs
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from redis import Redis

from onelane.intents import KINDS
from onelane.keys import Keys
from onelane_worker.cli import _source_file as source_file

from .helpers import Hand, Onelane

EMAIL = "ann@example.test"
KEYS = Keys()


def stored(redis: Redis, intent_id: str) -> Any:
    return json.loads(redis.hget(KEYS.key("intent", intent_id), "payload") or "null")


def test_an_intent_is_stored_and_its_receipt_printed(onelane: Onelane, valkey: Redis, hand: Hand) -> None:
    ended = onelane("enqueue", "newsletter-opt-in", "--email", EMAIL, "--name", "Ann")

    [intent_id] = valkey.lrange(KEYS.key("queue", hand.lane(EMAIL)), 0, -1)
    assert ended.code == 0
    assert ended.out == f"accepted  {intent_id}  newsletter-opt-in  a***@example.test\n"
    assert stored(valkey, intent_id) == {"kind": "newsletter_opt_in", "email": EMAIL, "name": "Ann"}


def test_the_receipt_as_json(onelane: Onelane, hand: Hand) -> None:
    ended = onelane("enqueue", "lead-capture", "--email", EMAIL, "--json")

    lane = hand.lane(EMAIL)
    assert ended.json == {"kind": "lead_capture", "id": ended.json["id"], "lane": lane, "duplicate": False}


def test_every_option_reaches_its_field(onelane: Onelane, valkey: Redis) -> None:
    words = "--external-id u1 --phone +1555 --name Ann --source crm --dedupe-key k --unset avatar"
    words += " --occurred-at 2026-11-23T10:00:00Z -a seats=12 -a plan=pro --attribute trial=false"
    words += " --set version=7 --set create=false"

    ended = onelane("enqueue", "contact-sync", "--email", EMAIL, "--json", *words.split())

    assert stored(valkey, ended.json["id"]) == {
        "kind": "contact_sync",
        "email": EMAIL,
        "external_id": "u1",
        "phone": "+1555",
        "name": "Ann",
        "source": "crm",
        "dedupe_key": "k",
        "unset": ["avatar"],
        "occurred_at": "2026-11-23T10:00:00Z",
        "custom_attributes": {"seats": 12, "plan": "pro", "trial": False},
        "version": 7,
        "create": False,
    }


def test_subscription_types(onelane: Onelane, valkey: Redis) -> None:
    words = ["--subscription-type", "101", "--subscription-type", "102"]

    ended = onelane("enqueue", "newsletter-opt-out", "--email", EMAIL, "--json", *words)

    assert stored(valkey, ended.json["id"])["subscription_types"] == ["101", "102"]


def test_the_fields_of_a_person_are_what_an_upsert_sets(onelane: Onelane, valkey: Redis) -> None:
    words = [
        "--name",
        "Ann",
        "-a",
        "seats=1",
        "--set",
        'set={"phone": "+1"}',
        "--set",
        'set_on_insert={"owner_id": 5}',
    ]

    ended = onelane("enqueue", "contact-upsert", "--email", EMAIL, "--json", *words)

    upsert = stored(valkey, ended.json["id"])
    assert upsert["set"] == {"name": "Ann", "phone": "+1", "custom_attributes": {"seats": 1}}
    assert upsert["set_on_insert"] == {"owner_id": 5}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_enqueued(kind: str, onelane: Onelane, valkey: Redis) -> None:
    extra = {"product_sign_up": ["--external-id", "u1"]}.get(kind, [])
    if kind == "email_change":
        extra = ["--set", "new_email=ann@new.test"]

    ended = onelane("enqueue", kind.replace("_", "-"), "--email", EMAIL, "--json", *extra)

    assert (ended.code, ended.err) == (0, "")
    assert ended.json["kind"] == kind


def test_a_known_dedupe_key_gives_the_first_receipt(onelane: Onelane) -> None:
    words = ("enqueue", "lead-capture", "--email", EMAIL, "--dedupe-key", "k1")
    first = onelane(*words, "--json").json

    again = onelane(*words)

    assert again.code == 0
    assert again.out == f"known  {first['id']}  lead-capture  a***@example.test\n"
    other = onelane(*words, "--name", "Ann")
    assert other.code == 2
    assert first["id"] in other.err


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_json_lines_with_and_without_their_kind(onelane: Onelane, valkey: Redis, tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    lines = [
        {"email": "a@x.test", "name": "A"},
        {"kind": "lead-capture", "email": "b@x.test", "source": "web"},
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")

    ended = onelane("enqueue", "contact-sync", "--from", str(file), "--source", "nightly", "--json")

    assert [line["kind"] for line in ended.lines] == ["contact_sync", "lead_capture"]
    assert stored(valkey, ended.lines[0]["id"])["source"] == "nightly"
    assert stored(valkey, ended.lines[1]["id"])["source"] == "web"


def test_an_array_from_standard_input(onelane: Onelane) -> None:
    people = [{"kind": "lead_capture", "email": f"p{n}@x.test"} for n in range(3)]

    ended = onelane("enqueue", "--from", "-", given=json.dumps(people, indent=1))

    assert ended.code == 0
    assert [line.split()[1:] for line in ended.out.splitlines()] == [["lead-capture", "p***@x.test"]] * 3


def test_of_many_the_number_is_told(onelane: Onelane) -> None:
    people = "\n".join(json.dumps({"email": f"p{n}@x.test", "dedupe_key": "k"}) for n in range(1200))

    assert onelane("enqueue", "contact-sync", "--from", "-", given=people).out == "1,200 intents accepted\n"
    again = onelane("enqueue", "contact-sync", "--from", "-", given=people)
    assert again.out == "1,200 intents accepted, 1,200 of them known by their dedupe keys\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no intents in standard input"),
        ('{"email": "a@x.test"}\n{"email": "b@x.test", "phone": 5}', "line 2: phone: must be a string"),
        ('{"email": "a@x.test"}\nnonsense', "line 2: not JSON"),
        ('[{"email": "a@x.test"}, 5]', "element 2: must be a JSON object"),
        ('[{"email": "a@x.test"}', "the array: not JSON"),
        ('{"kind": "nonsense", "email": "a@x.test"}', "line 1: kind: must be one of newsletter_opt_in"),
    ],
)
def test_nothing_of_a_bad_file_is_sent(text: str, complaint: str, onelane: Onelane, valkey: Redis) -> None:
    ended = onelane("enqueue", "contact-sync", "--from", "-", given=text)

    assert ended.code == 2
    assert complaint in ended.err
    assert valkey.keys("onelane:*") == []


ONE = '{"email": "a@x.test"}'


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (f"{ONE}\n{'[' * 100_000}\n", "line 2: not JSON (nested too deeply at character 202)"),
        (ONE + "\n" + '{"a":' * 100_000, "line 2: not JSON (nested too deeply at character"),
        (f'{ONE}\n\n\n{{"email": "' + "x" * 2**20 + '@x.test"}', "line 4: is longer than 1 MiB"),
        ("[" * 100_000, "the array: not JSON (nested too deeply at line 1, character 202)"),
        (f"\n[{ONE},\n 5 5]", "the array: not JSON (expected `,` or `]` at line 3, character 4)"),
        (f'{ONE}\n{{"email": "a@x.test", "name": NaN}}', "line 2: not JSON (expected value at character 31)"),
        (f"{ONE}\n{{\0}}\n", "line 2: holds a NUL byte: is this UTF-16? Save it as UTF-8"),
        (ONE.encode("utf-16"), "the file: is UTF-16 text; save it as UTF-8"),
        (ONE.encode("utf-16-be"), "line 1: holds a NUL byte: is this UTF-16? Save it as UTF-8"),
        (
            f'{ONE}\n{{"email": "\xe4@x.test"}}'.encode("latin-1"),
            "line 2: not JSON (invalid unicode code point",
        ),
    ],
    ids=lambda given: None if isinstance(given, bytes) else given[:20],
)
def test_what_cannot_be_read_names_its_place(
    content: str | bytes, complaint: str, onelane: Onelane, valkey: Redis, tmp_path: Path
) -> None:
    file = tmp_path / "people"
    file.write_bytes(content.encode() if isinstance(content, str) else content)

    ended = onelane("enqueue", "contact-sync", "--from", str(file))

    assert (ended.code, ended.out) == (2, "")
    assert f"{complaint}" in ended.err
    assert "nothing was sent" in ended.err
    assert valkey.keys("onelane:*") == []


@pytest.mark.parametrize("begins", [b"\0" * 100, b"{", b" ", b"["], ids=["NUL", "object", "blanks", "array"])
def test_of_a_line_without_end_no_more_is_read_than_a_line_may_have(
    begins: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            first, rest = begins[:1], len(buffer)
            self.given += rest
            buffer[:] = (first if first in b"\0 " else b"x") * rest
            if self.given == rest:
                buffer[: len(begins)] = begins
            return rest

    stream = Endless()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(stream)))
    with pytest.raises(typer.Exit):
        list(source_file.entries("-"))
    assert stream.given < source_file.MAX_ARRAY_BYTES + 2**20 if begins == b"[" else stream.given < 2 * 2**20


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n \r\n"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "mark"])
def test_marks_of_windows_and_blank_lines_do_not_matter(
    mark: bytes, end: str, onelane: Onelane, tmp_path: Path
) -> None:
    file = tmp_path / "people"
    people = [{"email": f"p{n}@x.test", "name": "a\u2028b\x85\u000bc"} for n in range(3)]
    lines = [json.dumps(one, ensure_ascii=False) for one in people]
    for text in (end.join(lines), json.dumps(people, indent=1).replace("\n", end)):
        file.write_bytes(mark + text.encode())
        ended = onelane("enqueue", "contact-sync", "--from", str(file), "--json")
        assert (ended.code, len(ended.lines)) == (0, 3), ended.err


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("email-change", "Say the new address: --set new_email=ADDRESS."),
        ("product-sign-up", "Say your id of the user: --external-id ID."),
    ],
)
def test_a_field_that_a_kind_needs_is_hinted_at(kind: str, hint: str, onelane: Onelane) -> None:
    ended = onelane("enqueue", kind, "--email", EMAIL)

    assert ended.code == 2
    assert ended.err.splitlines()[1].strip() == hint


def test_a_deep_value_of_an_option_is_text(onelane: Onelane) -> None:
    ended = onelane("enqueue", "contact-sync", "--email", EMAIL, "--attribute", f"x={'[' * 100_000}")
    assert (ended.code, ended.err) == (2, "onelane: custom_attributes.x: is longer than 255 characters\n")


def test_a_file_that_is_not_there(onelane: Onelane) -> None:
    ended = onelane("enqueue", "--from", "/nowhere.jsonl")

    assert (ended.code, ended.err) == (2, "onelane: cannot read /nowhere.jsonl: No such file or directory\n")


def test_how_far_a_batch_came_before_it_was_full(onelane: Onelane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELANE_LANE_MAX", "2")
    lines = "\n".join(json.dumps({"email": EMAIL, "name": f"N{n}"}) for n in range(4))

    ended = onelane("enqueue", "contact-sync", "--from", "-", given=lines)

    assert ended.code == 1
    assert ended.err.startswith("onelane: 2 of 4 intents stored; 2 were not, the first is number 3\n")
    assert len(ended.out.splitlines()) == 2


def test_a_mismatch_costs_nobody_else_the_receipt(
    onelane: Onelane, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onelane_worker.cli.enqueue.CHUNK", 2)
    taken = onelane("enqueue", "contact-sync", "--email", "p1@x.test", "--dedupe-key", "k", "--json").json[
        "id"
    ]
    people = [{"email": f"p{n}@x.test", "dedupe_key": "k", "name": f"N{n}"} for n in range(5)]
    given = "\n".join(map(json.dumps, people))

    ended = onelane("enqueue", "contact-sync", "--from", "-", "--json", given=given)

    assert ended.code == 2
    assert ended.lines[1] == {"kind": "contact_sync", "id": None, "lane": None, "duplicate": None}
    stored = [line for line in ended.lines if line["id"]]
    assert [line["lane"] for line in stored] == [hand.lane(f"p{n}@x.test") for n in (0, 2, 3, 4)]
    assert all(onelane("status", line["id"]).code == 0 for line in stored)
    assert ended.err.startswith("onelane: 4 of 5 intents stored; number 2 was not\n")
    assert f"the dedupe key already belongs to intent {taken}" in ended.err
    shown = onelane("enqueue", "contact-sync", "--from", "-", given=given)
    assert [line.split()[-1] for line in shown.out.splitlines()] == ["known"] * 4


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("nonsense --email a@x.test", "no such KIND"),
        ("", "say which KIND"),
        ("lead-capture", "email: is required"),
        ("lead-capture --email nobody", "email: is no email address"),
        ("product-sign-up --email a@x.test", "external_id: is required"),
        ("lead-capture --email a@x.test --set version=1", "version: is not a field of this intent"),
        ("lead-capture --email a@x.test --set version", "--set: must be NAME=VALUE"),
        ("lead-capture --email a@x.test -a =1", "--attribute: must be NAME=VALUE"),
        ("lead-capture --email a@x.test --occurred-at today", "occurred_at: must be an aware datetime"),
    ],
)
def test_bad_input_names_the_field_and_what_to_do(words: str, complaint: str, onelane: Onelane) -> None:
    ended = onelane("enqueue", *words.split())

    assert (ended.code, ended.out) == (2, "")
    assert complaint in ended.err


def test_an_unknown_kind_is_answered_with_the_list(onelane: Onelane) -> None:
    for words in (["nonsense"], [], ["--help"]):
        ended = onelane("enqueue", *words)
        assert "newsletter-opt-in, newsletter-opt-out, lead-capture" in " ".join(
            (ended.out + ended.err).split()
        )


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────────────


def test_waiting_in_vain(onelane: Onelane) -> None:
    ended = onelane("enqueue", "lead-capture", "--email", EMAIL, "--wait", "0.05")

    assert ended.code == 5
    assert ended.out.startswith("accepted  ")
    assert "1 intent not ended within 0.05 s" in ended.err


@pytest.fixture
def known(onelane: Onelane, hand: Hand) -> dict[str, list[str]]:
    """Dedupe keys of intents that have ended: enqueued again they give their first receipts, and outcomes."""
    done = ["enqueue", "lead-capture", "--email", EMAIL, "--dedupe-key", "done"]
    dead = ["enqueue", "lead-capture", "--email", "bob@example.test", "--dedupe-key", "dead"]
    onelane(*done)
    onelane(*dead)
    hand.settle(EMAIL, {"result": "created", "contact_id": "6b04", "role": "lead", "calls": 2})
    hand.bury("bob@example.test", {"class": "refused", "message": "bob@example.test is odd"})
    return {"done": done, "dead": dead}


def test_the_outcome_is_awaited(onelane: Onelane, known: dict[str, list[str]]) -> None:
    ended = onelane(*known["done"], "--wait", "5")

    assert ended.code == 0
    assert ended.out.splitlines()[1] == "outcome   created, lead 6b04, 2 calls"
    assert onelane(*known["done"], "--wait", "5", "--json").json["outcome"]["result"] == "created"


def test_a_rejection_is_a_negative_result(onelane: Onelane, known: dict[str, list[str]]) -> None:
    ended = onelane(*known["dead"], "--wait", "5")

    assert ended.code == 1
    assert ended.out.splitlines()[1] == "outcome   rejected, refused, 1 call: b***@example.test is odd"
    told = onelane(*known["dead"], "--wait", "5", "--json").json["outcome"]["message"]
    assert told == "b***@example.test is odd"
    assert "onelane dead show " in ended.err
