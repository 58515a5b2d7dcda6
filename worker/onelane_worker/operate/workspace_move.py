"""Moving a queue to another workspace of Intercom, on purpose: what is true in the former one is forgotten.

Kept: waiting intents and dead letters, which will be written to the new workspace; receipts and timelines;
the dedupe keys of waiting intents; and what people last said of all mail, because that is theirs.

Forgotten: the registry, contact ids, journals and open writes, checks that lanes owe, versions that were
applied, consent to single subscription types (another workspace has others), and the dedupe keys of ended
intents: those were not applied there.

Nobody may be at work meanwhile: see `obstacles`. The move is marked in `meta` until it has ended, and no
worker starts on a queue with that mark; a move that was cut off is run again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from onelane.workspace import META, as_text
from onelane_worker.engine.codec import Unreadable, memory_of, to_store
from onelane_worker.operate.engines import Engine, alive
from onelane_worker.operate.open_workspace import CHUNK, OpenWorkspace, scored, text_of
from onelane_worker.planner.operations import Workspace
from onelane_worker.planner.registry import ALL_MAIL, ConsentMemory

_FORGOTTEN: Final = frozenset({"registry", "ext", "wait", "contact"})
_OF_A_HOLDER: Final = (
    "token", "until", "batch", "seen", "usable", "dirty", "open", "openby", "commit", "journal", "yields",
    "waits", "exts", "about", "check", "check_id", "check_at",
)  # fmt: skip
"""Fields of a lane that speak of its holder and of what was written; its fence stays."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a move takes along."""

    intents: int
    dead_letters: int


async def kept(opened: OpenWorkspace) -> Kept:
    """How much waits to be written. Raises redis-py's errors."""
    pending, dead = await opened.read(
        ("HGET", opened.keys.key("counters"), "pending"), ("ZCARD", opened.keys.key("dead"))
    )
    return Kept(int(pending or 0), int(dead))


async def obstacles(opened: OpenWorkspace) -> tuple[list[Engine], int]:
    """Workers that are alive, and lanes that somebody holds or that a write may still take effect in."""
    now_ms, held = await opened.now_ms(), 0
    async for lanes in _due(opened):
        found = await opened.read(
            *(("HMGET", opened.keys.key("lane", lane), "until", "commit") for lane in lanes)
        )
        held += sum(any(int(ms or 0) > now_ms for ms in times) for times in found)
    return await alive(opened), held


async def begin(opened: OpenWorkspace, to: Workspace) -> None:
    """Mark the move to the workspace `to`: from now on no worker starts, and one that is alive ends.

    Look for `obstacles` after it, and `finish` only without any. Raises redis-py's errors.
    """
    fields = ("intercom_id", to.id, "intercom_name", to.name, "moving", "1")
    await opened.read(("HSET", opened.keys.key(META), *fields))


async def finish(opened: OpenWorkspace, on_step: Callable[[int], None] = lambda count: None) -> None:
    """Forget, and take the mark away. `on_step` is told how many keys have been looked at.

    Whoever holds a lane by now has lost it. Run again, it does the same. Raises redis-py's errors.
    """
    await opened.read(("DEL", opened.keys.key("bucket")))
    async for keys in _all_keys(opened):
        await _forget(opened, keys)
        on_step(len(keys))
    await opened.read(("HDEL", opened.keys.key(META), "moving"))


async def _due(opened: OpenWorkspace) -> AsyncIterator[list[str]]:
    cursor: Any = 0
    while True:
        [(cursor, found)] = await opened.read(("ZSCAN", opened.keys.key("due"), cursor, "COUNT", CHUNK))
        yield [lane for lane, _ in scored(found)]
        if int(cursor) == 0:
            return


async def _all_keys(opened: OpenWorkspace) -> AsyncIterator[list[str]]:
    cursor: Any = 0
    while True:
        scan = ("SCAN", cursor, "MATCH", f"{opened.keys.prefix}*", "COUNT", CHUNK)
        [(cursor, found)] = await opened.read(scan)
        yield [as_text(key) for key in found]
        if int(cursor) == 0:
            return


async def _forget(opened: OpenWorkspace, keys: Sequence[str]) -> None:
    by_word: dict[str, list[str]] = {}
    for key in keys:
        by_word.setdefault(key.removeprefix(opened.keys.prefix).partition(":")[0], []).append(key)
    gone = [key for word in _FORGOTTEN for key in by_word.get(word, ())]
    gone += await _of_ended(opened, by_word.get("dedupe", ()))
    if gone:
        await opened.read(("UNLINK", *gone))
    await _release(opened, by_word.get("lane", ()))
    await _keep_consent(opened, by_word.get("consent", ()))


async def _of_ended(opened: OpenWorkspace, keys: Sequence[str]) -> list[str]:
    """Dedupe keys whose intent has ended: only those have a time to live."""
    lives_ms = await opened.read(*(("PTTL", key) for key in keys))
    return [key for key, life_ms in zip(keys, lives_ms, strict=True) if int(life_ms) >= 0]


async def _release(opened: OpenWorkspace, keys: Sequence[str]) -> None:
    """Nobody holds these lanes or waits for an external id, and the empty ones owe nothing. The timer looks
    at all that are due, and lets the empty ones sleep: a producer may have put something into one by then,
    and have left it to its time."""
    lanes = [key.rpartition(":")[2] for key in keys]
    await opened.read(*(("HDEL", key, *_OF_A_HOLDER) for key in keys))
    await opened.read(*(("ZADD", opened.keys.key("due"), "XX", 0, lane) for lane in lanes))


async def _keep_consent(opened: OpenWorkspace, keys: Sequence[str]) -> None:
    """Of a consent memory, only what the person last said of all mail."""
    stored = await opened.read(*(("GET", key) for key in keys))
    for key, text in zip(keys, stored, strict=True):
        said = _said_of_mail(text_of(text))
        await opened.read(("UNLINK", key) if said is None else ("SET", key, said, "KEEPTTL"))


def _said_of_mail(stored: str | None) -> str | None:
    try:
        said = memory_of(stored).consent.get(ALL_MAIL)
    except Unreadable:  # of a newer form: a consent that cannot be read is kept for who can read it
        return stored
    return None if said is None else to_store(ConsentMemory(consent={ALL_MAIL: said}))
