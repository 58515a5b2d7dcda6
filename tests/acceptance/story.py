"""A story: one test's own people, what they and others do, and what became of them in truth."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from onelane import ContactQueue, Outcome, Receipt, Status
from onelane_sandbox.client import SandboxControl

from .processes import PATIENCE_S, wait_until
from .world import World

T = TypeVar("T")
JsonObject = dict[str, Any]

CALLS = {
    "POST /contacts/search": "search",
    "POST /contacts/merge": "merge",
    "POST /contacts": "create",
    "GET /contacts/find_by_external_id/[^/]+": "find",
    "GET /contacts/[0-9a-f]{24}": "read",
    "PUT /contacts/[0-9a-f]{24}": "update",
    "DELETE /contacts/[0-9a-f]{24}": "delete",
    "POST /contacts/[0-9a-f]{24}/unarchive": "unarchive",
    "POST /contacts/[0-9a-f]{24}/archive": "archive",
    "GET /contacts/[0-9a-f]{24}/subscriptions": "subscriptions",
    "POST /contacts/[0-9a-f]{24}/subscriptions": "attach",
    "DELETE /contacts/[0-9a-f]{24}/subscriptions/[^/]+": "detach",
}
"""Requests in the words of the stories. Reads of the whole workspace (types, me) concern nobody."""


def call_name(request: JsonObject) -> str:
    """One request of the log as a word."""
    line = f"{request['method']} {request['path']}"
    return next((word for pattern, word in CALLS.items() if re.fullmatch(pattern, line)), line)


class Story:
    """One test in a world, alone in it or in a crowd of others."""

    _serial = itertools.count(1)

    def __init__(self, world: World, *, alone: bool = True) -> None:
        self.world = world
        self.alone = alone
        """The whole world is this story's."""
        self.indexed_already = False
        self._names: set[str] = set()
        self._ids: set[str] = set()

    @property
    def queue(self) -> ContactQueue:
        return self.world.queue

    @property
    def sandbox(self) -> SandboxControl:
        return self.world.sandbox

    # --- people ---

    def email(self, name: str = "ann") -> str:
        """A fresh address."""
        return self._known(f"{name}.{self._fresh()}@example.test")

    def external_id(self) -> str:
        """A fresh external id."""
        return self._known(f"u-{self._fresh()}")

    def _fresh(self) -> str:
        return f"{next(self._serial)}-{uuid.uuid4().hex[:8]}"

    def _known(self, name: str) -> str:
        self._names.add(name)
        return name

    # --- what services do ---

    def do(self, intent: Any) -> Outcome:
        """Enqueue and wait for the end."""
        return self.end(self.queue.enqueue(intent))

    def end(self, receipt: Receipt) -> Outcome:
        """The outcome of an intent."""
        return self.queue.wait(receipt.id, PATIENCE_S)

    def status(self, receipt: Receipt) -> Status:
        """Where an intent stands."""
        status = self.queue.status(receipt.id)
        assert status is not None
        return status

    # --- what others do: browsers, the support team, other integrations ---

    def elsewhere(self, method: str, path: str, body: object = None) -> JsonObject:
        """Somebody else's call; no fault meets it."""
        with self.world.weather:
            status, answer = self.sandbox.call(method, path, body)
        assert status == 200, answer
        return answer

    def made_elsewhere(self, **body: Any) -> str:
        """Somebody else makes a contact; its id."""
        return str(self.elsewhere("POST", "/contacts", body)["id"])

    def changed_elsewhere(self, contact_id: str, **body: Any) -> None:
        """Somebody else updates a contact."""
        self.elsewhere("PUT", f"/contacts/{contact_id}", body)

    def archived_elsewhere(self, contact_id: str) -> None:
        """The support team archives a contact."""
        self.elsewhere("POST", f"/contacts/{contact_id}/archive")

    def indexed(self) -> None:
        """The index shows all that has been written so far. Once per story, before its first intent."""
        assert not self.indexed_already
        self.indexed_already = True
        self.world.index.wait(PATIENCE_S)

    # --- the truth ---

    def contact(self, contact_id: str) -> JsonObject:
        """The true state of one contact."""
        return next(one for one in self.sandbox.contacts() if one["id"] == contact_id)

    def live(self, email: str) -> list[JsonObject]:
        """The live contacts of an address, in truth."""
        return [one for one in self.sandbox.contacts() if is_live(one) and address_of(one) == email.lower()]

    def one(self, email: str) -> JsonObject:
        """The one live contact of an address; fails if there are more or none."""
        found = self.live(email)
        assert len(found) == 1, f"{len(found)} live contacts of one address: {[brief(c) for c in found]}"
        return found[0]

    def switch(self, name: str) -> str:
        """The present value of a switch."""
        return next(str(one["value"]) for one in self.sandbox.switches() if one["name"] == name)

    # --- what it cost ---

    def requests(self, since: int = 0) -> list[JsonObject]:
        """The requests that concern these people, in order of arrival."""
        mine = self._mine()
        return [r for r in self.sandbox.requests() if r["n"] > since and mine.search(_text(r))]

    def _mine(self) -> re.Pattern[str]:
        for contact in self.sandbox.contacts():
            if self._names & {address_of(contact), contact["external_id"]}:
                self._ids.add(contact["id"])
        names = {name.lower() for name in self._names} | self._ids
        return re.compile("|".join(map(re.escape, sorted(names))))

    def last_n(self) -> int:
        """The number of the newest request."""
        return max((r["n"] for r in self.sandbox.requests()), default=0)

    @contextmanager
    def calls(self) -> Iterator[Calls]:
        """The calls made for these people within the block, once it is over."""
        since, calls = self.last_n(), Calls()
        yield calls
        calls.requests = self.requests(since)

    # --- faults ---

    @contextmanager
    def struck(
        self, fault: str, method: str = "post", path: str = "^/contacts$", **options: Any
    ) -> Iterator[None]:
        """What these people's services do within the block meets a fault. It ends when it has met them."""
        with self.world.weather:
            since = self.last_n()
            self.sandbox.fault(fault, times=None, method=method, path=path, **options)
            try:
                yield
                wait_until(
                    lambda: any(r["fault"] == fault for r in self.requests(since)), what=f"{fault} to strike"
                )
            finally:
                self.sandbox.clear_faults()

    def wait_until(self, condition: Callable[[], T], what: str = "") -> T:
        """The condition's first true value."""
        return wait_until(condition, what=what)


