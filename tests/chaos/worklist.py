"""What the producers will ask for: made from the seed, shared out among them, no value like another.

The marker `seq` is a different number in every intent that can carry one, so that whatever is written can be
led back to its author. A third of the addresses belong to users of a product, with an external id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from .scale import Scale

Json = dict[str, Any]

ATTRIBUTES = {"seq": "integer", "note": "string", "first": "string"}
POISON = {"nobody_made_this_attribute": 1}
BATCHED = 0.15
"""Share of intents that travel in an `enqueue_many` of up to MOST_IN_A_BATCH."""
MOST_IN_A_BATCH = 5
SENT_TWICE = 0.03


@dataclass(frozen=True, slots=True)
class Item:
    """One call of a producer: an intent, or several at once."""

    at_s: float
    """When, in seconds after the start."""
    intents: tuple[Json, ...]


class Writer:
    """Writes intents about one workspace's people."""

    def __init__(self, scale: Scale, seed: int, began: datetime) -> None:
        self._scale = scale
        self._seed = seed
        self._began = began
        self._dice = Random(f"intents {seed}")
        self._last_sync: dict[int, Json] = {}
        people = range(scale.addresses)
        weights = [8 if person % 10 == 0 else 1 for person in people]
        self._about = [*people, *self._dice.choices(people, weights, k=scale.intents - scale.addresses)]
        self._dice.shuffle(self._about)
        self._speakers = [
            self._dice.sample(range(scale.producers), self._dice.randint(1, scale.producers)) for _ in people
        ]

    def worklists(self) -> list[list[Item]]:
        """For each producer, its calls in order."""
        lists: list[list[tuple[float, Json]]] = [[] for _ in range(self._scale.producers)]
        for number in range(self._scale.intents):
            person = self._about[number]
            at_s = self._scale.duration_s * number / self._scale.intents
            intent = self._intent(number, person)
            speaker = self._dice.choice(self._speakers[person])
            lists[speaker].append((at_s, intent))
            if self._dice.random() < SENT_TWICE:
                lists[speaker].append((at_s, intent))
        return [self._batched(entries) for entries in lists]

    def _batched(self, entries: list[tuple[float, Json]]) -> list[Item]:
        items, rest = [], entries
        while rest:
            size = self._dice.randint(2, MOST_IN_A_BATCH) if self._dice.random() < BATCHED else 1
            chunk, rest = rest[:size], rest[size:]
            items.append(Item(chunk[-1][0], tuple(intent for _, intent in chunk)))
        return items

    def _intent(self, number: int, person: int) -> Json:
        product = person % 3 == 0
        common = {"email": f"p{person}@chaos.test", "dedupe_key": f"{self._seed}-{number}"}
        kinds = {
            "lead_capture": 30,
            "newsletter_opt_in": 14,
            "newsletter_opt_out": 10,
            "product_sign_up": 14 if product else 0,
            "contact_sync": 18,
            "again": 8,
            "contact_upsert": 10,
            "poison": 1,
        }
        [kind] = self._dice.choices(list(kinds), list(kinds.values()))
        if kind == "again" and person not in self._last_sync:
            kind = "contact_sync"
        own: Json = getattr(self, f"_{kind}")(number, person, product)
        return {"kind": kind, **common, **own}

    def _marked(self, number: int) -> Json:
        fields: Json = {"custom_attributes": {"seq": number}}
        if self._dice.random() < 0.5:
            fields["name"] = f"Name {number}"
        if self._dice.random() < 0.3:
            fields["custom_attributes"]["note"] = f"note {number}"
        return fields

    def _lead_capture(self, number: int, person: int, product: bool) -> Json:
        return self._marked(number)

    def _newsletter_opt_in(self, number: int, person: int, product: bool) -> Json:
        return {**self._marked(number), **self._consent()}

    def _newsletter_opt_out(self, number: int, person: int, product: bool) -> Json:
        return self._consent()

    def _consent(self) -> Json:
        types = self._dice.choice([[], [], ["101"], ["102"], ["101", "102"]])
        words: Json = {"subscription_types": types} if types else {}
        if self._dice.random() < 0.1:  # a word that comes late
            ago = timedelta(seconds=self._dice.uniform(1, 60))
            words["occurred_at"] = (self._began - ago).astimezone(UTC).isoformat()
        return words

    def _product_sign_up(self, number: int, person: int, product: bool) -> Json:
        return {**self._marked(number), "external_id": f"u{person}"}

    def _contact_sync(self, number: int, person: int, product: bool) -> Json:
        fields = self._marked(number)
        if product:
            fields["external_id"] = f"u{person}"
        if self._dice.random() < 0.4:
            fields |= {"version": number, "source": "crm"}
        if "name" not in fields and self._dice.random() < 0.2:
            fields["unset"] = ["name"]
        self._last_sync[person] = fields
        return fields

    def _again(self, number: int, person: int, product: bool) -> Json:
        """The same picture again: a no-op, or an old value that is the newest word."""
        return {"kind": "contact_sync", **self._last_sync[person]}

    def _contact_upsert(self, number: int, person: int, product: bool) -> Json:
        fields: Json = {"set": self._marked(number)}
        if self._dice.random() < 0.4:
            fields["set_on_insert"] = {"custom_attributes": {"first": f"first {number}"}}
        if self._dice.random() < 0.2 and "note" not in fields["set"]["custom_attributes"]:
            fields["unset"] = ["custom_attributes.note"]
        if self._dice.random() < 0.2:
            fields["create"] = "update_only"
            fields.pop("set_on_insert", None)
        return fields

    def _poison(self, number: int, person: int, product: bool) -> Json:
        return {"kind": "lead_capture", "custom_attributes": {"seq": number, **POISON}}


def is_poison(intent: Json) -> bool:
    """Whether Intercom refuses it, whatever happens."""
    return not POISON.keys().isdisjoint(intent.get("custom_attributes", {}))
