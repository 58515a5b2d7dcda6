"""Is there data of version 0.2 in this Redis? Its keys have another form, and nothing here reads them.

A worker that started beside them would serve no intent that waits there, and would know nothing of contacts
that were just written: it refuses to start.
"""

from __future__ import annotations

from typing import Final

from redis import Redis

from onelane.keys import WORKSPACES

_PARTITIONS: Final = "0123456789abcdef"
_WORKSPACE: Final = "onelane:workspace"
_DELETE: Final = f"redis-cli --scan --pattern 'onelane:*' | grep -v '^{WORKSPACES}$' | xargs redis-cli unlink"


def complaint(client: Redis) -> str | None:
    """What is there, and what to do about it; None if there is nothing. Raises redis-py's errors."""
    with client.pipeline(transaction=False) as pipe:
        pipe.exists(_WORKSPACE, *(_key(one, "counters") for one in _PARTITIONS))
        for one in _PARTITIONS:
            pipe.hget(_key(one, "counters"), "pending")
            pipe.zcard(_key(one, "dead"))
        exists, *counts = pipe.execute()
    if not exists:
        return None
    waiting, dead = sum(int(one or 0) for one in counts[::2]), sum(map(int, counts[1::2]))
    return (
        f"this Redis holds data of Onelane 0.2 ({waiting} waiting intents, {dead} dead letters), which this "
        "version does not read. Let workers of version 0.2 serve what waits and replay or discard its dead "
        "letters; stop them, and wait for ONELANE_SETTLE_WINDOW_S (ten minutes), so that nothing is left "
        f"that only they know. Then delete the old keys: {_DELETE}"
    )


def _key(partition: str, word: str) -> str:
    return f"onelane:{{{partition}}}:{word}"
