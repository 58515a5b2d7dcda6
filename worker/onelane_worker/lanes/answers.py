"""The scripts' answers as values. The word orders are those of the scripts' headers."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any, cast

from onelane.keyspace import QueueName
from onelane.turns import Turn

from onelane import display, identity
from onelane_worker.lanes.model import (
    Asked,
    Gate,
    Grant,
    GrantedIntent,
    Refusal,
    Refused,
    Replayed,
    ReplayStatus,
    Settled,
    SettledStatus,
)

log = logging.getLogger(__name__)

_GRANT_HEAD = 8
_GRANT_INTENT = 7
_TURN = 6


def grant(lane: str, token: str, words: Sequence[str]) -> Grant:
    """A grant of `_common.lua`."""
    fence, now_ms, usable, open_write, commit, journal, belief, memory = words[:_GRANT_HEAD]
    return Grant(
        lane=lane,
        token=token,
        fence=int(fence),
        now_ms=int(now_ms),
        facts_usable=usable == "1",
        open_write=open_write or None,
        commit_until_ms=int(commit) if commit else None,
        journal=journal or None,
        belief=belief or None,
        memory=memory or None,
        intents=tuple(_granted_intent(*group) for group in _groups(words[_GRANT_HEAD:], _GRANT_INTENT)),
    )


def _granted_intent(
    id_: str, payload: str, accepted: str, attempts: str, kills: str, first: str, whole: str
) -> GrantedIntent:
    return GrantedIntent(
        id=id_,
        payload=payload,
        accepted_at_ms=int(accepted),
        attempts=int(attempts),
        kills=int(kills),
        first_accepted_ms=int(first) if first else None,
        whole=whole == "1",
    )


def refused(lane: str, words: Sequence[str]) -> Refused:
    """A claim that was not granted."""
    reason, at_ms, *gate = words
    kept = Gate(id=gate[1], lane=lane, change=gate[0]) if gate else None
    return Refused(cast(Refusal, reason), int(at_ms) or None, kept)


def asked(words: Sequence[str]) -> Asked:
    """The answer of gate_ask."""
    match words:
        case ["open", usable, belief, memory]:
            return Asked("open", None, usable == "1", belief or None, memory or None)
        case ["busy", at_ms]:
            return Asked("busy", int(float(at_ms)) or None)
    return Asked("missing")


def left(lane: str, words: Sequence[str]) -> Turn | None:
    """The turn to publish after a gate has gone, if one is."""
    return _turn(lane, *words[1:]) if words[0] == "publish" else None


def settled(held: Grant, words: Sequence[str]) -> Settled:
    """The answer of settle and bury to the holder of `held`."""
    status = cast(SettledStatus, words[0])
    if status == "more":
        return Settled(status, grant=grant(held.lane, held.token, words[1:]))
    if status == "publish":
        turn = _turn(held.lane, *words[1:])
        return Settled(status, turn=turn) if turn else Settled("left")
    return Settled(status)


def replayed(lane: str, words: Sequence[str]) -> Replayed:
    """The answer of replay."""
    status = cast(ReplayStatus, words[0])
    return Replayed(status, _turn(lane, *words[1:]) if len(words) > 1 else None)


def turns(words: Sequence[str]) -> list[Turn]:
    """The answer of due."""
    found = (_turn(*group) for group in _groups(words, _TURN))
    return [turn for turn in found if turn]


def _turn(lane: str, seq: str, queue: str, head: str, attempts: str, payload: str) -> Turn | None:
    try:
        intent = json.loads(payload)
        kind, who = str(intent["kind"]), display.mask(_address(intent["email"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        # Cannot happen to what the SDK stored. The other lanes must not suffer from it.
        log.error("lane %s: the payload of intent %s is unreadable; no turn is published", lane, head)
        return None
    return Turn(
        lane=lane,
        head=head,
        kind=kind,
        who=who,
        queue=cast(QueueName, queue),
        seq=int(seq),
        retries=int(attempts),
    )


def _address(email: str) -> str:
    """As the SDK normalises it; an older SDK accepted some that today's refuses."""
    try:
        return identity.normalise_email(email)
    except identity.InvalidAddress:
        return email.strip()


def _groups(words: Sequence[str], size: int) -> Iterator[Sequence[Any]]:
    return (words[start : start + size] for start in range(0, len(words), size))
