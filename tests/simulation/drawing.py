"""From a seed to the script of a history. All that may be drawn, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from tests.world.faults import Fault, Place

from .intents import Identities, as_rare, draw_intent
from .script import (
    FAULTS,
    Act,
    ActKind,
    Conditions,
    Json,
    Request,
    Script,
    Struck,
    Trouble,
    TroubleKind,
    addresses,
)

_PLACES: tuple[Place, ...] = ("redis", "intercom", "wake", "producer", "tick")
_PLACE_WEIGHTS = (40, 38, 10, 6, 6)
_REACH = {"redis": 30, "intercom": 12, "wake": 6, "producer": 6, "tick": 12}
"""How far into a history the n-th call is that a fault may strike."""
_DELAYS_S = (0.1, 1.0, 4.0, 5.2, 6.0, 16.0, 31.5, 40.0, 70.0)
_TROUBLES: tuple[TroubleKind, ...] = (
    "failover", "emptied", "redis_away", "redis_refuses", "outage", "no_writes", "shutdown", "pause",
    "withdraw", "replay", "discard",
)  # fmt: skip
_TROUBLE_WEIGHTS = (12, 2, 8, 6, 8, 5, 14, 5, 12, 8, 2)


def draw(seed: int) -> Script:
    """The script of a seed; always the same."""
    dice = Random(f"script/{seed}")
    crowded = dice.random() < 0.06
    chosen = addresses(dice.randint(5, 9) if crowded else dice.choices((1, 2, 3), (5, 4, 1))[0])
    who = Identities(dice, chosen)
    conditions = _conditions(dice)
    meddled = dice.random() < 0.35
    long_s = 8 * conditions.settle_window_s
    length_s = dice.choice((2.0, 20.0, long_s, long_s) if meddled else (0.5, 2.0, 20.0, 200.0, long_s))
    before = tuple(_before(dice, who) for _ in range(dice.random() < 0.35))
    requests = _requests(dice, who, length_s, dice.randint(8, 14) if crowded else dice.randint(2, 8))
    troubled = dice.random() < 0.3
    return Script(
        seed=seed,
        conditions=conditions,
        before=before,
        requests=tuple(_with_rare_kinds(dice, requests, chosen)),
        acts=tuple(_acts(dice, who, length_s)) if meddled else (),
        faults=tuple(_faults(dice)),
        troubles=tuple(_troubles(dice, length_s)) if troubled else (),
    )


def _conditions(dice: Random) -> Conditions:
    window_s = dice.choice((60.0, 60.0, 90.0, 600.0))
    least, most = dice.choice(((0.0, 0.0), (0.0, 1.0), (0.5, 1.0), (0.95, 0.99)))
    return Conditions(
        engines=dice.choice((1, 2, 2, 3)),
        slots=dice.choice((1, 2, 4, 32)),
        settle_window_s=window_s,
        lag_s=(least * window_s, most * window_s),
        fold_max=dice.choice((1, 2, 50)),
        newsletter_types=dice.choice(((), (), (), ("101",), ("101", "102"))),
        max_kills=dice.choice((4, 4, 2)),
        max_attempts=dice.choice((20, 20, 3)),
        skew_s=dice.choice((0.0, 0.0, -2.0, 2.0)),
        slow_calls=dice.random() < 0.05,
        requests_per_10s=dice.choice((1600, 1600, 1600, 12)),
        wake_max=dice.choice((64, 64, 1)),
        hold=dice.random() < 0.9,
    )


def _before(dice: Random, who: Identities) -> Json:
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


def _requests(dice: Random, who: Identities, length_s: float, count: int) -> list[Request]:
    times = sorted(dice.uniform(0, length_s) for _ in range(count))
    poisoned, deadly = dice.random() < 0.1, dice.random() < 0.04
    requests = []
    for number, at_s in enumerate(times):
        intent = draw_intent(dice, who, number, at_s, poisoned)
        kills = dice.choice((1, 2, 9)) if deadly and dice.random() < 0.3 else 0
        requests.append(Request(round(at_s, 3), intent, kills))
        if "dedupe_key" in intent and dice.random() < 0.5:
            requests.append(Request(round(at_s + dice.uniform(0, 30), 3), intent))
    return sorted(requests, key=lambda one: one.at_s)


def _with_rare_kinds(dice: Random, requests: list[Request], chosen: Sequence[str]) -> list[Request]:
    """In some histories, a few of the intents are changes of address or erasures."""
    moving, erasing = len(chosen) > 1 and dice.random() < 0.2, dice.random() < 0.06
    if not moving and not erasing:
        return requests
    return [replace(one, intent=as_rare(dice, one.intent, chosen, moving, erasing)) for one in requests]


_ACTS: tuple[ActKind, ...] = ("sdk_user", "merge", "archive", "delete")


def _acts(dice: Random, who: Identities, length_s: float) -> list[Act]:
    acts = []
    for _ in range(dice.choice((1, 1, 2))):
        kind: ActKind = dice.choices(_ACTS, (4, 3, 2, 1))[0]
        address = who.address()
        external_id = who.external_id(address) if dice.random() < 0.8 else None
        at_s = dice.uniform(0, 0.6 * length_s + 1)
        acts.append(Act(round(at_s, 3), kind, address, external_id))
    return sorted(acts, key=lambda one: one.at_s)


def _faults(dice: Random) -> list[Struck]:
    faults = []
    for _ in range(dice.choice((0, 1, 1, 2, 2, 3, 4, 5))):
        place = dice.choices(_PLACES, _PLACE_WEIGHTS)[0]
        kind, delay_s = dice.choice(FAULTS[place]), dice.choice(_DELAYS_S)
        faults.append(Struck(place, dice.randrange(_REACH[place]), Fault(kind, delay_s)))
    if dice.random() < 0.02:  # the one late write that nothing can prevent: declared, and judged less
        faults.append(Struck("intercom", dice.randrange(_REACH["intercom"]), Fault("freeze_at_socket", 40.0)))
    return faults


def _troubles(dice: Random, length_s: float) -> list[Trouble]:
    troubles = []
    for _ in range(dice.choice((1, 1, 2))):
        kind: TroubleKind = dice.choices(_TROUBLES, _TROUBLE_WEIGHTS)[0]
        at_s = dice.uniform(0.01, dice.choice((2.0, length_s + 2)))
        for_s, lost_s = dice.choice((0.05, 1.0, 4.0, 12.0, 40.0)), dice.choice((0.02, 0.1, 0.5, 1.5))
        troubles.append(Trouble(round(at_s, 3), kind, for_s, lost_s))
    return sorted(troubles, key=lambda one: one.at_s)
