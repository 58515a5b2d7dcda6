"""The lanes of one workspace: one method a script, one round trip a call. The scripts' headers say the rules.

Every call may be sent again: it is idempotent by an id that the caller made (claim number, step, burial
number, intent id). Methods raise `NoWorkspace`, `Rekeyed` and, under a lease, `Fenced`; the client's errors
go through.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final, Protocol, TypeVar

from onelane import scripts
from onelane.workspace import Workspace
from onelane_worker.lanes import answers
from onelane_worker.lanes.types import (
    KEEP,
    BreakerView,
    BreakerWord,
    Check,
    Checkpointed,
    Claimed,
    Ended,
    ExtNote,
    Keep,
    LaneSettings,
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

T = TypeVar("T")
Word = str | int
WORKER_SCRIPTS: Final = (
    "claim", "tick", "reserve", "checkpoint", "settle", "postpone", "bury", "scrub", "revise", "replay",
    "discard", "breaker",
)  # fmt: skip
SDK_SCRIPTS: Final = ("submit", "withdraw")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script as Redis gets it."""

    name: str
    text: str
    sha: str
    """By which Redis knows it."""


class Client(Protocol):
    """What the lanes need of Redis."""

    async def run(self, script: Script, key: str, args: Sequence[Word]) -> Any:
        """What the script answers, called with one key."""

    async def read(self, *command: Word) -> Any:
        """What a command answers that changes nothing."""


def script(name: str, settings: LaneSettings, clock: str | None = None) -> Script:
    """One of `WORKER_SCRIPTS` or `SDK_SCRIPTS`. `clock` replaces the text of _clock.lua."""
    if name in SDK_SCRIPTS:
        text = scripts.script(name, clock)
    else:
        text = scripts.script(name, clock, "onelane_worker.lanes", _as_lua(settings))
    return Script(name, text, scripts.sha1(text))


