"""What is stored cannot be read: a newer worker's word in a rolling upgrade, or garbage. No lane is held."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis

from onelane import ContactSync, EmailChange, LeadCapture, ProductSignUp, keyspace
from onelane.identity import lane_id
from onelane_worker.payloads import problem_of

from .world import World

ANN, BOB = "ann@example.test", "bob@example.test"
LANE = lane_id(ANN)
LATER = ContactSync(email=ANN, external_id="u-1", name="Anna", source="crm", version=8)

Put = Callable[[World, str], Any]
PARTS: dict[str, Put] = {
    "belief": lambda world, text: world.redis.set(keyspace.belief(LANE), text),
    "belief of the new address": lambda world, text: world.redis.set(keyspace.belief(lane_id(BOB)), text),
    "memory": lambda world, text: world.redis.set(keyspace.memory(LANE), text),
    "memory of the new address": lambda world, text: world.redis.set(keyspace.memory(lane_id(BOB)), text),
    "journal": lambda world, text: world.redis.hset(keyspace.lane(LANE), "journal", text),
    "open write": lambda world, text: world.redis.hset(keyspace.lane(LANE), "open", text),
    "pointer": lambda world, text: world.redis.hset(
        keyspace.external_id("u-1"), mapping={"pointer": text, "pointer_until": 2 * 10**12}
    ),
    "versions": lambda world, text: world.redis.hset(keyspace.external_id("u-1"), "versions", text),
    "last error": lambda world, text: world.redis.hset(keyspace.intent(_head(world)), "error", text),
    "payload": lambda world, text: world.redis.hset(keyspace.intent(_head(world)), "payload", text),
}

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _head(world: World) -> str:
    return str(world.redis.lindex(keyspace.queue(LANE), 0))


def _stored(world: World) -> dict[str, str | None]:
    """The parts as a worker has really written them."""
    lane: Any = world.redis.hgetall(keyspace.lane(LANE))
    leaf: Any = world.redis.hgetall(keyspace.external_id("u-1"))
    intent: Any = world.redis.hgetall(keyspace.intent(_head(world)))
    return {
        "belief": world.redis.get(keyspace.belief(LANE)),  # type: ignore[dict-item]
        "memory": world.redis.get(keyspace.memory(LANE)),  # type: ignore[dict-item]
        "journal": lane.get("journal")
        or json.dumps({"intents": ["1"], "role": "user", "body": {"email": ANN}, "sent_ms": 1}),
        "pointer": leaf.get("pointer"),
        "versions": leaf.get("versions"),
        "payload": intent.get("payload"),
    }


def _changed(data: st.DataObject, value: Any) -> Any:
    """The value with one word of it, somewhere, replaced by another."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(value)))
        return {**value, name: _changed(data, value[name])}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        return [_changed(data, value[0]), *value[1:]]
    return data.draw(_JSON)


def _begin(redis: Redis, part: str) -> World:
    """Somebody is known, and something is to be done."""
    redis.flushall()
    world = World(redis)
    world.do(ContactSync(email=ANN, external_id="u-1", name="Ann", source="crm", version=7))
    world.enqueue(EmailChange(email=ANN, new_email=BOB) if "new address" in part else LATER)
    return world


def _serve_and_judge(world: World) -> None:
    """One turn: the lane is free again, nobody was blamed, and what waits says why."""
    head = _head(world)
    with suppress(ValueError):  # the text is no UTF-8: the answer itself cannot be read
        world.run()
    view = world.store.describe(LANE)
    assert view.holder is None
    assert [event for event in world.seen.events if event[0] == "buried"] == []
    fields: Any = world.redis.hgetall(keyspace.intent(head))
    assert int(fields.get("kills", 0)) == 0
    if fields.get("state") != "done":
        assert fields["state"] in ("parked", "reconciling", "retrying"), fields
        told = problem_of(fields["error"]).kind
        assert fields["state"] == "reconciling" or told in ("unreadable", "internal_error"), fields
    assert world.queue.status(head) is not None
    world.queue.latest(ANN)
    world.close()


