"""The intents of a history: few people, few values, so that old ones come back and meet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

from .script import ATTRIBUTE, START_S, UNKNOWN_ATTRIBUTE, Json


class Identities:
    """Who the people of this history are."""

    def __init__(self, dice: Random, chosen: Sequence[str]) -> None:
        self.chosen = chosen
        self._dice = dice
        self._two_accounts = dice.random() < 0.15
        self._shared = dice.random() < 0.1
        self.kinds = dice.sample(tuple(_KINDS), dice.choice((2, 3, len(_KINDS))))
        """Where there are few kinds, intents fold."""
        self.versioned = 0.4
        """How often a sync has a version."""
        if self._shared and dice.random() < 0.5:  # the versions of one external id come by several addresses
            self.kinds, self.versioned = ["contact_sync", "contact_sync", "lead_capture"], 0.9
        self.terse = dice.random() < 0.3
        """Everybody speaks of the name only, and old values come back all the time."""

    def address(self) -> str:
        return self._dice.choice(self.chosen)

    def external_id(self, address: str) -> str:
        number = 0 if self._shared else self.chosen.index(address)
        second = self._two_accounts and self._dice.random() < 0.4
        return f"{'v' if second else 'u'}{number}"


def draw_intent(dice: Random, who: Identities, number: int, at_s: float, poisoned: bool) -> Json:
    address = who.address()
    kind = dice.choice(who.kinds)
    intent: Json = {"kind": kind, "email": address if dice.random() < 0.9 else f" {address.upper()}"}
    if dice.random() < _KINDS[kind]:
        intent["external_id"] = who.external_id(address)
    if dice.random() < 0.15:
        intent["dedupe_key"] = f"k{number}"
    if kind == "contact_upsert":
        intent |= _upsert(dice, who, number)
    elif kind != "newsletter_opt_out":
        intent |= _fields(dice, who, number)
    if kind == "contact_sync":
        intent |= _sync(dice, who, intent)
    if kind.startswith("newsletter"):
        intent |= _consent(dice)
    if kind == "lead_capture" and poisoned and dice.random() < 0.5:
        intent["custom_attributes"] = {UNKNOWN_ATTRIBUTE: 1}
    if kind.startswith("newsletter") and dice.random() < 0.2:
        intent["occurred_at"] = _moment(at_s - dice.choice((1, 30, 3600)))
    return intent


_KINDS = {
    "newsletter_opt_in": 0.1,
    "newsletter_opt_out": 0.1,
    "lead_capture": 0.1,
    "product_sign_up": 1.0,
    "contact_sync": 0.6,
    "contact_upsert": 0.4,
}
"""Kind → how often it names an external id."""


def _fields(dice: Random, who: Identities, number: int) -> Json:
    """Few names, so that old values come back; and an attribute that tells every intent from the others."""
    if who.terse:
        return {"name": dice.choice("AB")}
    fields: Json = {}
    if dice.random() < 0.7:
        fields["name"] = dice.choice("AB")
    if dice.random() < 0.3:
        fields["phone"] = dice.choice(("+1", "+2"))
    if dice.random() < 0.5 or not fields:
        fields["custom_attributes"] = {ATTRIBUTE: f"p{number}"}
    return fields


def _sync(dice: Random, who: Identities, intent: Json) -> Json:
    more: Json = {}
    if dice.random() < who.versioned:
        more |= {"source": "crm", "version": dice.randint(1, 4)}
    if dice.random() < 0.2:
        more["create"] = False
    if dice.random() < 0.25 and "phone" not in intent:
        more["unset"] = ["phone"]
    return more


def _upsert(dice: Random, who: Identities, number: int) -> Json:
    more: Json = {"set": _fields(dice, who, number)}
    if dice.random() < 0.4 and "phone" not in more["set"]:
        more["set_on_insert"] = {"phone": f"+9{number}"}
    elif dice.random() < 0.3 and "phone" not in more["set"]:
        more["unset"] = ["phone"]
    more["role"] = dice.choice(("keep", "keep", "lead", "user"))
    more["create"] = dice.choices(("create_or_update", "update_only", "create_only"), (7, 2, 1))[0]
    return more


def _consent(dice: Random) -> Json:
    more: Json = {}
    if dice.random() < 0.3:
        more["subscription_types"] = [dice.choice(("101", "102"))]
    return more


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(START_S + at_s, UTC).isoformat()


def as_rare(dice: Random, intent: Json, chosen: Sequence[str], moving: bool, erasing: bool) -> Json:
    common: Json = {name: intent[name] for name in ("email", "external_id") if name in intent}
    if moving and dice.random() < 0.35:
        others = [address for address in chosen if address != intent["email"].strip().lower()]
        return {"kind": "email_change", "new_email": dice.choice(others), **common}
    if erasing and dice.random() < 0.25:
        return {"kind": "contact_erasure", "everyone": dice.random() < 0.3, **common}
    return intent
