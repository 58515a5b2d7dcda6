"""What is stored cannot be read: a newer worker's word in a rolling upgrade, or garbage. No lane is held."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.world.world import World

from onelane import ContactSync, EmailChange, LeadCapture, ProductSignUp

ANN, BOB = "ann@example.test", "bob@example.test"
LATER = ContactSync(email=ANN, external_id="u-1", name="Anna", source="crm", version=8)
JOURNAL = {"intents": ["1"], "role": "user", "body": {"email": ANN}, "sent_ms": 1}


def _lane(world: World) -> str:
    return world.workspace.lane(ANN)


def _ext(world: World) -> str:
    return world.workspace.external_id("u-1")


def _head(world: World) -> str:
    return str(world.family("queue")[world.workspace.lane(ANN)][0])


def _text(family: str, email: str) -> Callable[[World], tuple[str, ...]]:
    return lambda world: ("SET", world.workspace.keys.key(family, world.workspace.lane(email)))


def _field(family: str, name: Callable[[World], str], field: str) -> Callable[[World], tuple[str, ...]]:
    def command(world: World) -> tuple[str, ...]:
        return "HSET", world.workspace.keys.key(family, name(world)), field

    return command


PARTS: dict[str, Callable[[World], tuple[str, ...]]] = {
    "registry": _text("registry", ANN),
    "registry of the new address": _text("registry", BOB),
    "consent": _text("consent", ANN),
    "consent of the new address": _text("consent", BOB),
    "journal": _field("lane", _lane, "journal"),
    "open write": _field("lane", _lane, "open"),
    "pointer": _field("ext", _ext, "pointer"),
    "versions": _field("ext", _ext, "v:crm"),
    "last error": _field("intent", _head, "error"),
    "payload": _field("intent", _head, "payload"),
}
"""Part → the command that stores it, but for its text."""
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(world: World, part: str, text: str) -> None:
    world.redis.execute(*PARTS[part](world), text)


def stored(world: World, part: str) -> str | None:
    """The part as an engine has really written it."""
    if part == "journal":
        return json.dumps(JOURNAL)
    command, key, *field = PARTS[part](world)
    found: str | None = world.redis.execute({"SET": "GET", "HSET": "HGET"}[command], key, *field)
    return found


def _changed(data: st.DataObject, value: Any) -> Any:
    """The value with one word of it, somewhere, replaced by another."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(value)))
        return {**value, name: _changed(data, value[name])}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        return [_changed(data, value[0]), *value[1:]]
    return data.draw(_JSON)


@contextmanager
def begun(part: str) -> Iterator[World]:
    """Somebody is known, and something is to be done."""
    with closing(World()) as world:
        world.do(ContactSync(email=ANN, external_id="u-1", name="Ann", source="crm", version=7))
        world.enqueue(EmailChange(email=ANN, new_email=BOB) if "new address" in part else LATER)
        yield world


def serve_and_judge(world: World) -> None:
    """The lane is free again, nobody was blamed, and what waits says why."""
    [receipt] = world.accepted[1:]
    world.run(3)
    assert "token" not in world.lane(ANN)
    assert [event for event in world.seen.events if event[0] == "buried"] == []
    fields = world.hash("intent", receipt.id)
    assert int(fields.get("kills", 0)) == 0
    if fields.get("state") != "done":
        assert fields["state"] in ("parked", "reconciling", "retrying"), fields
        told = json.loads(fields["error"])["class"]
        assert fields["state"] == "reconciling" or told in ("unreadable", "internal_error"), fields
    world.queue.latest(ANN)


@pytest.mark.parametrize("part", PARTS)
class TestNoLaneIsHeld:
    @FEW
    @given(text=st.text(max_size=20) | _JSON.map(json.dumps))
    @example(text="deep")
    @example(text='{"contacts": "x"}')
    def test_whatever_is_stored(self, part: str, text: str) -> None:
        with begun(part) as world:
            put(world, part, "[" * 100_000 if text == "deep" else text)
            serve_and_judge(world)

    @FEW
    @given(data=st.data())
    def test_whatever_one_word_of_it_is(self, part: str, data: st.DataObject) -> None:
        with begun(part) as world:
            text = stored(world, part.removesuffix(" of the new address"))
            if text is not None and text.startswith("{"):
                put(world, part, json.dumps(_changed(data, json.loads(text))))
            serve_and_judge(world)


