"""Is a write needed? A field is skipped only if a fact says it already holds (R45–R48).

The law here is asymmetric on purpose: one request too many is cheap, a lost value is not. So anything
that is not surely equal counts as different.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from onelane_worker.planner.registry import Ack, Facts, flatten

ATTRIBUTES = "custom_attributes."
BLANK_IS_NULL = frozenset({"email", "name", "phone", "avatar"})
"""Fields for which null, absent and "" are the same to Intercom. Evidence: recorded traffic, 2021."""


def differs(path: str, desired: Any, facts: Facts | None) -> bool:
    """True unless a fact says that `path` already holds `desired`."""
    if facts is None or not _is_known(path, facts):
        return True
    fact = facts.fields.get(path)
    if same(path, desired, fact):
        return False
    ack = facts.acks.get(path)
    return ack is None or not (same(path, desired, ack.sent) and same(path, ack.echoed, fact))


def is_empty(path: str, facts: Facts | None) -> bool:
    """True only if a fact says that the field holds nothing."""
    return facts is not None and _is_known(path, facts) and same(path, None, facts.fields.get(path))


def difference(desired: Mapping[str, Any], facts: Facts | None) -> dict[str, Any]:
    """What of `desired` has to be sent."""
    return {path: value for path, value in desired.items() if differs(path, value, facts)}


def same(path: str, a: Any, b: Any) -> bool:
    """Equality as Intercom keeps it: types matter, except that 1 equals 1.0."""
    if type(a) is type(b) and a == b:
        return True
    if path in BLANK_IS_NULL:
        a, b = a or None, b or None
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    return a is None and b is None


def acknowledged(body: Mapping[str, Any], facts: Facts, before: Facts | None) -> Facts:
    """The facts of a write's answer, with the values that Intercom stored differently from what we sent."""
    kept = {} if before is None else before.acks
    acks = {path: ack for path, ack in kept.items() if same(path, ack.echoed, facts.fields.get(path))}
    for path, sent in flatten(body).items():
        echoed = facts.fields.get(path)
        if _is_known(path, facts) and not same(path, sent, echoed):
            acks[path] = Ack(sent=sent, echoed=echoed)
        else:
            acks.pop(path, None)
    return replace(facts, acks=acks)


def _is_known(path: str, facts: Facts) -> bool:
    return facts.attributes_known if path.startswith(ATTRIBUTES) else path in facts.fields
