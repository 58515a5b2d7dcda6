"""The scripts' answers as values. The orders of words are those of the scripts' headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from onelane_worker.lanes.types import (
    BreakerState,
    BreakerView,
    Checkpointed,
    CheckpointWord,
    Claimed,
    ClaimWord,
    Fenced,
    Grant,
    GrantedIntent,
    LaneError,
    Lock,
    NoWorkspace,
    Rekeyed,
    Replayed,
    ReplayWord,
    Settled,
    StillOpen,
    Target,
    Ticked,
    WithdrawWord,
)

_INTENT_WORDS: Final = 9
_REFUSALS: Final[Mapping[str, type[LaneError]]] = {"no_workspace": NoWorkspace, "rekeyed": Rekeyed}


def checked(words: Any) -> Any:
    """The answer itself. Raises `NoWorkspace` and `Rekeyed`."""
    refusal = _REFUSALS.get(words[0])
    if refusal is not None:
        raise refusal(words[0])
    return words


def owned(words: Any) -> Any:
    """The answer of a step. Raises `Fenced` and `StillOpen`."""
    match words:
        case ["fenced" | "stale" as word, *_]:
            raise Fenced(word)
        case ["open", commit_until_ms, *_]:
            raise StillOpen(int(commit_until_ms) or None)
    return words


def claimed(words: Sequence[Any]) -> Claimed:
    word, now_ms, calls, wait_ms, epoch_ms, breaker, bulk, more, grants = words
    return Claimed(
        word=cast(ClaimWord, word),
        grants=tuple(map(grant, grants)),
        more=bool(int(more)),
        calls=int(calls),
        wait_ms=int(wait_ms),
        epoch_ms=int(epoch_ms) or None,
        breaker=cast(BreakerState, breaker),
        bulk=cast(BreakerState, bulk),
        now_ms=int(now_ms),
    )


def grant(words: Sequence[Any]) -> Grant:
    (
        lane, token, fence, now_ms, usable, open_write, commit, journal, registry, consent, error,
        intents, locks, outdated, moved, target,
    ) = words  # fmt: skip
    return Grant(
        lane=lane,
        token=token,
        fence=int(fence),
        now_ms=int(now_ms),
        intents=tuple(_intent(*group) for group in _groups(intents, _INTENT_WORDS)),
        usable=usable == "1",
        error=error or None,
        registry=registry or None,
        consent=consent or None,
        journal=journal or None,
        open_write=open_write or None,
        commit_until_ms=int(commit) if commit else None,
        locks=tuple(_lock(*lock) for lock in locks),
        outdated=_moments(outdated),
        moved=_moments(moved),
        target=_target(*target) if target else None,
    )


def _intent(
    id_: str,
    payload: str,
    at: str,
    attempts: str,
    kills: str,
    again: str,
    whole: str,
    burials: str,
    bulk: str,
) -> GrantedIntent:
    return GrantedIntent(
        id=id_,
        payload=payload,
        accepted_ms=int(at),
        attempts=int(attempts),
        kills=int(kills),
        again_ms=int(again) if again else None,
        whole=whole == "1",
        burials=int(burials),
        bulk=bulk == "1",
    )


def _lock(digest: str, pointer: str, versions: Sequence[str]) -> Lock:
    return Lock(digest, pointer or None, dict(_pairs(versions)))


def _target(
    lane: str, registry: str, consent: str, usable: str, outdated: Sequence[str], moved: Sequence[str]
) -> Target:
    return Target(lane, registry or None, consent or None, usable == "1", _moments(outdated), _moments(moved))


def ticked(words: Sequence[Any]) -> Ticked:
    _, ready, breaker, bulk, probe, more, lost = words
    return Ticked(
        lost=frozenset((lane, int(fence)) for lane, fence in _pairs(lost)),
        ready=bool(int(ready)),
        breaker=cast(BreakerState, breaker),
        bulk=cast(BreakerState, bulk),
        probe=bool(int(probe)),
        more=bool(int(more)),
    )


def checkpointed(words: Sequence[Any]) -> Checkpointed:
    match words:
        case [word, now_ms, commit, _]:
            return Checkpointed(cast(CheckpointWord, word), int(now_ms), int(commit) or None)
    return Checkpointed(cast(CheckpointWord, words[0]), 0)


def settled(words: Sequence[Any]) -> Settled:
    word, calls, ready, *granted = words
    return Settled(word, grant(granted[0]) if granted else None, int(calls), bool(int(ready)))


def replayed(words: Sequence[Any]) -> Replayed:
    word, *wake = words
    return Replayed(cast(ReplayWord, word), bool(wake and int(wake[0])))


def withdrawn(word: str) -> WithdrawWord:
    return cast(WithdrawWord, word)


def breaker(words: Sequence[Any]) -> BreakerView:
    state, since_ms, next_ms, problem, sort, changed = words
    view = cast(BreakerState, state)
    return BreakerView(view, int(since_ms), int(next_ms), problem, sort, bool(int(changed)))


def breaker_view(values: Sequence[str | None]) -> BreakerView:
    """From the fields state, since, next, problem, sort, streak of the record."""
    state, since_ms, next_ms, problem, sort, streak = values
    said = cast(BreakerState, state or ("streak" if streak else "closed"))
    return BreakerView(said, int(since_ms or 0), int(next_ms or 0), problem or "", sort or "reads")


def _groups(words: Sequence[str], length: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(words), length):
        yield words[start : start + length]


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(words[::2], words[1::2], strict=True)


def _moments(words: Sequence[str]) -> dict[str, int]:
    return {name: int(at_ms) for name, at_ms in _pairs(words)}
