"""What is kept when an intent has ended, and for how long; and of an erased person nothing is."""

from __future__ import annotations

import gc
import hashlib
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import FunctionType
from typing import Any

import pytest
from tests.world.world import World

from onelane import (
    ContactErasure,
    ContactSync,
    EmailChange,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
)

from .dead_letters import bury

ANN, NEW = "annabel@example.test", "annabel.new@example.test"
NAME, PHONE, PLAN = "Annabella Quine", "+353871234567", "plan-of-hers"
DATA: dict[str, Any] = {"name": NAME, "phone": PHONE, "custom_attributes": {"plan": PLAN}}
HOUR_MS, WEEK_MS = 3_600_000, 7 * 86_400_000
SYNC = ContactSync(email=ANN, external_id="u-4711", **DATA)
PERMANENT = {"meta", "due", "counters", "dead", "epoch", "engines", "onelane:workspaces"}


@pytest.fixture
def world(world: World) -> World:
    world.attributes("plan")
    return world


def kept(world: World) -> str:
    """All that Redis holds."""
    return "\n".join(f"{key} {value}" for key, value in world.dump().items())


def life_ms(world: World, *words: str) -> int:
    return int(world.redis.execute("PTTL", world.workspace.keys.key(*words)))


class TestNoOps:
    def test_a_bulk_intent_that_changed_nothing_leaves_an_hour_of_receipt(self, world: World) -> None:
        world.do(SYNC)
        lane = world.workspace.lane(ANN)
        before = world.family("timeline")[lane]
        [receipt] = world.enqueue(SYNC)
        outcome = world.ended(receipt)
        assert (outcome.result, outcome.calls) == ("unchanged", 0)
        assert world.family("timeline")[lane] == before
        assert 0 < life_ms(world, "intent", receipt.id) <= HOUR_MS

    def test_what_changed_or_was_asked_by_a_person_is_told_for_as_long_as_ever(self, world: World) -> None:
        receipts = world.enqueue(SYNC, LeadCapture(email=ANN), LeadCapture(email=ANN))
        world.rest()
        assert len(world.family("timeline")[world.workspace.lane(ANN)]) == 3
        for receipt in receipts:
            assert life_ms(world, "intent", receipt.id) > WEEK_MS - HOUR_MS

    def test_nothing_is_kept_for_ever_but_what_is_meant_to_be(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-4711", dedupe_key="one", **DATA))
        for intent in (SYNC, SYNC, NewsletterOptIn(email=ANN), NewsletterOptOut(email="x@example.test")):
            world.do(intent)
        world.do(EmailChange(email=ANN, new_email=NEW))
        letter = bury(world, LeadCapture(email="y@example.test"))
        world.do(ContactErasure(email=NEW))
        endless = {key for key in world.redis.all_keys() if world.redis.execute("PTTL", key) == -1}
        names = {key.partition("}:")[2].partition(":")[0] or key for key in endless}
        letters = {"intent", "letters", "ready"}
        assert names <= PERMANENT | letters
        assert {key.rpartition(":")[2] for key in endless if ":intent:" in key} == {letter.id}


class TestErasure:
    def test_nothing_of_the_person_is_left(self, world: World) -> None:
        """Intents, dead letters, a change of address, external id, dedupe keys, timeline, the process."""
        world.do(ProductSignUp(email=ANN, external_id="u-4711", dedupe_key="her-key", **DATA))
        world.do(SYNC)
        world.do(ContactSync(email=ANN, external_id="u-4711", dedupe_key="nightly", **DATA))
        world.do(NewsletterOptOut(email=ANN))
        world.do(EmailChange(email=ANN, new_email=NEW))
        contact = world.contacts(NEW)[0]["id"]
        for number in range(2):
            world.do(LeadCapture(email=NEW, name=NAME, custom_attributes={"unknown": f"{number} of hers"}))
        words = {ANN, NEW, "a***@example.test", NAME, PHONE, PLAN, "u-4711", "of hers", contact}
        assert {word for word in words if word in kept(world)} >= {NEW, NAME, "of hers", contact}
        dedupes = world.family("dedupe")
        assert dedupes

        world.enqueue(LeadCapture(email=NEW, name=NAME), ContactErasure(email=NEW))
        world.rest()
        world.do(ContactErasure(email=ANN, external_id="u-4711"))

        assert {word for word in words - {contact} if word in kept(world)} == set()
        # A tombstone stays, while the index may go on showing whom it stands for; for an hour the receipt of
        # a bulk intent that changed nothing names the contact, too.
        naming = [key for key, value in world.dump().items() if contact in str(value)]
        assert {key.partition("}:")[2].partition(":")[0] for key in naming} <= {"registry", "intent"}
        assert all(0 < world.redis.execute("PTTL", key) <= HOUR_MS for key in naming)
        world.run(1)
        in_process = kept_in_process(world)
        assert {word for word in words if word in in_process} == set()
        for email in (ANN, NEW):
            assert len(world.family("timeline").get(world.workspace.lane(email), ())) <= 1
        assert len(world.family("dedupe")) <= 1  # of the bulk intent that changed nothing: a keyed digest

    def test_the_timeline_holds_only_the_erasure(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        [_, erasure] = world.enqueue(LeadCapture(email=ANN, name="Annabella"), ContactErasure(email=ANN))
        world.rest()
        [line] = world.family("timeline")[world.workspace.lane(ANN)]
        assert erasure.id in line

    def test_nor_can_the_address_be_guessed_by_hashing_it(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-4711", **DATA))
        world.do(ContactErasure(email=ANN, external_id="u-4711"))
        secretless = world.dump()
        secretless.pop(world.workspace.keys.key("meta"))
        text = str(secretless)
        for word in (ANN, "u-4711"):
            for name in ("sha256", "sha1", "md5", "blake2b", "blake2s", "sha512"):
                for said in (word, f"lane\0{word}", f"external_id\0{word}"):
                    assert hashlib.new(name, said.encode()).hexdigest()[:16] not in text


def kept_in_process(world: World) -> str:
    """All text that an engine, its parts and the modules of the product hold."""
    modules = [vars(module) for name, module in sys.modules.items() if name.partition(".")[0] in OURS]
    engines = [worker.engine for worker in world.workers]
    return "\n".join(_texts([*engines, *modules]))


OURS = ("onelane", "onelane_worker")
_CACHE = type(lru_cache(lambda: None))


def _texts(roots: Iterable[Any]) -> Iterator[str]:
    left, seen = list(roots), set[int]()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, str | bytes):
            yield one if isinstance(one, str) else one.decode(errors="replace")
        elif isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset | deque):
            left += one
        elif isinstance(one, _CACHE):
            left += [found for found in gc.get_referents(one) if not isinstance(found, FunctionType)]
        elif getattr(type(one), "__module__", "").partition(".")[0] in (*OURS, "functools"):
            left += gc.get_referents(one)