class TestRegistry:
    def test_one_that_cannot_be_read_is_none(self, world: World) -> None:
        world.enqueue(LeadCapture(email=ANN, name="Ann"))
        put(world, "registry", '{"contacts": 7}')
        world.rest(within_s=5)
        assert len(world.contacts(ANN)) == 1

    def test_contacts_that_can_be_read_are_still_known(self, world: World) -> None:
        """Else a lead that the index does not show yet would be made a second time in a rolling upgrade."""
        made = world.do(LeadCapture(email=ANN, name="Ann"))
        entry = json.loads(str(world.text("registry", ANN)))
        entry["contacts"][0]["facts"]["source"] = "webhook"
        entry["contacts"].append({"id": "x", "role": "visitor", "resolved_ms": 1})
        put(world, "registry", json.dumps(entry))
        again = world.do(LeadCapture(email=ANN, name="Ann"))
        assert (again.result, again.contact_id) == ("updated", made.contact_id)
        assert len(world.contacts(ANN)) == 1


@pytest.mark.parametrize(
    ("part", "newer", "why"),
    [
        (
            "consent",
            {"consent": {"all": {"opted_in": "yes, by post", "at_ms": 1, "by": "x"}}},
            "the consent memory, field consent",
        ),
        (
            "journal",
            {"intents": [], "role": "visitor", "body": {"email": ANN}, "sent_ms": 1},
            "the journal, field role",
        ),
    ],
)
def test_what_only_a_newer_worker_can_read_is_left_to_it(
    world: World, part: str, newer: dict[str, Any], why: str
) -> None:
    world.do(ProductSignUp(email=ANN, external_id="u-1", name="Ann"))
    put(world, part, json.dumps(newer))
    [receipt] = world.enqueue(LATER)
    world.run(3)
    status = world.status(receipt)
    assert (status.state, status.attempts) == ("parked", 0)
    assert status.error is not None
    assert status.error.class_ == "unreadable"
    assert why in str(status.error.message)
    if part == "journal":  # what a newer worker would make of it
        world.redis.execute("HDEL", PARTS[part](world)[1], "journal")
    else:
        put(world, part, "{}")
    world.rest(within_s=60)
    assert [contact["name"] for contact in world.contacts(ANN)] == ["Anna"]


def test_a_newer_producers_intent_waits_and_says_why(world: World) -> None:
    first, second = world.enqueue(LeadCapture(email=ANN), LeadCapture(email=ANN, name="Ann"))
    key = world.workspace.keys.key("intent", second.id)
    newer = str(world.redis.execute("HGET", key, "payload")).replace("lead_capture", "from_tomorrow")
    world.redis.execute("HSET", key, "payload", newer)
    assert world.ended(first, within_s=3).result == "created"
    world.run(3)
    status = world.status(second)
    assert status.error is not None
    assert (status.state, status.attempts, status.error.class_) == ("parked", 0, "unreadable")


def test_an_intent_whose_record_is_gone_stops_nobody_else() -> None:
    with closing(World()) as world:
        [lost] = world.enqueue(LeadCapture(email=ANN))
        world.redis.execute("DEL", world.workspace.keys.key("intent", lost.id))
        [other] = world.enqueue(LeadCapture(email=BOB))
        assert world.ended(other, within_s=3).result == "created"


def test_what_an_older_sdk_accepted_and_todays_refuses_says_why(world: World) -> None:
    [receipt] = world.enqueue(LATER)
    older = json.loads(world.hash("intent", receipt.id)["payload"])
    put(world, "payload", json.dumps(older | {"email": "..ann@example.test"}))
    world.run(3)
    error = world.status(receipt).error
    assert error is not None
    assert "the intent, field email: is no email address: it has a dot first" in str(error.message)
