"""The lane scripts, loaded by SHA."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from redis import Redis

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
