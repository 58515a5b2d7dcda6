"""The lanes of one workspace: one method a script, one round trip a call. See PROTOCOL in docs/.

Every call may be sent again: it is idempotent by an id that the caller made (claim number, step, burial
number, intent id). Methods raise `NoWorkspace`, `Rekeyed` and, under a lease, `Fenced`; redis-py's errors go
through.
"""
# CONTRACT (issue 8): signatures are fixed, bodies are the lanes helper's.

from __future__ import annotations

from collections.abc import Callable, Sequence

from onelane_worker.lanes.types import (
    KEEP,
    BreakerView,
    BreakerWord,
    Check,
    Checkpointed,
    Claimed,
    ContactWrite,
    Ended,
    ExtNote,
    Keep,
    Lease,
    Left,
    More,
    Part,
    Postponed,
    PostponedState,
    RegistryPart,
    Replayed,
    Reserved,
    Settled,
    Step,
    StoredEntry,
    TargetEnd,
    Ticked,
    WithdrawWord,
)


class LaneStore:
    """Made by bootstrap with a LaneClient (lanes/client.py), the workspace's identity and LaneSettings."""

    # ── granting ──
    async def claim(
        self, engine: str, number: int, most: int, *, suspects: tuple[int, int], wakes: int, in_hand: int, epoch_ms: int | None
    ) -> Claimed:
        """Up to `most` lanes (<= 16). `suspects`: how many more may come, how many the engine has. `wakes`: wake-up
        messages taken since the last claim. `in_hand`: calls reserved and not used."""
        raise NotImplementedError

    async def tick(self, engine: str, name: str, leases: Sequence[Lease]) -> Ticked: raise NotImplementedError
    async def reserve(self, calls: int, throttled_ms: int = 0) -> Reserved: raise NotImplementedError

    # ── under the lease ──
    async def checkpoint(
        self, step: Step, *, open_write: str, journal: Part = KEEP, registry: RegistryPart = KEEP,
        contact: ContactWrite | None = None, external_id: str | None = None,
    ) -> Checkpointed:
        """Record a write before it is sent. `external_id`: digest of a further one to lock."""
        raise NotImplementedError

    async def clear(self, step: Step, journal: Part) -> Checkpointed:
        """The open write was answered, or provably not sent; `journal`: what stood before it."""
        raise NotImplementedError

    async def settle(
        self, step: Step, ended: Sequence[Ended], *, registry: RegistryPart, consent: Part = KEEP,
        ext: Sequence[ExtNote] = (), left: Sequence[Left] = (), timeline: Sequence[str] = (),
        check: Check | Keep | None = KEEP, target: TargetEnd | None = None, more: More | None = None,
    ) -> Settled:
        """End the intents, head first, and go on with `more`, or release."""
        raise NotImplementedError

    async def bury(
        self, step: Step, intent_id: str, error: str, outcome: str, *, answered: int | None = None, registry: RegistryPart = KEEP,
        consent: Part = KEEP, timeline: Sequence[str] = (), target_pointer: StoredEntry | None = None,
        more: More | None = None,
    ) -> Settled:
        """`answered`: number of the step whose open write was answered. Raises `StillOpen`."""
        raise NotImplementedError

    async def postpone(
        self, step: Step, delay_ms: int, state: PostponedState, *, unknown: bool, counted: bool | None, error: Part = KEEP,
        journal: Part = KEEP, registry: RegistryPart = KEEP, consent: Part = KEEP, yields: bool = False,
        external_id: str | None = None, timeline: Sequence[str] = (),
    ) -> Postponed:
        """Release and look again. `counted` None: no attempt counts, nor earlier ones."""
        raise NotImplementedError

    async def scrub(self, steps: Callable[[], Step], outcome: str, ext: Sequence[str], contacts: Sequence[str]) -> None:
        """Forget the person, in chunks; `steps` makes the next step of this lease. Repeating it finds nothing."""
        raise NotImplementedError

    async def lanes_knowing(self, contact: str) -> tuple[str, ...]: raise NotImplementedError
    async def registry_of(self, lane: str) -> str | None: raise NotImplementedError
    async def revise(self, lane: str, old: str, new: str | None) -> bool: raise NotImplementedError

    # ── producers and operators ──
    async def withdraw(self, intent_id: str, outcome: str) -> WithdrawWord: raise NotImplementedError
    async def replay(self, intent_id: str, burials: int, *, whole: bool, timeline: str | None = None) -> Replayed: raise NotImplementedError
    async def discard(self, intent_id: str, burials: int, outcome: str, *, timeline: str | None = None) -> bool: raise NotImplementedError

    # ── breaker ──
    async def breaker(
        self, word: BreakerWord, *, lane: str = "", sort: str = "reads", problem: str = "", probe: bool = False,
        bulk: bool = False, now: bool = False,
    ) -> BreakerView:
        """`bulk`: the breaker of bulk intents (words rejected, written, resume). `now` (with resume): end the hold, too."""
        raise NotImplementedError

    async def breaker_view(self, bulk: bool = False) -> BreakerView: raise NotImplementedError
