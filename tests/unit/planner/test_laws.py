"""The laws as properties: whatever is asked, in whatever order, however far the index lags."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onelane_worker.planner import operations as op
from onelane_worker.planner.intent_rights import AnyIntent
from onelane_worker.planner.policy import Policy

from .oracle import Person, consent_of, shown
from .play import ANN, Fate, World
from .strategies import EXT, histories, syncs

LAG_S = 590.0
"""About as far as an index may lag: the settle window is 600 s."""

pauses = st.lists(st.sampled_from([0.0, 0.0, 1.0, 100.0, 700.0, 1000.0]), min_size=1, max_size=4)
"""Seconds between two intents; without a pause the next one waits in the same lane."""


THOROUGH = int(os.environ.get("ONELANE_THOROUGH", "1"))
"""So many times the usual number of examples."""


def law(examples: int) -> Callable[[Any], Any]:
    return settings(max_examples=examples * THOROUGH, deadline=None, suppress_health_check=list(HealthCheck))


def play(world: World, history: Sequence[AnyIntent], gaps: Sequence[float]) -> World:
    """The history in this world, with its pauses, to the end."""
    for index, intent in enumerate(history):
        world.say(intent)
        gap_ms = int(gaps[index % len(gaps)] * 1000)
        if gap_ms:
            world.run(until_ms=world.now_ms + gap_ms)
    world.run()
    return world


def check(world: World) -> None:
    """The true state is what the accepted intents, in order, make of one person."""
    person = Person(form_fields=world.policy.form_fields_on_user)
    for each in world.accepted:
        person.hear(each.intent, each.acted_ms)
    assert set(world.outcomes) == {each.id for each in world.accepted}
    assert len(world.live(None)) == (1 if person.exists else 0)
    for contact in world.live(None):
        assert contact["role"] == person.role
        assert person.external_id is None or contact["external_id"] == person.external_id
        assert shown(contact) == person.fields
        spoken = {channel: word for channel, (_, word) in person.words.items()}
        assert consent_of(contact) == {"all": True, "101": True, "102": False} | spoken


class TestOnePerson:
    @law(300)
    @given(histories, pauses)
    def test_one_contact_nothing_lost_consent_as_last_spoken(
        self, history: list[AnyIntent], gaps: list[float]
    ) -> None:
        check(play(World(lag=LAG_S), history, gaps))

    @law(150)
    @given(histories, pauses, st.sampled_from(["fill", "keep"]), st.data())
    def test_B7_the_same_where_forms_may_not_overwrite(
        self, history: list[AnyIntent], gaps: list[float], form_fields: Any, data: st.DataObject
    ) -> None:
        world = World(Policy(form_fields_on_user=form_fields), lag=LAG_S)
        world.fate = mishaps(data, 2)
        check(play(world, history, gaps))

    @law(300)
    @given(histories, pauses, st.data())
    def test_the_same_with_lost_answers_late_writes_and_killed_workers(
        self, history: list[AnyIntent], gaps: list[float], data: st.DataObject
    ) -> None:
        world = World(lag=LAG_S)
        world.fate = mishaps(data, 4)
        check(play(world, history, gaps))


FATES = ("lost", "dropped", "late", "not_sent", "throttled", "crash_before", "crash_after")


def mishaps(data: st.DataObject, most: int) -> Fate:
    """At most so many calls go wrong, and not the same ones every time."""
    left = data.draw(st.lists(st.sampled_from([None, None, *FATES]), max_size=most * 3))

    def fate(operation: op.Operation) -> str | None:
        found = left.pop(0) if left else None
        return None if found == "late" and not op.is_write(operation) else found

    return fate


class TestFolding:
    @law(300)
    @given(histories, pauses, st.sampled_from(["overwrite", "fill", "keep"]), st.booleans())
    def test_R90_a_fold_ends_like_one_by_one(
        self, history: list[AnyIntent], gaps: list[float], form_fields: Any, optout_creates: bool
    ) -> None:
        ends = []
        for fold_max in (50, 1):
            policy = Policy(fold_max=fold_max, form_fields_on_user=form_fields, optout_creates=optout_creates)
            world = play(World(policy, lag=LAG_S), history, gaps)
            ends.append([(c["role"], shown(c), consent_of(c)) for c in world.live(None)])
        assert ends[0] == ends[1]


class TestNoOps:
    @law(200)
    @given(st.lists(syncs(), min_size=1, max_size=4), pauses)
    def test_the_same_picture_again_costs_no_call(self, history: list[Any], gaps: list[float]) -> None:
        world = play(World(lag=LAG_S), history, gaps)
        last = [each for each in history if each.create][-1:]
        for again in last * 2:
            world.do(again)
            world.calls()
            world.do(again)
            assert world.calls() == []


class TestOthersWriteToo:
    """A browser SDK, the Messenger and the support team write behind our back, at every call."""

    @law(300)
    @given(histories, pauses, st.data())
    def test_every_intent_ends_and_nobody_is_made_twice(
        self, history: list[AnyIntent], gaps: list[float], data: st.DataObject
    ) -> None:
        world = World(lag=LAG_S)
        others = Others(world, data)
        world.meddle = others.meddle
        world.fate = mishaps(data, 2)
        play(world, history, gaps)
        others.look_for_doubles()
        assert set(world.outcomes) == {each.id for each in world.accepted}
        assert others.doubles == []


class Others:
    """What the rest of the world does to one address, as it comes."""

    def __init__(self, world: World, data: st.DataObject) -> None:
        self.world = world
        self.log = data.draw(st.lists(st.sampled_from([None, None, *self.KINDS]), max_size=12))
        self.doubles: list[str] = []
        self._ours: set[str] = set()
        self._seen = 0

    KINDS = ("sdk_user", "user", "lead", "merge", "archive", "delete", "move", "become", "catch_up", "out")

    def meddle(self) -> None:
        """Called before every call of the worker's."""
        self.look_for_doubles()
        deed = self.log.pop(0) if self.log else None
        if deed is not None:
            getattr(self, f"_{deed}")()

    def look_for_doubles(self) -> None:
        before = [c for c in self.world.live() if c["id"] in self._ours and c["external_id"] != "sdk-9"]
        for _, operation, reply in self.world.log[self._seen :]:
            if isinstance(operation, op.Create) and isinstance(reply, op.Found):
                if any(c["id"] != reply.facts.id for c in before):
                    self.doubles.append(reply.facts.id)
                self._ours.add(reply.facts.id)
        self._seen = len(self.world.log)

    def _request(self, method: str, path: str, **payload: Any) -> None:
        with suppress(AssertionError):  # refused: somebody holds these details, or cannot be changed so
            self.world.ask(method, path, payload)

    def _of(self, role: str) -> list[str]:
        return [c["id"] for c in self.world.live() if c["role"] == role]

    def _sdk_user(self) -> None:
        self._request("POST", "/contacts", role="user", email=ANN, external_id=EXT)

    def _user(self) -> None:
        self._request("POST", "/contacts", role="user", email=ANN)

    def _lead(self) -> None:
        self._request("POST", "/contacts", role="lead", email=ANN)

    def _merge(self) -> None:
        for lead, user in zip(self._of("lead"), self._of("user"), strict=False):
            self._request("POST", "/contacts/merge", **{"from": lead, "into": user})

    def _archive(self) -> None:
        for contact in self.world.live()[:1]:
            self._request("POST", f"/contacts/{contact['id']}/archive")

    def _delete(self) -> None:
        for contact in self.world.live()[:1]:
            self._request("DELETE", f"/contacts/{contact['id']}")

    def _move(self) -> None:
        for contact in self.world.live()[:1]:
            self._request("PUT", f"/contacts/{contact['id']}", email="moved@example.test")

    def _become(self) -> None:
        for lead in self._of("lead")[:1]:
            self._request("PUT", f"/contacts/{lead}", role="user", external_id="sdk-9")

    def _out(self) -> None:
        for contact in self.world.live()[:1]:
            self._request("PUT", f"/contacts/{contact['id']}", unsubscribed_from_emails=True)

    def _catch_up(self) -> None:
        self.world.sandbox.catch_up()