@dataclass
class Calls:
    """The calls within a block: equal to a list of words."""

    requests: list[JsonObject] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [call_name(request) for request in self.requests]

    @property
    def faults(self) -> list[str]:
        """The faults met; in a crowd others' may be among them."""
        return [request["fault"] for request in self.requests if request["fault"]]

    def named(self, name: str) -> list[JsonObject]:
        """The calls of that name."""
        return [request for request in self.requests if call_name(request) == name]

    def bodies(self, name: str) -> list[JsonObject]:
        """What was sent in the calls of that name."""
        return [request["body"] for request in self.named(name)]

    def __eq__(self, other: object) -> bool:
        return self.names == other

    def __len__(self) -> int:
        return len(self.requests)

    def __repr__(self) -> str:
        return repr(self.names)


def is_live(contact: JsonObject) -> bool:
    """Neither archived, deleted nor merged away."""
    return not (contact["archived"] or contact["deleted"] or contact["merged_into"])


def address_of(contact: JsonObject) -> str | None:
    """Its address as Onelane compares it."""
    return contact["email"].lower() if contact["email"] else None


def brief(contact: JsonObject) -> str:
    """A contact in few words."""
    return f"{contact['role']} {contact['id']} {contact['external_id']}"


def _text(request: JsonObject) -> str:
    return f"{request['path']} {json.dumps(request['body'])}".lower()


# ── the register ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Scenario:
    """One story that can be told in any world."""

    number: int
    name: str
    tell: Callable[..., None]
    seeded: bool
    world: str
    options: dict[str, Any]

    def __str__(self) -> str:
        return self.name


SCENARIOS: list[Scenario] = []


def scenario(
    number: int, *, seeded: bool = False, world: str = "calm", **each: list[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a test as a story that must hold under every switch.

    seeded: it begins with `story.indexed()`. world: calm, stormy or strict, the fixture of that name.
    each: one parameter and its values; a story for each.
    """

    def register(test: Callable[..., None]) -> Callable[..., None]:
        told = test
        variants: list[dict[str, Any]] = [{}]
        for name, values in each.items():
            told = pytest.mark.parametrize(name, values)(told)
            variants = [{**one, name: value} for one in variants for value in values]
        for options in variants:
            words = [test.__name__.removeprefix("test_"), *map(str, options.values())]
            SCENARIOS.append(Scenario(number, " ".join(words), test, seeded, world, options))
        told.__dict__["onelane_world"] = world
        return told

    return register
