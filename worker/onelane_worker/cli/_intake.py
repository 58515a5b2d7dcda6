"""From options and files to intents. Nothing is sent before all of it has been read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onelane_worker.cli import _source_file as source_file
from onelane_worker.cli._errors import USAGE, fail

if TYPE_CHECKING:
    from onelane import Intent

_PERSON_FIELDS = ("name", "phone", "custom_attributes")
_UPSERT = "contact_upsert"


@dataclass(frozen=True, slots=True)
class Given:
    """The options of `enqueue` that are fields of an intent."""

    email: str | None
    external_id: str | None
    dedupe_key: str | None
    source: str | None
    occurred_at: str | None
    name: str | None
    phone: str | None
    attributes: Sequence[str]
    subscription_types: Sequence[str]
    unset: Sequence[str]
    fields: Sequence[str]

    def as_fields(self, kind: str) -> dict[str, Any]:
        """Those that were given, by the names that the kind has for them."""
        plain = ("email", "external_id", "dedupe_key", "source", "occurred_at", "name", "phone")
        found = {name: value for name in plain if (value := getattr(self, name)) is not None}
        lists = {
            "custom_attributes": _pairs(self.attributes, "--attribute"),
            "subscription_types": list(self.subscription_types),
            "unset": list(self.unset),
        }
        found |= {name: value for name, value in lists.items() if value}
        found |= _pairs(self.fields, "--set")
        return _under_set(found) if kind == _UPSERT else found


def _under_set(fields: dict[str, Any]) -> dict[str, Any]:
    """An upsert says in `set` what it writes: there the options of a person belong."""
    person = {name: fields.pop(name) for name in _PERSON_FIELDS if name in fields}
    if person and isinstance(fields.get("set", {}), Mapping):
        fields["set"] = {**person, **fields.get("set", {})}
    return fields


def _pairs(words: Sequence[str], option: str) -> dict[str, Any]:
    """`seats=12` as a number, `plan=pro` as text: a value is JSON if it can be read as such."""
    from pydantic_core import from_json

    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            fail(USAGE, f"{option}: must be NAME=VALUE")
        try:
            found[name] = from_json(value, allow_inf_nan=False)
        except ValueError:
            found[name] = value
    return found


def kinds(beginning: str = "") -> list[str]:
    """The kinds that there are, as they are typed; those that begin so."""
    from onelane.intents import KINDS

    return [name for kind in KINDS if (name := kind.replace("_", "-")).startswith(beginning)]


def kinds_sentence() -> str:
    """The kinds that there are."""
    return f"Kinds: {', '.join(kinds())}."


def one(kind: str, given: Given) -> Intent:
    """The intent that the options describe."""
    from onelane import InvalidIntent, parse_intent

    kind = _known(kind)
    try:
        return parse_intent({**given.as_fields(kind), "kind": kind})
    except InvalidIntent as wrong:
        fail(USAGE, str(wrong), _ADVICE.get(wrong.field))


def many(source: str, kind: str | None, given: Given) -> list[Intent]:
    """The intents of a file: each object's own fields, and from the options what it leaves out."""
    from onelane import InvalidIntent, parse_intent

    usual = None if kind is None else _known(kind)
    intents = []
    for place, entry in source_file.entries(source):
        if not isinstance(entry, dict):
            fail(USAGE, f'{place}: must be a JSON object, such as {{"email": …}}')
        own = entry.get("kind", usual)
        its_kind = own.replace("-", "_") if isinstance(own, str) else ""
        try:
            intents.append(parse_intent({**given.as_fields(its_kind), **entry, "kind": its_kind}))
        except InvalidIntent as wrong:
            fail(
                USAGE,
                f"{place}: {wrong}; nothing was sent",
                "Each object needs a kind, or give KIND." if not its_kind else None,
            )
    if not intents:
        fail(USAGE, f"no intents in {'standard input' if source == '-' else source}")
    return intents


def _known(kind: str) -> str:
    from onelane.intents import KINDS

    found = kind.replace("-", "_")
    if found not in KINDS:
        fail(USAGE, "no such KIND of intent", kinds_sentence())
    return found


_ADVICE = {
    "email": "Say whom it is about: --email ADDRESS.",
    "new_email": "Say the new address: --set new_email=ADDRESS.",
    "external_id": "Say your id of the user: --external-id ID.",
}
