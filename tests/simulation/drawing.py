"""From a seed to the script of a history. All that may be drawn, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

from .script import (
    ATTRIBUTE,
    FAULTS,
    START_S,
    UNKNOWN_ATTRIBUTE,
    Act,
    ActKind,
    Conditions,
    Fault,
    Json,
    Place,
    Request,
    Script,
    addresses,
)

_PLACES: tuple[Place, ...] = ("redis", "intercom", "turn", "producer", "timer")
_PLACE_WEIGHTS = (40, 38, 12, 6, 4)
_REACH = {"redis": 36, "intercom": 12, "turn": 8, "producer": 6, "timer": 8}
"""How far into a history the n-th call is that a fault may strike."""
_DELAYS_S = (0.1, 1.0, 4.0, 5.2, 6.0, 16.0, 31.5, 40.0, 70.0)


def draw(seed: int) -> Script:
    """The script of a seed; always the same."""
    dice = Random(f"script/{seed}")
    chosen = addresses()[: dice.choices((1, 2, 3), (5, 4, 1))[0]]
    identities = _Identities(dice, chosen)
    conditions = _conditions(dice)
    meddled = dice.random() < 0.35
    long_s = 8 * conditions.settle_window_s
    length_s = dice.choice((2.0, 20.0, long_s, long_s) if meddled else (0.5, 2.0, 20.0, 200.0, long_s))
    count = dice.randint(2, 8)
    before = tuple(_before(dice, identities) for _ in range(dice.random() < 0.35))
    requests = _requests(dice, identities, length_s, count)
    return Script(
        seed=seed,
        conditions=conditions,
        before=before,
        requests=tuple(_with_rare_kinds(Random(f"rare/{seed}"), requests, chosen)),
        acts=tuple(_acts(dice, identities, length_s)) if meddled else (),
        faults=tuple(_faults(dice)),
    )


def _conditions(dice: Random) -> Conditions:
    window_s = dice.choice((60.0, 60.0, 90.0, 600.0))
    least, most = dice.choice(((0.0, 0.0), (0.0, 1.0), (0.5, 1.0), (0.95, 0.99)))
    return Conditions(
        workers=dice.choice((1, 2, 2, 3)),
        slots=dice.choice((1, 2)),
        timers=dice.choice((1, 1, 1, 2)),
        settle_window_s=window_s,
        lag_s=(least * window_s, most * window_s),
        lost_after_turns=dice.choice((1, 2, 64)),
        slice_intents=dice.choice((1, 2, 50)),
        fold_max=dice.choice((1, 2, 50)),
        newsletter_types=dice.choice(((), (), (), ("101",), ("101", "102"))),
        max_kills=dice.choice((3, 1)),
        skew_s=dice.choice((0.0, 0.0, -2.0, 2.0)),
        slow_calls=dice.random() < 0.1,
    )


class _Identities:
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


def _before(dice: Random, who: _Identities) -> Json:
    address = who.address()
    role = dice.choice(("lead", "user", "user"))
    body: Json = {"role": role, "email": address, "archived": dice.random() < 0.15}
    if role == "user" and dice.random() < 0.7:
        body["external_id"] = who.external_id(address)
    if dice.random() < 0.3:
        body["unsubscribed_from_emails"] = True
    if dice.random() < 0.5:
        body["name"] = dice.choice("AB")
    return body


def _requests(dice: Random, who: _Identities, length_s: float, count: int) -> list[Request]:
    times = sorted(dice.uniform(0, length_s) for _ in range(count))
    poisoned = dice.random() < 0.1
    requests = []
    for number, at_s in enumerate(times):
        intent = _intent(dice, who, number, poisoned)
        if intent["kind"].startswith("newsletter") and dice.random() < 0.2:
            intent["occurred_at"] = _moment(at_s - dice.choice((1, 30, 3600)))
        requests.append(Request(round(at_s, 3), intent))
        if "dedupe_key" in intent and dice.random() < 0.5:
            requests.append(Request(round(at_s + dice.uniform(0, 30), 3), intent))
    return sorted(requests, key=lambda one: one.at_s)


def _intent(dice: Random, who: _Identities, number: int, poisoned: bool) -> Json:
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


def _fields(dice: Random, who: _Identities, number: int) -> Json:
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


def _sync(dice: Random, who: _Identities, intent: Json) -> Json:
    more: Json = {}
    if dice.random() < who.versioned:
        more |= {"source": "crm", "version": dice.randint(1, 4)}
    if dice.random() < 0.2:
        more["create"] = False
    if dice.random() < 0.25 and "phone" not in intent:
        more["unset"] = ["phone"]
    return more


def _upsert(dice: Random, who: _Identities, number: int) -> Json:
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


def _with_rare_kinds(dice: Random, requests: list[Request], chosen: Sequence[str]) -> list[Request]:
    """In some histories, a few of the intents are changes of address or erasures."""
    moving, erasing = len(chosen) > 1 and dice.random() < 0.15, dice.random() < 0.06
    return [
        replace(one, intent=_rare(dice, one.intent, chosen, moving, erasing)) if moving or erasing else one
        for one in requests
    ]


def _rare(dice: Random, intent: Json, chosen: Sequence[str], moving: bool, erasing: bool) -> Json:
    common: Json = {name: intent[name] for name in ("email", "external_id") if name in intent}
    if moving and dice.random() < 0.35:
        others = [address for address in chosen if address != intent["email"].strip().lower()]
        return {"kind": "email_change", "new_email": dice.choice(others), **common}
    if erasing and dice.random() < 0.25:
        return {"kind": "contact_erasure", "everyone": dice.random() < 0.3, **common}
    return intent


_ACTS: tuple[ActKind, ...] = ("sdk_user", "merge", "archive", "delete")


def _acts(dice: Random, who: _Identities, length_s: float) -> list[Act]:
    acts = []
    for _ in range(dice.choice((1, 1, 2))):
        kind: ActKind = dice.choices(_ACTS, (4, 3, 2, 1))[0]
        address = who.address()
        external_id = who.external_id(address) if dice.random() < 0.8 else None
        at_s = dice.uniform(0, 0.6 * length_s + 1)
        acts.append(Act(round(at_s, 3), kind, address, external_id))
    return sorted(acts, key=lambda one: one.at_s)


def _faults(dice: Random) -> list[Fault]:
    faults = []
    for _ in range(dice.choice((0, 1, 1, 2, 2, 3, 4, 5))):
        place = dice.choices(_PLACES, _PLACE_WEIGHTS)[0]
        delay_s = dice.choice(_DELAYS_S)
        faults.append(Fault(place, dice.randrange(_REACH[place]), dice.choice(FAULTS[place]), delay_s))
    if dice.random() < 0.02:  # the one late write that nothing can prevent: declared, and judged less
        faults.append(Fault("intercom", dice.randrange(_REACH["intercom"]), "freeze_at_socket", 40.0))
    return faults