def finish(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call whose client does not wait, such as a blocking one."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    call.close()
    raise RuntimeError("the client of these lanes waits: await the call in an event loop")


class LaneStore:
    """The lanes of a workspace, as a client reaches them."""

    def __init__(
        self, client: Client, workspace: Workspace, settings: LaneSettings, clock: str | None = None
    ) -> None:
        self.settings = settings
        self._client = client
        self._keys = workspace.keys
        self._fingerprint = workspace.fingerprint
        self._scripts = {name: script(name, settings, clock) for name in (*WORKER_SCRIPTS, *SDK_SCRIPTS)}

    async def _run(self, name: str, *args: Word) -> Any:
        words = await self._client.run(self._scripts[name], self._keys.prefix, (self._fingerprint, *args))
        return answers.checked(words)

    async def _step(self, name: str, step: Step, *args: Word) -> Any:
        words = await self._run(name, step.lane, step.token, step.fence, step.number, *args)
        return answers.owned(words)

    # ── granting ──────────────────────────────────────────────────────────────────────────────────────────

    async def claim(
        self, engine: str, number: int, most: int, *, suspects: tuple[int, int], wakes: int, in_hand: int
    ) -> Claimed:
        """Up to `most` lanes (<= 16). `suspects`: how many more may come, how many the engine has. `wakes`:
        wake-up messages taken since the last claim. `in_hand`: calls reserved and not used."""
        return answers.claimed(await self._run("claim", engine, number, most, *suspects, wakes, in_hand))

    async def tick(self, engine: str, name: str, leases: Sequence[Lease]) -> Ticked:
        """Renew the leases, and move the lanes that are due. `name`: the worker's, for operators."""
        held = [word for lease in leases for word in (lease.lane, lease.token, lease.fence)]
        return answers.ticked(await self._run("tick", engine, name, *held))

    async def reserve(self, calls: int, throttled_ms: int = 0) -> Reserved:
        """Calls from the rate budget. `throttled_ms`: Intercom answered 429 and said to wait so long."""
        _, given, wait_ms = await self._run("reserve", calls, throttled_ms)
        return Reserved(int(given), int(wait_ms))

    # ── under the lease ───────────────────────────────────────────────────────────────────────────────────

    async def checkpoint(
        self,
        step: Step,
        *,
        open_write: str,
        journal: Part = KEEP,
        registry: RegistryPart = KEEP,
        contacts: Sequence[str] = (),
        external_id: str | None = None,
    ) -> Checkpointed:
        """Record a write before it is sent. `contacts`: digests of those that it changes and that live at
        another address. `external_id`: digest of a further one to lock."""
        args = (open_write, _part(journal), *_entry(registry), " ".join(contacts), external_id or "")
        return answers.checkpointed(await self._step("checkpoint", step, *args))

    async def clear(self, step: Step, journal: Part) -> Checkpointed:
        """The open write was answered, or provably not sent; `journal`: what stood before it."""
        args = ("clear", _part(journal), *_entry(KEEP), "", "")
        return answers.checkpointed(await self._step("checkpoint", step, *args))

    async def settle(
        self,
        step: Step,
        ended: Sequence[Ended],
        *,
        registry: RegistryPart,
        consent: Part = KEEP,
        ext: Sequence[ExtNote] = (),
        left: Sequence[Left] = (),
        timeline: Sequence[str] = (),
        check: Check | Keep | None = KEEP,
        target: TargetEnd | None = None,
        more: More | None = None,
    ) -> Settled:
        """End the intents, head first, and go on with `more`, or release."""
        there = (*_entry(target.registry), _part(target.consent)) if target else (*_entry(KEEP), "")
        words = await self._step(
            "settle",
            step,
            _more(more),
            *_entry(registry),
            _part(consent),
            *_check(check),
            *there,
            *_counted((one.id, one.outcome, int(one.brief)) for one in ended),
            *_counted(_note(one) for one in ext),
            *_counted((one.contact, one.from_lane, one.home) for one in left),
            *_counted((event,) for event in timeline),
        )
        return answers.settled(words)

    async def bury(
        self,
        step: Step,
        intent_id: str,
        error: str,
        outcome: str,
        *,
        answered: int | None = None,
        registry: RegistryPart = KEEP,
        consent: Part = KEEP,
        timeline: Sequence[str] = (),
        target_pointer: StoredEntry | None = None,
        more: More | None = None,
    ) -> Settled:
        """The head becomes a dead letter. `answered`: number of the step whose open write was answered.

        Raises `StillOpen`."""
        words = await self._step(
            "bury",
            step,
            _more(more),
            *_entry(registry),
            _part(consent),
            intent_id,
            error,
            outcome,
            "" if answered is None else answered,
            *_entry(target_pointer or KEEP),
            *_counted((event,) for event in timeline),
        )
        return answers.settled(words)

    async def postpone(
        self,
        step: Step,
        delay_ms: int,
        state: PostponedState,
        *,
        unknown: bool,
        counted: bool | None,
        error: Part = KEEP,
        journal: Part = KEEP,
        registry: RegistryPart = KEEP,
        consent: Part = KEEP,
        yields: bool = False,
        external_id: str | None = None,
        timeline: Sequence[str] = (),
    ) -> Postponed:
        """Release and look again. `unknown`: a write's result is. `counted` None: no attempt counts, nor
        earlier ones. `external_id`: digest of a further one that the head needs."""
        _, due_ms, ready = await self._step(
            "postpone",
            step,
            delay_ms,
            state,
            int(unknown),
            "none" if counted is None else int(counted),
            _part(error),
            _part(journal),
            *_entry(registry),
            _part(consent),
            int(yields),
            external_id or "",
            *_counted((event,) for event in timeline),
        )
        return Postponed(int(due_ms), bool(int(ready)))

    async def scrub(
        self, steps: Callable[[], Step], outcome: str, ext: Sequence[str], contacts: Sequence[str]
    ) -> None:
        """Forget the person, in chunks; `steps` makes the next step of this lease. Repeating it finds
        nothing."""
        digests = (*_counted((one,) for one in ext), *_counted((one,) for one in contacts))
        left = True
        while left:
            _, more, _ = await self._step("scrub", steps(), outcome, *digests)
            left = more == "1"

    async def lanes_knowing(self, contact: str) -> tuple[str, ...]:
        """The lanes that know this contact, which lives at another address."""
        names = await self._client.read("HKEYS", self._keys.key("contact", contact))
        return tuple(name.removeprefix("at:") for name in names if name.startswith("at:"))

    async def registry_of(self, lane: str) -> str | None:
        """The registry entry of a lane, as JSON."""
        text: str | None = await self._client.read("GET", self._keys.key("registry", lane))
        return text

    async def revise(self, lane: str, old: str, new: str | None) -> bool:
        """Store a registry entry without a lease, if the old one still stands."""
        [word] = await self._run("revise", lane, old, new or "")
        return bool(word == "ok")

    # ── producers and operators ───────────────────────────────────────────────────────────────────────────

    async def withdraw(self, intent_id: str, outcome: str) -> WithdrawWord:
        """Take back an intent that no worker has held."""
        lives = (self.settings.status_ttl_ms, self.settings.dedupe_ttl_ms)
        [word] = await self._run("withdraw", intent_id, outcome, *lives)
        return answers.withdrawn(word)

    async def replay(
        self, intent_id: str, burials: int, *, whole: bool, timeline: str | None = None
    ) -> Replayed:
        """A dead letter goes to the tail of its lane. `burials`: the number of its burial, as it was seen."""
        return answers.replayed(await self._run("replay", intent_id, burials, int(whole), timeline or ""))

    async def discard(
        self, intent_id: str, burials: int, outcome: str, *, timeline: str | None = None
    ) -> bool:
        """Give a dead letter up; False if it is none (any more)."""
        [word] = await self._run("discard", intent_id, burials, outcome, timeline or "")
        return bool(word == "ok")

    # ── breaker ───────────────────────────────────────────────────────────────────────────────────────────

    async def breaker(
        self,
        word: BreakerWord,
        *,
        lane: str = "",
        sort: str = "reads",
        problem: str = "",
        probe: bool = False,
        bulk: bool = False,
        now: bool = False,
    ) -> BreakerView:
        """Tell a breaker. `bulk`: that of bulk intents (words rejected, written, resume); `lane` of
        `rejected`: a digest of what was said. `now` (with resume): end the hold, too."""
        args = (_breaker(bulk), word, lane, sort, problem, int(probe), int(now))
        return answers.breaker(await self._run("breaker", *args))

    async def breaker_view(self, bulk: bool = False) -> BreakerView:
        """How a breaker stands."""
        key = self._keys.key(_breaker(bulk))
        return answers.breaker_view(
            await self._client.read("HMGET", key, "state", "since", "next", "problem", "sort", "streak")
        )


def _breaker(bulk: bool) -> str:
    return "breaker:bulk" if bulk else "breaker"


def _part(part: Part) -> str:
    if isinstance(part, Keep):
        return "keep"
    return "clear" if part is None else part


def _entry(entry: RegistryPart) -> tuple[str, str, str]:
    if isinstance(entry, StoredEntry):
        return entry.text, " ".join(entry.about), " ".join(entry.elsewhere)
    return _part(entry), "", ""


def _check(check: Check | Keep | None) -> tuple[Word, ...]:
    if isinstance(check, Check):
        return check.payload, check.id, check.delay_ms, int(check.only_in_new_epoch)
    return _part(check), "", 0, 0


def _note(note: ExtNote) -> tuple[Word, ...]:
    versions = (word for pair in note.versions.items() for word in pair)
    return note.digest, _part(note.pointer), len(note.versions), *versions


def _more(more: More | None) -> Word:
    return "" if more is None else more.in_hand


def _counted(groups: Iterable[tuple[Word, ...]]) -> Iterator[Word]:
    """How many groups there are, and their words."""
    found = list(groups)
    yield len(found)
    for group in found:
        yield from group


@cache
def _as_lua(settings: LaneSettings) -> str:
    values: Mapping[str, int] = asdict(settings)
    table = ", ".join(f"{name} = {int(value)}" for name, value in sorted(values.items()))
    return f"local settings = {{ {table} }}\n\n"
