"""What a lane stores is read back as it was written; what cannot be read is told without its values."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from onelane import ContactSync, ContactUpsert, LeadCapture, NewsletterOptIn, Outcome, ProductSignUp
from onelane.intents import SettleCheck
from onelane_worker.engine import codec
from onelane_worker.engine.codec import Pointer, Unreadable
from onelane_worker.lanes.types import Grant, GrantedIntent, Lock
from onelane_worker.planner.operations import Problem
from onelane_worker.planner.registry import (
    Burials,
    ConsentMemory,
    Contact,
    Facts,
    Journal,
    RegistryEntry,
    Version,
)

ANN = "ann@example.test"
SECRET = "watson-of-baker-street"
NOW_MS = 1_800_000_000_000

_numbers = st.integers(-(2**63), 2**63 - 1)
_scalars = st.none() | st.booleans() | _numbers | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type as the planner's structs use it."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return _scalars
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = get_type_hints(hint)
        return st.builds(hint, **{name: _values(hints[name]) for name in hint.__struct_fields__})
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (UnionType, Union):
        return st.one_of([_values(each) for each in args])
    if origin is dict:
        return st.dictionaries(st.text(max_size=8), _values(args[1]), max_size=3)
    if origin is tuple:
        return st.lists(_values(args[0]), max_size=3).map(tuple)
    if origin is frozenset:
        return st.frozensets(_values(args[0]), max_size=3)
    simple = {str: st.text(max_size=8), int: _numbers, bool: st.booleans(), NoneType: st.none()}
    return simple[hint]


def _granted(payload: str, **more: Any) -> GrantedIntent:
    return GrantedIntent("a" * 32, payload, NOW_MS, 1, 0, **more)


def _grant(*intents: GrantedIntent, **more: Any) -> Grant:
    return Grant("1" * 32, "t", 1, NOW_MS, intents, True, **more)


def _journal(text: str) -> Journal | None:
    return codec.journal_of(_grant(journal=text))


def _batch(text: str) -> Any:
    return codec.batch_of(_grant(_granted(text)), ConsentMemory())


def _versions(text: str) -> dict[str, Version]:
    return codec.versions_of(Lock("e" * 32, None, {"crm": text}))


READERS: dict[str, Callable[[str], Any]] = {
    "registry": codec.entry_of,
    "consent memory": codec.memory_of,
    "journal": _journal,
    "pointer": codec.pointer_of,
    "versions": _versions,
    "error": codec.problem_of,
    "payload": _batch,
}
CONTACT = Contact(id="c1", role="lead", email=ANN, resolved_ms=1, facts=Facts(id="c1", role="lead"))
STORED: dict[str, Any] = {
    "registry": codec.to_store(RegistryEntry(contacts=(CONTACT,), primary="c1")),
    "consent memory": codec.to_store(ConsentMemory(burials=Burials(count=1, letters={"x": 1}))),
    "journal": codec.journal_json(Journal(intents=("x",), role="user", body={"email": ANN}, sent_ms=1)),
    "pointer": codec.pointer_text(Pointer("c1", "user", "1" * 32)),
    "error": codec.error_json(Problem("refused", 400, "parameter_invalid", "no")),
    "payload": ContactSync(email=ANN, external_id="u-1", custom_attributes={"plan": "pro"}).to_json(),
}


def _changed(data: st.DataObject, value: Any) -> Any:
    """The value with one word of it, somewhere, replaced by another."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(value)))
        return {**value, name: _changed(data, value[name])}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        return [_changed(data, value[0]), *value[1:]]
    return data.draw(_json)


def _read_or_refused(part: str, text: str) -> None:
    try:
        READERS[part](text)
    except Unreadable:
        assert part not in ("registry", "pointer", "error"), "these are not needed to serve the lane"