@pytest.mark.parametrize("part", PARTS)
class TestNoLaneIsHeld:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(text=st.text(max_size=20) | _JSON.map(json.dumps))
    @example(text="deep")
    @example(text='{"contacts": "x"}')
    def test_whatever_is_stored(self, fake_redis: Redis, part: str, text: str) -> None:
        world = _begin(fake_redis, part)
        PARTS[part](world, "[" * 100_000 if text == "deep" else text)
        _serve_and_judge(world)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_whatever_one_word_of_it_is(self, fake_redis: Redis, part: str, data: st.DataObject) -> None:
        world = _begin(fake_redis, part)
        stored = _stored(world).get(part.removesuffix(" of the new address"))
        if stored is None:
            return
        PARTS[part](world, json.dumps(_changed(data, json.loads(stored))))
        _serve_and_judge(world)


class TestBelief:
    def test_one_that_cannot_be_read_is_none(self, world: World) -> None:
        [receipt] = world.enqueue(LeadCapture(email=ANN, name="Ann"))
        world.redis.set(keyspace.belief(LANE), '{"contacts": 7}')
        world.run()
        outcome = world.outcome(receipt)
        assert outcome is not None
        assert outcome.result == "created"

    def test_contacts_that_can_be_read_are_still_known(self, world: World) -> None:
        """Else a lead that the index does not show yet would be made a second time in a rolling upgrade."""
        made = world.do(LeadCapture(email=ANN, name="Ann"))
        belief = json.loads(str(world.redis.get(keyspace.belief(LANE))))
        belief["contacts"][0]["facts"]["source"] = "webhook"
        belief["contacts"].append({"id": "x", "role": "visitor", "resolved_ms": 1})
        world.redis.set(keyspace.belief(LANE), json.dumps(belief))
        again = world.do(LeadCapture(email=ANN, name="Ann"))
        assert (again.result, again.contact_id) == ("updated", made.contact_id)
        assert len(world.contacts(ANN)) == 1


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("memory", "the memory, field consent"),
        ("journal", "the journal, field role"),
        ("versions", "the versions, field crm"),
    ],
)
def test_what_only_a_newer_worker_can_read_is_left_to_it(world: World, part: str, why: str) -> None:
    world.do(ProductSignUp(email=ANN, external_id="u-1", name="Ann"))
    newer = {
        "memory": {"consent": {"all": {"opted_in": "yes, by post", "at_ms": 1, "by": "x"}}},
        "journal": {"intents": [], "role": "visitor", "body": {"email": ANN}, "sent_ms": 1},
        "versions": {"crm": {"number": "7.1", "by": "x"}},
    }
    PARTS[part](world, json.dumps(newer[part]))
    [receipt] = world.enqueue(LATER)
    world.run()
    status = world.queue.status(receipt.id)
    assert status is not None
    assert (status.state, status.attempts) == ("parked", 0)
    assert status.error is not None
    assert (status.error.class_, status.error.message) == (
        "unreadable",
        f"this worker cannot read it; a newer one may: {why}",
    )
    assert world.seen.events[-1][0] == "put_back"
    assert PARTS[part](world, "{}") is not None  # what a newer worker would make of it
    if part == "journal":
        world.redis.hdel(keyspace.lane(LANE), "journal")
    world.run_until(lambda: world.outcome(receipt) is not None)
    assert [contact["name"] for contact in world.contacts(ANN)] == ["Anna"]


def test_what_an_older_sdk_accepted_and_todays_refuses_has_its_turns_and_says_why(world: World) -> None:
    [receipt] = world.enqueue(LATER)
    older = json.loads(str(world.redis.hget(keyspace.intent(receipt.id), "payload")))
    PARTS["payload"](world, json.dumps(older | {"email": "..ann@example.test"}))
    world.run()
    for _ in range(2_000):  # until the timer goes on with it
        if not world.broker.turns:
            world.tick()
    assert world.broker.turns[0].who == ".***@example.test"
    status = world.queue.status(receipt.id)
    assert status is not None
    assert status.error is not None
    assert "the intent, field email: is no email address: it has a dot first" in str(status.error.message)
