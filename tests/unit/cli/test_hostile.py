"""A hostile dead letter: whatever a text holds, no page clears the screen, forges a line or hides one."""

from __future__ import annotations

import ast
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

import onelane_worker.cli
from onelane.keys import Keys
from onelane_worker.cli import _output as output

from .helpers import Hand, Onelane

ANN = "o'watson@example.test"
HOSTILE = "\x1b[2J\x9b31m[red]x[/] o'watson@example.test\r\n1 dead letter replayed.\u202e\u2028\x07"
ERROR = {"class": "refused", "http_status": 400, "code": HOSTILE, "message": HOSTILE}
Pages = list[list[str]]
KEYS = Keys()


def steering(text: str) -> set[str]:
    """The characters in it that do something to a terminal. A program's line ends with a line feed."""
    categories = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {c for c in text if unicodedata.category(c) in categories and c not in "\n\u200c\u200d"}


@pytest.fixture
def letter(onelane: Onelane, hand: Hand, valkey: Redis) -> str:
    """The id of one. Behind it waits another intent, put back with the same error."""
    id_: str = onelane("enqueue", "lead-capture", "--email", ANN, "--json").json["id"]
    hand.bury(ANN, ERROR)
    payload = {"kind": HOSTILE, "email": ANN, "name": HOSTILE, "custom_attributes": {HOSTILE: HOSTILE}}
    valkey.hset(KEYS.key("intent", id_), mapping={"payload": json.dumps(payload), "kind": HOSTILE})
    other = onelane("enqueue", "lead-capture", "--email", ANN, "--json").json["id"]
    hand.postpone(ANN, "retrying", ERROR)
    valkey.hset(KEYS.key("intent", other), "payload", json.dumps(payload))
    facts = {"id": HOSTILE, "role": "user", "fields": {HOSTILE: HOSTILE}, "source": "read", "as_of_ms": 1}
    known = {"id": HOSTILE, "role": "user", "external_id": HOSTILE, "resolved_ms": 1, "facts": facts}
    registry = {"contacts": [known], "tombstones": {HOSTILE: {"why": "gone", "at_ms": 1}}}
    consent = {"consent": {HOSTILE: {"opted_in": True, "at_ms": 1, "by": HOSTILE}}}
    valkey.set(KEYS.key("registry", hand.lane(ANN)), json.dumps(registry))
    valkey.set(KEYS.key("consent", hand.lane(ANN)), json.dumps(consent))
    return id_


@pytest.fixture
def pages(letter: str, onelane: Onelane) -> Pages:
    onelane("pause", "--reason", HOSTILE)
    return [
        ["dead", "list"],
        ["dead", "list", "--kind", HOSTILE],
        ["dead", "show", letter],
        ["dead", "replay", "--all", "--dry-run"],
        ["dead", "discard", "--all", "--reason", HOSTILE, "--dry-run"],
        ["lane", ANN],
        ["lane", letter],
        ["lanes"],
        ["status", letter],
        ["pause", "--reason", HOSTILE],
    ]


def test_no_page_steers_the_terminal_or_names_the_person(pages: Pages, onelane: Onelane) -> None:
    for words in pages:
        ended = onelane(*words)
        said = ended.out + ended.err
        assert not steering(said), words
        assert "watson" not in said, words
        assert not any(line.startswith("1 dead letter replayed") for line in said.splitlines()), words


def test_every_document_stays_json_and_steers_nothing_either(pages: Pages, onelane: Onelane) -> None:
    for words in pages:
        ended = onelane(*words, "--json")
        assert not steering(ended.out), words
        assert "watson" not in ended.out, words
        assert all(json.loads(line) is not None for line in ended.out.splitlines())
    whole = onelane("dead", "show", pages[2][-1], "--json").json
    assert "\x1b[2J" in whole["payload"]["name"]


def test_what_was_typed_by_mistake_steers_nothing(onelane: Onelane) -> None:
    typed = (
        [HOSTILE],
        ["status", HOSTILE],
        ["dead", "show", HOSTILE],
        ["lane", HOSTILE],
        ["lanes", f"--{HOSTILE}"],
        ["enqueue", HOSTILE],
        ["enqueue", "--from", HOSTILE],
        ["enqueue", "lead-capture", "--set", HOSTILE],
        ["dead", "list", "--older-than", HOSTILE],
    )
    for words in typed:
        ended = onelane(*words)
        assert ended.code != 0
        assert not steering(ended.out + ended.err), words
        assert "watson" not in ended.out + ended.err, words


# ── every page is made by these ───────────────────────────────────────────────────────────────────────────

texts = st.text(max_size=40) | st.text(st.sampled_from("\x1b[2Ja\r\n\x9b\u202e\u2028@ \x07\x08"), max_size=40)


@given(st.lists(texts, min_size=6, max_size=6))
def test_whatever_is_stored_a_page_has_as_many_lines_as_entries(given: list[str]) -> None:
    a, b, c, d, e, f = (f"x{text}x" for text in given)
    with pytest.MonkeyPatch.context() as patch:
        screen: list[str] = []
        patch.setattr("sys.stdout.write", screen.append, raising=False)
        patch.setattr(output, "console", lambda: _Paper(screen))
        output.tell(a)
        output.print_facts([output.Fact(b, c), output.Fact("", d)])
        output.print_entries([([a, b], [c, d]), ([e, f], "")], ("one", "two"))
    assert len(screen) == 1 + 2 + 1 + 4
    assert not steering("".join(screen))


class _Paper:
    """A console that keeps the lines as they are."""

    is_terminal = False
    width = 120

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def print(self, line: object, **_: object) -> None:
        self._lines.append(str(line))


@given(
    st.recursive(
        st.none() | st.floats(allow_nan=False) | texts,
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    )
)
def test_json_of_whatever_is_stored_is_json_without_raw_characters(value: object) -> None:
    document = output.escaped_json(value)
    assert json.loads(document) == value
    assert not steering(document)


OWN_WORDS_ONLY = {"main.py", "_output.py", "sandbox.py", "up.py", "demo/command.py", "demo/report.py"}
"""Besides _output.py, these print what stands in the source, numbers, and addresses of local servers."""
PRINTS = {"print", "echo", "write", "secho", "console", "notes"}


def test_no_other_page_prints_by_itself() -> None:
    home = Path(onelane_worker.cli.__file__).parent
    found = set()
    for path in home.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {getattr(call, "id", getattr(call, "attr", "")) for call in calls}
        found |= {str(path.relative_to(home))} if names & PRINTS else set()
    assert found <= OWN_WORDS_ONLY
