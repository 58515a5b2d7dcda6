"""Is there data of version 0.2 in this Redis? Its keys have another form, and nothing here reads them.

A worker that started beside them would serve no intent that waits there, and would know nothing of contacts
that were just written: it refuses to start. Operators' commands say so, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from onelane.keys import WORKSPACES
from onelane.workspace import Command, checked

_PARTITIONS: Final = "0123456789abcdef"
_WORKSPACE: Final = "onelane:workspace"
_DELETE: Final = f"redis-cli --scan --pattern 'onelane:*' | grep -v '^{WORKSPACES}$' | xargs redis-cli unlink"


def calls() -> tuple[Command, ...]:
    """The commands that look for it, in one round trip."""
    counters = [_key(one, "counters") for one in _PARTITIONS]
    pending = [("HGET", key, "pending") for key in counters]
    dead = [("ZCARD", _key(one, "dead")) for one in _PARTITIONS]
    return (("EXISTS", _WORKSPACE, *counters), *pending, *dead)


def complaint(replies: Sequence[Any]) -> str | None:
    """What is there, and what to do about it; None if there is nothing. Raises an error reply."""
    exists, *counts = checked(replies)
    if not exists:
        return None
    count = len(_PARTITIONS)
    waiting, dead = (sum(int(one or 0) for one in some) for some in (counts[:count], counts[count:]))
    return (
        f"this Redis holds data of Onelane 0.2 ({waiting} waiting intents, {dead} dead letters), which this "
        "version does not read. Let workers of version 0.2 serve what waits and replay or discard its dead "
        "letters; stop them, and wait for ONELANE_SETTLE_WINDOW_S (ten minutes), so that nothing is left "
        f"that only they know. Then delete the old keys: {_DELETE}"
    )


def _key(partition: str, word: str) -> str:
    return f"onelane:{{{partition}}}:{word}"
