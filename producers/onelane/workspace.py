"""A workspace's identity: its name, its secret, and the digests that stand for people in keys.

Redis keys, messages and logs name a lane, an external id or a contact by a digest keyed with a secret of the
workspace (HMAC-SHA256). Without the secret nobody can find out by hashing addresses whose lane a digest is.
Who opens a workspace first makes its secret; it lies in the hash `meta`.

No I/O here: `open_calls` says what to ask Redis, `opened` reads the answers.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from onelane.errors import OnelaneError
from onelane.keys import WORKSPACES, Keys

FORMAT: Final = 2
"""Version of the form of all keys together."""
META: Final = "meta"
_HEX_DIGITS: Final = 32
_FINGERPRINT_DIGITS: Final = 8

Command = tuple[str | int, ...]
"""A Redis command and its arguments."""


@dataclass(frozen=True)
class Workspace:
    """An open workspace. Each digest has 32 hex digits."""

    name: str
    secret: str = field(repr=False)
    """The text in `meta`; never empty."""

    @cached_property
    def keys(self) -> Keys:
        """The keys of this workspace."""
        return Keys(self.name)

    @property
    def fingerprint(self) -> str:
        """What scripts compare, `string.sub(secret, 1, 8)`: 96 bits of the secret stay untold."""
        return self.secret[:_FINGERPRINT_DIGITS]

    def lane(self, address: str) -> str:
        """The lane of a normalised address."""
        return self._digest("lane", address)

    def external_id(self, external_id: str) -> str:
        """The digest of an external id."""
        return self._digest("external_id", external_id)

    def contact(self, contact_id: str) -> str:
        """The digest of a contact id of Intercom."""
        return self._digest("contact", contact_id)

    def dedupe(self, lane: str, kind: str, key: str) -> str:
        """The digest of a dedupe key, whose scope is the lane and the kind."""
        return self._digest("dedupe", f"{lane}\n{kind}\n{key}")

    def content(self, text: str) -> str:
        """The digest of an intent's content: two intents with one dedupe key must agree on it."""
        return self._digest("content", text)

    def _digest(self, what: str, text: str) -> str:
        message = f"{what}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.digest(self.secret.encode(), message, "sha256").hex()[:_HEX_DIGITS]


def open_calls(keys: Keys) -> tuple[Command, ...]:
    """The commands that open a workspace, in one round trip; they make its secret if there is none.

    They need no transaction: each may be repeated, and the secret is written last, so whoever reads it finds
    the rest. A Redis that refuses writes still opens a workspace that exists.
    """
    meta = keys.key(META)
    return (
        ("SADD", WORKSPACES, keys.workspace),
        ("HSETNX", meta, "format", FORMAT),
        ("HSETNX", meta, "created", int(time.time() * 1000)),
        ("HSETNX", meta, "secret", secrets.token_hex(_HEX_DIGITS // 2)),
        ("HGETALL", meta),
    )


def opened(name: str, replies: Sequence[Any]) -> Workspace:
    """The workspace that the replies to `open_calls` describe; an error reply stands among them as exception.

    Raises the first error reply if there is no secret, and `OnelaneError` for a format that is unknown here.
    """
    meta = replies[-1]
    if isinstance(meta, Mapping):
        said = {as_text(word): as_text(value) for word, value in meta.items()}
        if said.get("secret"):
            _check_format(name, said.get("format"))
            return Workspace(name, said["secret"])
    checked(replies)
    raise OnelaneError(f"the workspace {name!r} was deleted while it was opened: try again")


def _check_format(name: str, found: str | None) -> None:
    if found != str(FORMAT):
        raise OnelaneError(
            f"the workspace {name!r} is kept in format {found}; this version of onelane reads format {FORMAT}"
        )


def checked(replies: Sequence[Any]) -> list[Any]:
    """The replies, none of them an error. Raises the first error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return list(replies)


def as_text(part: bytes | str | int) -> str:
    """A reply of Redis as text, whether the client decodes replies or not."""
    return part.decode() if isinstance(part, bytes) else str(part)
