"""The stories, as data: what is there before, which intents arrive, and what must be true at the end.

Both sides get the same intents. Intents of one step arrive at the same moment; a step begins when the one
before it has ended, as for people who do one thing after another within seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onelane import ContactSync, Intent, LeadCapture, NewsletterOptIn, NewsletterOptOut, ProductSignUp
from onelane_sandbox.client import SandboxControl

PAIRS = 20
LOST_CREATE_LAG_S = 3.0
"""Index lag of the story in which only the index can tell that a lead was created."""


@dataclass(frozen=True, slots=True)
class Person:
    """One person as the workspace must hold them at the end: once, and with these values."""

    email: str
    holds: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Story:
    """One story."""

    title: str
    steps: tuple[tuple[Intent, ...], ...]
    people: tuple[Person, ...]
    before: Callable[[SandboxControl], None] = field(default=lambda sandbox: None)
    max_lag_s: float | None = None
    """The index lags no longer than this, in this story only."""
    note: str | None = None

    @property
    def intents(self) -> int:
        """How many arrive."""
        return sum(len(step) for step in self.steps)


def _newsletter_after_sign_up() -> Story:
    email = "ann@demo.test"
    return Story(
        "Newsletter after sign-up",
        (
            (ProductSignUp(email=email, external_id="u-ann", name="Ann Lee"),),
            (NewsletterOptIn(email=email, phone="+15550100"),),
        ),
        (Person(email, {"role": "user", "external_id": "u-ann", "name": "Ann Lee", "phone": "+15550100"}),),
    )


def _form_twice() -> Story:
    form = NewsletterOptIn(email="ben@demo.test", name="Ben")
    return Story(
        "The same form twice",
        ((form,), (form,)),
        (Person("ben@demo.test", {"role": "lead", "name": "Ben"}),),
    )


def _two_services() -> Story:
    steps, people = [], []
    for number in range(PAIRS):
        email, name = f"pair{number}@demo.test", f"Person {number}"
        sign_up = ProductSignUp(email=email, external_id=f"u-pair{number}", phone="+15550101")
        steps.append((LeadCapture(email=email, name=name), sign_up))
        people.append(Person(email, {"role": "user", "name": name, "phone": "+15550101"}))
    return Story(f"Two services, {PAIRS} people", tuple(steps), tuple(people))


def _quote_then_sign_up() -> Story:
    email = "cleo@demo.test"
    return Story(
        "Quote, then sign-up",
        (
            (LeadCapture(email=email, name="Cleo", phone="+15550102"),),
            (ProductSignUp(email=email, external_id="u-cleo"),),
        ),
        (Person(email, {"role": "user", "external_id": "u-cleo", "name": "Cleo", "phone": "+15550102"}),),
    )


def _lose_the_answer(sandbox: SandboxControl) -> None:
    sandbox.fault("lose_response", method="POST", path="^/contacts$")


def _lead_answer_lost() -> Story:
    return Story(
        "Lead: answer lost",
        ((NewsletterOptIn(email="dan@demo.test", name="Dan"),),),
        (Person("dan@demo.test", {"role": "lead", "name": "Dan"}),),
        _lose_the_answer,
        max_lag_s=LOST_CREATE_LAG_S,
        note=f"index lag {LOST_CREATE_LAG_S:g} s here: only the index can tell that the lead was made",
    )


def _user_answer_lost() -> Story:
    return Story(
        "User: answer lost",
        ((ProductSignUp(email="eve@demo.test", external_id="u-eve", name="Eve"),),),
        (Person("eve@demo.test", {"role": "user", "external_id": "u-eve", "name": "Eve"}),),
        _lose_the_answer,
    )


def _there_and_back() -> Story:
    email = "finn@demo.test"
    old, new = "+15550103", "+15550104"

    def before(sandbox: SandboxControl) -> None:
        sandbox.call(
            "POST", "/contacts", {"role": "user", "external_id": "u-finn", "email": email, "phone": old}
        )
        sandbox.catch_up()  # known for long

    return Story(
        "Re-sync: there and back",
        tuple((ContactSync(email=email, external_id="u-finn", phone=phone),) for phone in (old, new, old)),
        (Person(email, {"role": "user", "phone": old}),),
        before,
    )


def _opt_out_then_sync() -> Story:
    email = "gus@demo.test"
    return Story(
        "Opt-out, then re-sync",
        (
            (NewsletterOptIn(email=email),),
            (NewsletterOptOut(email=email),),
            (ContactSync(email=email, name="Gus"),),
        ),
        (Person(email, {"name": "Gus", "unsubscribed_from_emails": True}),),
    )


def _browser_was_first() -> Story:
    email = "hal@demo.test"

    def before(sandbox: SandboxControl) -> None:
        sandbox.call("POST", "/contacts", {"role": "user", "external_id": "u-hal", "email": email})

    return Story(
        "Browser SDK was first",
        ((ProductSignUp(email=email, external_id="u-hal", name="Hal"),),),
        (Person(email, {"role": "user", "external_id": "u-hal", "name": "Hal"}),),
        before,
    )


def all_stories() -> list[Story]:
    """In the order in which they are played and shown."""
    return [
        _newsletter_after_sign_up(),
        _form_twice(),
        _two_services(),
        _quote_then_sign_up(),
        _lead_answer_lost(),
        _user_answer_lost(),
        _there_and_back(),
        _opt_out_then_sync(),
        _browser_was_first(),
    ]