class TestWhatIsStored:
    @given(_values(RegistryEntry))
    def test_a_registry_entry_comes_back(self, entry: RegistryEntry) -> None:
        assert codec.entry_of(codec.to_store(entry)) == entry

    @given(_values(ConsentMemory))
    def test_a_consent_memory_comes_back(self, memory: ConsentMemory) -> None:
        assert codec.memory_of(codec.to_store(memory)) == memory

    @given(_values(Journal))
    def test_a_journal_comes_back(self, journal: Journal) -> None:
        assert _journal(str(codec.journal_json(journal))) == journal

    @given(_values(Pointer))
    def test_a_pointer_comes_back(self, pointer: Pointer) -> None:
        assert codec.pointer_of(codec.pointer_text(pointer)) == pointer

    @given(st.dictionaries(st.text(), st.builds(Version, number=_numbers, by=st.uuids().map(str))))
    def test_versions_come_back(self, versions: dict[str, Version]) -> None:
        assert codec.versions_of(Lock("e", None, codec.versions_text(versions))) == versions

    def test_what_has_its_usual_value_takes_no_room(self) -> None:
        text = codec.to_store(RegistryEntry(contacts=(CONTACT,)))
        known = '{"id":"c1","role":"lead","email":"ann@example.test","resolved_ms":1,'
        assert text == '{"contacts":[' + known + '"facts":{"id":"c1","role":"lead"}}]}'

    def test_nothing_is_stored_of_what_says_nothing(self) -> None:
        assert codec.to_store(RegistryEntry()) is None
        assert codec.to_store(ConsentMemory()) is None
        assert codec.journal_json(None) is None

    def test_nothing_stored_is_read_as_nothing_known(self) -> None:
        assert codec.entry_of(None) == RegistryEntry()
        assert codec.memory_of(None) == ConsentMemory()
        assert codec.journal_of(_grant()) is None
        assert codec.pointer_of(None) is None

    def test_an_outcome_says_only_what_is_not_usual(self) -> None:
        outcome = Outcome(result="updated", contact_id="c1", role="lead", calls=1, merged=("c2",))
        text = codec.to_json(outcome)
        assert Outcome.model_validate_json(text) == outcome
        assert json.loads(text).keys() == {"result", "contact_id", "role", "calls", "merged"}

    def test_a_problem_comes_back(self) -> None:
        problem = Problem("refused", 422, "parameter_invalid", "no")
        assert codec.problem_of(codec.error_json(problem)) == problem
        assert codec.problem_of(None) == Problem("upstream_error")


class TestJournal:
    TEXT = '{"intents":["x"],"role":"lead","body":{},"sent_ms":5}'

    def test_the_lane_says_until_when_it_may_commit(self) -> None:
        journal = codec.journal_of(_grant(journal=self.TEXT, commit_until_ms=9))
        assert journal is not None
        assert journal.commit_until_ms == 9

    def test_but_what_it_says_itself_counts(self) -> None:
        text = self.TEXT.replace('"sent_ms":5', '"sent_ms":5,"commit_until_ms":7')
        journal = codec.journal_of(_grant(journal=text, commit_until_ms=9))
        assert journal is not None
        assert journal.commit_until_ms == 7


