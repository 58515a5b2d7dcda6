"""Gives up dead letters that are older than ONELANE_DEAD_LETTER_TTL_S, a few at a time.

Every engine looks. Giving a letter up is idempotent by its burial number, so one that was replayed and buried
again meanwhile stays.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from redis.exceptions import RedisError

from onelane.keys import Keys
from onelane.workspace import as_text, checked
from onelane_worker.engine.workspace_check import Ask
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lanes.types import LaneError
from onelane_worker.redis_errors import said

log = structlog.get_logger(__name__)
LOOK_S: Final = 60.0
MOST: Final = 100
"""Letters of one look."""


async def watch(store: LaneStore, ask: Ask, keys: Keys, ttl_s: float) -> None:
    """Look, for ever."""
    while True:
        try:
            if gone := await give_up_old(store, ask, keys, ttl_s):
                log.info("dead letters given up for their age", count=gone, older_than_s=ttl_s)
        except (RedisError, LaneError) as error:
            log.warning("old dead letters were not given up", problem=said(error))
        await asyncio.sleep(LOOK_S)


async def give_up_old(store: LaneStore, ask: Ask, keys: Keys, ttl_s: float) -> int:
    """Look once; returns how many were given up. Their receipts go on telling why they were rejected."""
    [(seconds, _)] = checked(await ask((("TIME",),)))
    before_ms = round((int(seconds) - ttl_s) * 1000)
    old = ("ZRANGEBYSCORE", keys.key("dead"), "-inf", before_ms, "LIMIT", 0, MOST)
    ids = [as_text(one) for one in checked(await ask((old,)))[0]]
    if not ids:
        return 0
    records = await ask([("HMGET", keys.key("intent", one), "burials", "outcome") for one in ids])
    gone = 0
    for id_, (burials, outcome) in zip(ids, checked(records), strict=True):
        if burials is not None:
            gone += await store.discard(id_, int(burials), as_text(outcome or "{}"))
    return gone
