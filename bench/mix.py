"""The stories of a comparison: who says what, when, and what must be true of each person in the end.

A seed is the same mix every time. Whoever is drawn into a story lives it within some seconds; the index lags
longer than that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from onelane import ContactSync, Intent, LeadCapture, NewsletterOptIn, NewsletterOptOut, ProductSignUp


@dataclass(frozen=True)
class Event:
    """Something that a service says of a person."""

    at_s: float
    service: str
    intent: Intent
    shows: tuple[str, Any] | None = None
    """Field and value by which the write is known again in the log."""


@dataclass(frozen=True)
class Person:
    """One person, as the workspace must hold them in the end: once, and so."""

    email: str
    story: str
    holds: Mapping[str, Any]
    unsubscribed: bool | None = None
    """What they said last of mail; None: nothing."""


@dataclass(frozen=True)
class Browser:
    """A browser SDK makes a user at Intercom, past everybody."""

    at_s: float
    email: str
    external_id: str


@dataclass
class Mix:
    """A run's worth of stories."""

    events: list[Event] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    browser: list[Browser] = field(default_factory=list)


class _Teller:
    """One person, and how they are called."""

    def __init__(self, number: int, at_s: float, random: Random) -> None:
        self.email = f"person{number}@bench.test"
        self.external_id = f"u-{number}"
        self.at_s = at_s
        self.random = random
        self._number = number
        self._said = 0

    def name(self) -> str:
        """A value that nobody else says."""
        self._said += 1
        return f"Name {self._number}.{self._said}"

    def phone(self) -> str:
        return f"+1555{self._number:07d}"

    def later(self, least_s: float, most_s: float) -> float:
        """A moment after the last one."""
        self.at_s += self.random.uniform(least_s, most_s)
        return self.at_s

    def sign_up(self, at_s: float, name: str) -> Event:
        intent = ProductSignUp(email=self.email, external_id=self.external_id, name=name)
        return Event(at_s, "shop", intent, ("name", name))

    def sync(self, at_s: float, name: str) -> Event:
        intent = ContactSync(email=self.email, external_id=self.external_id, name=name)
        return Event(at_s, "crm", intent, ("name", name))

    def user(self, **holds: Any) -> dict[str, Any]:
        return {"role": "user", "external_id": self.external_id, **holds}


Story = Callable[[_Teller], tuple[list[Event], Person]]


def newsletter_after_sign_up(one: _Teller) -> tuple[list[Event], Person]:
    name, phone = one.name(), one.phone()
    first = one.sign_up(one.at_s, name)
    opt_in = NewsletterOptIn(email=one.email, phone=phone)
    events = [first, Event(one.later(0.1, 1.0), "newsletter", opt_in, ("phone", phone))]
    return events, Person(one.email, "newsletter after sign-up", one.user(name=name, phone=phone), False)


def sign_up_after_newsletter(one: _Teller) -> tuple[list[Event], Person]:
    name = one.name()
    first = Event(one.at_s, "newsletter", NewsletterOptIn(email=one.email))
    events = [first, one.sign_up(one.later(0.1, 1.0), name)]
    return events, Person(one.email, "sign-up after newsletter", one.user(name=name), False)


def form_twice(one: _Teller) -> tuple[list[Event], Person]:
    name = one.name()
    form = LeadCapture(email=one.email, name=name)
    moments = (one.at_s, one.later(0.0, 0.3))
    events = [Event(at_s, "website", form, ("name", name)) for at_s in moments]
    return events, Person(one.email, "the same form twice", {"role": "lead", "name": name})


def two_services_at_once(one: _Teller) -> tuple[list[Event], Person]:
    name, phone = one.name(), one.phone()
    support = Event(one.at_s, "support", LeadCapture(email=one.email, phone=phone), ("phone", phone))
    return [one.sign_up(one.at_s, name), support], Person(
        one.email, "two services at once", one.user(name=name, phone=phone)
    )


def there_and_back(one: _Teller) -> tuple[list[Event], Person]:
    """Changed, and changed back: a comparison with what the index shows sees no difference."""
    first, second = one.name(), one.name()
    events = [
        one.sign_up(one.at_s, first),
        one.sync(one.later(0.3, 1.0), second),
        one.sync(one.later(0.3, 1.0), first),
    ]
    return events, Person(one.email, "changed and changed back", one.user(name=first))


def opt_out_and_re_sync(one: _Teller) -> tuple[list[Event], Person]:
    first, second = one.name(), one.name()
    out = Event(one.later(0.3, 1.0), "newsletter", NewsletterOptOut(email=one.email))
    events = [one.sign_up(one.at_s - 0.2, first), out, one.sync(one.later(0.1, 0.5), second)]
    return events, Person(one.email, "opt-out, then a re-sync", one.user(name=second), True)


def made_by_the_browser(one: _Teller) -> tuple[list[Event], Person]:
    name = one.name()
    events = [one.sync(one.at_s + one.random.uniform(0.2, 1.0), name)]
    return events, Person(one.email, "made by the browser SDK", one.user(name=name))


STORIES: tuple[Story, ...] = (
    newsletter_after_sign_up,
    sign_up_after_newsletter,
    form_twice,
    two_services_at_once,
    there_and_back,
    opt_out_and_re_sync,
    made_by_the_browser,
)


def make_mix(people: int, seconds: float, seed: int) -> Mix:
    """So many people, beginning evenly within the seconds."""
    random, mix = Random(seed), Mix()
    for number, story in zip(range(people), _stories(random), strict=False):
        one = _Teller(number, seconds * number / people, random)
        if story is made_by_the_browser:
            mix.browser.append(Browser(one.at_s, one.email, one.external_id))
        events, person = story(one)
        mix.events += events
        mix.people.append(person)
    mix.events.sort(key=lambda event: event.at_s)
    return mix


def _stories(random: Random) -> Iterator[Story]:
    """Each as often as the others, in any order."""
    while True:
        yield from random.sample(STORIES, len(STORIES))