class TestIntents:
    @pytest.mark.parametrize(
        "intent",
        [
            ContactSync(email=ANN, external_id="u", version=3, occurred_at="2026-01-01T00:00:00Z"),
            ContactUpsert(email=ANN, set={"name": "Ann"}, unset=("phone",), role="user"),
            NewsletterOptIn(email=ANN, subscription_types=("7",), trusted=True),
        ],
    )
    def test_one_comes_back_as_its_producer_made_it(self, intent: ContactSync) -> None:
        payload = intent.to_json()
        [accepted] = codec.batch_of(_grant(_granted(payload)), ConsentMemory())
        assert accepted.intent == intent
        assert (accepted.accepted_ms, accepted.size_bytes, accepted.again) == (NOW_MS, len(payload), False)

    def test_a_check_of_our_own_is_one(self) -> None:
        [accepted] = _batch(SettleCheck(email=ANN, tries=2).to_json())
        assert accepted.intent == SettleCheck(email=ANN, tries=2)

    def test_the_batch_ends_before_one_that_cannot_be_read(self) -> None:
        good, bad = _granted(LeadCapture(email=ANN).to_json()), _granted('{"kind":"carrier_pigeon"}')
        assert len(codec.batch_of(_grant(good, good, bad, good), ConsentMemory())) == 2

    @pytest.mark.parametrize(
        ("payload", "why"),
        [
            ('{"kind":"carrier_pigeon","email":"ann@example.test"}', "field kind: must be one of"),
            ('{"kind":"lead_capture","email":"ann@example.test","mood":"x"}', "field mood: is not a field"),
            ('{"kind":"lead_capture","email":"..ann@example.test"}', "field email: is no email address: it"),
            ('{"kind":"settle_check","email":"ann@example.test","tries":"x"}', "field tries"),
            ("[]", "ValueError"),
            ("{", "its form"),
        ],
    )
    def test_a_head_that_cannot_be_read_waits_and_says_why(self, payload: str, why: str) -> None:
        with pytest.raises(Unreadable, match=f"^the intent, {why}") as refused:
            _batch(payload)
        assert "ann" not in str(refused.value)

    def test_a_replayed_one_speaks_of_the_moment_when_it_was_first_accepted(self) -> None:
        granted = _granted(LeadCapture(email=ANN, name="Ann").to_json(), again_ms=NOW_MS + 5_000)
        [accepted] = codec.batch_of(_grant(granted), ConsentMemory())
        assert accepted.again
        assert (accepted.accepted_ms, accepted.acted_ms) == (NOW_MS + 5_000, NOW_MS)

    def test_a_replayed_one_leaves_out_what_was_written_since(self) -> None:
        burials = Burials(count=1, letters={"a" * 32: 1}, written={"name": 1})
        granted = _granted(LeadCapture(email=ANN, name="Ann", phone="1").to_json(), again_ms=NOW_MS)
        for whole, name in ((False, None), (True, "Ann")):
            one = msgspec.structs.replace(ConsentMemory(), burials=burials)
            [accepted] = codec.batch_of(_grant(_replaced(granted, whole=whole)), one)
            assert isinstance(accepted.intent, LeadCapture)
            assert (accepted.intent.name, accepted.intent.phone) == (name, "1")

    def test_a_replayed_sign_up_that_is_wanted_whole_keeps_its_time(self) -> None:
        sign_up = ProductSignUp(email=ANN, external_id="u").to_json()
        [accepted] = codec.batch_of(
            _grant(_granted(sign_up, again_ms=NOW_MS + 5_000, whole=True)), ConsentMemory()
        )
        assert isinstance(accepted.intent, ProductSignUp)
        assert (accepted.intent.signed_up_at, accepted.acted_ms) == (NOW_MS // 1000, NOW_MS + 5_000)


def _replaced(granted: GrantedIntent, **changes: Any) -> GrantedIntent:
    return msgspec.structs.replace(granted, **changes)


@pytest.mark.parametrize("part", READERS)
class TestUnreadable:
    @given(text=st.text(max_size=20) | _json.map(json.dumps))
    @example(text="[" * 100_000)
    @example(text='{"contacts": "x"}')
    @example(text='{"contacts": [1, null, {}]}')
    def test_whatever_is_stored(self, part: str, text: str) -> None:
        _read_or_refused(part, text)

    @pytest.mark.parametrize("value", [SECRET, [SECRET], {SECRET: SECRET}, {"of": [SECRET]}])
    def test_no_value_is_told(self, part: str, value: Any) -> None:
        stored = json.loads(STORED.get(part, "{}"))
        texts = [json.dumps(value), SECRET, *(json.dumps({**stored, name: value}) for name in stored)]
        for text in texts:
            with capture_logs() as logged:
                try:
                    READERS[part](text)
                except Unreadable as error:
                    logged.append({"error": f"{error} {error!r} {error.__cause__}", "log_level": "error"})
            assert SECRET not in str(logged)


@pytest.mark.parametrize("part", STORED)
@given(data=st.data())
def test_whatever_one_word_of_what_is_stored_is(part: str, data: st.DataObject) -> None:
    _read_or_refused(part, json.dumps(_changed(data, json.loads(STORED[part]))))


@pytest.mark.parametrize("part", [part for part in STORED if part != "payload"])
def test_what_a_newer_worker_has_added_is_passed_over(part: str) -> None:
    newer = json.dumps({**json.loads(STORED[part]), "mood": {"of": "the day"}})
    assert READERS[part](newer) == READERS[part](STORED[part])


@pytest.mark.parametrize(
    ("part", "text", "why"),
    [
        ("consent memory", '{"consent":{"all":{"opted_in":"by post","at_ms":1,"by":"x"}}}', "field consent"),
        ("journal", '{"intents":[],"role":"visitor","body":{},"sent_ms":1}', "field role"),
        ("versions", "7.1 x 0", "their form"),
        ("versions", "7 x", "their form"),
    ],
)
def test_what_must_not_be_overruled_says_what_cannot_be_read(part: str, text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=f"^the {part}, {why}$"):
        READERS[part](text)


class TestRegistry:
    def test_contacts_that_can_be_read_are_still_known(self) -> None:
        """Else a lead that the index does not show yet would be made a second time in a rolling upgrade."""
        entry = json.loads(STORED["registry"])
        entry["contacts"][0]["facts"]["source"] = "webhook"
        entry["contacts"].append({"id": "x", "role": "visitor", "resolved_ms": 1})
        with capture_logs() as logged:
            known = codec.entry_of(json.dumps(entry))
        assert known == RegistryEntry(contacts=(CONTACT,)).without_facts()
        assert [(one["place"], one["contacts_kept"]) for one in logged] == [("field contacts", 1)]

    def test_a_contact_is_taken_out(self) -> None:
        other = msgspec.structs.replace(CONTACT, id="c2")
        text = codec.to_store(RegistryEntry(contacts=(CONTACT, other), primary="c1", searched_ms=5))
        assert text is not None
        left = codec.without_contact(text, "c1")
        assert codec.entry_of(left) == RegistryEntry(contacts=(other,), searched_ms=5)

    def test_nothing_is_left_of_an_entry_that_knew_nobody_else(self) -> None:
        text = codec.to_store(RegistryEntry(contacts=(CONTACT,), primary="c1"))
        assert text is not None
        assert codec.without_contact(text, "c1") is None
