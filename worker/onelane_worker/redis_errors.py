"""What Redis means when it refuses, in words for the log, for `status` and for `doctor`.

Only the server's code word is read, never its text: that may quote arguments. kombu's errors are known by
their cause.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from redis import exceptions


@dataclass(frozen=True, slots=True)
class Refusal:
    """Redis answered, and the answer was no."""

    code: str
    """Its own word: OOM, READONLY …"""
    says: str
    """What is wrong."""
    todo: str
    """What to do about it."""

    def __str__(self) -> str:
        return f"Redis {self.says} ({self.code})"


_WAIT = "It ends by itself."
_REFUSALS = {
    one.code: one
    for one in (
        Refusal("OOM", "refuses writes: it is out of memory", "Raise its maxmemory, or free memory."),
        Refusal("READONLY", "refuses writes: it is a read-only replica", "Use the primary's address."),
        Refusal("UNBLOCKED", "has become a replica", "Use the primary's address."),
        Refusal(
            "NOREPLICAS",
            "refuses writes: too few replicas follow it",
            "Bring its replicas back; min-replicas-to-write says how many it wants.",
        ),
        Refusal("MISCONF", "refuses writes: it cannot save to its disk", "See its log: is the disk full?"),
        Refusal("LOADING", "is still loading its data", _WAIT),
        Refusal("BUSY", "is held up by a script that does not end", "SCRIPT KILL ends that script."),
        Refusal("MASTERDOWN", "is a replica and has lost its primary", "Use the primary's address."),
        Refusal("CLUSTERDOWN", "is a node of a Redis Cluster that is down", "Onelane needs a single server."),
        Refusal("CROSSSLOT", "is a node of a Redis Cluster", "Onelane needs a single server."),
        Refusal("TRYAGAIN", "is a cluster that moves these keys", _WAIT),
        Refusal("NOAUTH", "wants a password", "Put it into the URL."),
        Refusal("WRONGPASS", "refuses our user name or password", "Correct them in the URL."),
        Refusal("NOPERM", "does not let our user do what is needed", "Correct the user's rights (ACL)."),
        Refusal("MAXCLIENTS", "has too many connections", "Raise its maxclients, or close others."),
    )
}
_LASTING = frozenset({"CROSSSLOT", "NOAUTH", "WRONGPASS", "NOPERM"})
"""These stand until a person corrects something."""
_CODE = re.compile(rf"(?:^|[\s-])({'|'.join(_REFUSALS)})\b")
_BY_CLASS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.NoPermissionError, "NOPERM"),
)
"""redis-py cuts the code word off the text of these."""


def refusal(error: BaseException | None) -> Refusal | None:
    """What a refusal means; None if there was no answer, or one that is not known here."""
    while error is not None:
        code = _code(error)
        if code is not None:
            return _REFUSALS[code]
        error = error.__cause__
    return None


def said(error: BaseException) -> str:
    """One clause on what went wrong, without a word of the server's own."""
    known = refusal(error)
    if known is not None:
        return str(known)
    what = type(error).__name__
    return f"Redis did not answer ({what})" if isinstance(error, exceptions.RedisError) else what


def may_pass(error: BaseException) -> bool:
    """Whether it can work a moment later: there was no answer, or a refusal that is known to end."""
    known = refusal(error)
    if known is not None:
        return known.code not in _LASTING
    return isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError)


def _code(error: BaseException) -> str | None:
    for kind, code in _BY_CLASS:
        if isinstance(error, kind):
            return code
    if not isinstance(error, exceptions.RedisError):
        return None
    text = str(error)
    if isinstance(error, exceptions.AuthenticationError):
        return "NOAUTH" if text.startswith("Authentication required") else "WRONGPASS"
    if "max number of clients reached" in text:
        return "MAXCLIENTS"
    found = _CODE.search(text)
    return found[1] if found else None
