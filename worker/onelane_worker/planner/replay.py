"""Dead letters that come back (R98): a replay must not undo what later intents have written since.

A lane with dead letters remembers, in the person's memory, which field was written after which burial:
burials are counted, a dead letter bears the number of its own, and a written field the number of burials
before it. Only names of fields are kept, no values. What the replay leaves out is decided
when it is the head, under the lease: an intent may have waited before it that is newer than the dead letter.

Consent needs no such record: the last word per channel, and when the person spoke it, is remembered
anyway (R56), and a replayed intent goes on speaking of the moment when it was first accepted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from onelane.intents import ContactUpsert, ProductSignUp, parse_intent
from onelane_worker.planner.fold import Accepted, DesiredState
from onelane_worker.planner.registry import NO_BURIALS, AttemptLog, Burials, ConsentMemory, Role

MOST_LETTERS = 100
"""Dead letters of one lane that are told apart; an older one leaves out all that was ever written since."""


def buried(memory: ConsentMemory, intent_id: str, *, again: bool = False) -> ConsentMemory:
    """The memory after a burial. A letter that dies `again` is as old as it was: it is kept whole."""
    burials = memory.burials
    number = burials.letters.get(intent_id, 0) if again else burials.count + 1
    letters = {id_: at for id_, at in burials.letters.items() if id_ != intent_id}
    letters[intent_id] = number
    kept = dict(list(letters.items())[-MOST_LETTERS:])
    dropped = burials.dropped or len(kept) < len(letters)
    burials = Burials(count=burials.count + 1, letters=kept, written=burials.written, dropped=dropped)
    return replace(memory, burials=burials)


def ended(
    memory: ConsentMemory, desired: DesiredState, log: AttemptLog | None, role: Role | None
) -> ConsentMemory:
    """The memory after the end of a desired state. `log` None: nothing was to be done. `role`: of its
    contact."""
    burials = memory.burials
    if not burials.count:
        return memory
    letters = {id_: number for id_, number in burials.letters.items() if id_ not in desired.ids}
    if not letters and not burials.dropped:
        return replace(memory, burials=NO_BURIALS)
    paths = () if log is None else _written(desired, log, role)
    written = {**burials.written, **dict.fromkeys(paths, burials.count)}
    burials = replace(burials, letters=letters, written=written)
    return replace(memory, burials=burials)


def _written(desired: DesiredState, log: AttemptLog, role: Role | None) -> set[str]:
    if role == "user" and desired.mode.form in ("fill", "keep"):
        return set()  # in time, the dead letter would have filled these fields first
    paths = set(desired.fields)
    if log.created is not None:
        paths |= desired.insert_fields.keys()
    if desired.signed_up_at is not None and (log.created or log.converted):
        paths.add("signed_up_at")
    return paths


def left_out(memory: ConsentMemory, intent_id: str) -> frozenset[str]:
    """The fields that were written after this dead letter's burial."""
    burials = memory.burials
    number = burials.letters.get(intent_id, 0)
    return frozenset(path for path, count in burials.written.items() if count >= number)


def is_remembered(memory: ConsentMemory, intent_id: str) -> bool:
    """Whether it is known what was written since; False for a letter older than the memory."""
    return intent_id in memory.burials.letters or memory.burials.dropped


def as_replayed(accepted: Accepted, first_ms: int, memory: ConsentMemory) -> Accepted:
    """A replayed intent without what others have written since. Its consent keeps its first time."""
    gone = left_out(memory, accepted.id)
    at = datetime.fromtimestamp(first_ms / 1000, UTC)
    data = _data(accepted.intent)
    data.setdefault("occurred_at", at)
    _leave_out(data, gone)
    if isinstance(accepted.intent, ContactUpsert) and "set" in data:
        _leave_out(data["set"], gone)
    return replace(accepted, intent=parse_intent(data), again=True)


def as_new(accepted: Accepted, first_ms: int) -> Accepted:
    """A replayed intent that is applied whole, as if it were new. Only a sign-up keeps its time."""
    intent = accepted.intent
    data = _data(intent)
    if isinstance(intent, ProductSignUp) and intent.signed_up_at is None:
        data["signed_up_at"] = replace(accepted, accepted_ms=first_ms).acted_ms // 1000
    data.pop("occurred_at", None)
    return replace(accepted, intent=parse_intent(data), again=True)


def _data(intent: Any) -> dict[str, Any]:
    data: dict[str, Any] = intent.model_dump(exclude_unset=True, exclude_none=True)
    return {"kind": intent.kind, **data}


def _leave_out(data: dict[str, Any], gone: frozenset[str]) -> None:
    for path in gone:
        head, dot, name = path.partition(".")
        if dot:
            data.get(head, {}).pop(name, None)
        elif head not in _NO_FIELDS:
            data.pop(head, None)
    if "unset" in data:
        data["unset"] = [path for path in data["unset"] if path not in gone]


_NO_FIELDS = frozenset({"kind", "email", "external_id"})
