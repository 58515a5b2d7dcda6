"""The lane scripts, loaded by SHA."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from onelane.keyspace import BULK, INTERACTIVE
from redis import Redis

from onelane import keyspace

NAMES: Final = (
    "claim",
    "renew",
    "checkpoint",
    "settle",
    "postpone",
    "give_back",
    "bury",
    "replay",
    "discard",
    "scrub",
    "tell",
    "due",
    "gate_ask",
    "gate_note",
    "gate_leave",
    "leaf_take",
    "leaf_note",
    "leaf_give",
    "leaf_forget",
    "contact_note",
    "breaker_ask",
    "breaker_tell",
    "bulk_tell",
    "epoch",
)


@cache
def source(name: str) -> str:
    """The text of a script as Redis gets it: the common part first."""
    folder = files("onelane_worker.lanes") / "scripts"
    return "".join((folder / f"{part}.lua").read_text("utf-8") for part in ("_common", name))


class Scripts:
    """Runs the lane scripts on one Redis. Every answer is a list of words."""

    def __init__(self, redis: Redis) -> None:
        self._scripts = {name: redis.register_script(source(name)) for name in NAMES}

    def run(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> list[str]:
        """One script, one round trip. Raises redis-py's errors."""
        answer = self._scripts[name](keys=keys, args=args)
        return [as_text(word) for word in answer]


def as_text(word: str | bytes | None) -> str:
    """A word of an answer, whatever the client decodes; nothing is the empty word."""
    if word is None:
        return ""
    return word.decode() if isinstance(word, bytes) else word


def lane_keys(lane: str, op: str) -> list[str]:
    """KEYS of a script that serves one lane, as _common.lua names them."""
    partition = keyspace.partition_of(lane)
    return [
        keyspace.lane(lane),
        keyspace.queue(lane),
        *_shared_keys(partition),
        keyspace.intent_prefix(partition),
        keyspace.answer(lane, op),
        keyspace.belief(lane),
        keyspace.memory(lane),
        keyspace.dedupe_prefix(partition),
        keyspace.dead(partition),
        keyspace.changes(lane),
        keyspace.ended(lane),
        keyspace.history(lane),
    ]


def partition_keys(partition: str) -> list[str]:
    """KEYS of the script that hands out due lanes."""
    prefixes = [keyspace.lane_prefix(partition), keyspace.queue_prefix(partition)]
    return [*prefixes, *_shared_keys(partition), keyspace.intent_prefix(partition)]


def _shared_keys(partition: str) -> list[str]:
    sent = [keyspace.sent(partition, queue) for queue in (INTERACTIVE, BULK)]
    return [keyspace.due(partition), *sent, keyspace.counters(partition)]
