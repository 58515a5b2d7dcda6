"""The lanes of one workspace: one method a script, one round trip a call. The scripts' headers say the rules.

Every call may be sent again: it is idempotent by an id that the caller made (claim number, step, burial
number, intent id). Methods raise `NoWorkspace` and, under a lease, `Fenced`; the client's errors
go through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from onelane import scripts
from onelane.workspace import Workspace
from onelane_worker.lanes import types

if TYPE_CHECKING:
    from onelane_worker.lanes.client import LaneClient

A = TypeVar("A", bound=types.Answer)
Word = str | int
WORKER_SCRIPTS: Final = (
    "claim", "tick", "reserve", "checkpoint", "settle", "postpone", "bury", "scrub", "revise", "replay",
    "discard", "breaker",
)  # fmt: skip
_BREAKERS: Final = {False: "breaker", True: "breaker:bulk"}


class Script(NamedTuple):
    """A Lua script as Redis gets it."""

    name: str
    text: str
    sha: str
    """By which Redis knows it."""


def script(name: str, settings: types.LaneSettings, clock: str | None = None) -> Script:
    """One of `WORKER_SCRIPTS`. `clock` replaces the text of _clock.lua."""
    text = scripts.script(name, clock, "onelane_worker.lanes", _as_lua(settings))
    return Script(name, text, scripts.sha1(text))


class LaneStore:
    """The lanes of a workspace, as a client reaches them."""

    def __init__(
        self, client: LaneClient, workspace: Workspace, settings: types.LaneSettings, clock: str | None = None
    ) -> None:
        self.settings = settings
        self._client = client
        self._keys = workspace.keys
        self._fingerprint = workspace.fingerprint
        self._scripts = {name: script(name, settings, clock) for name in WORKER_SCRIPTS}

    async def _run(self, name: str, *args: Any) -> Any:
        words = (self._fingerprint, *_words(args))
        answer = await self._client.run(self._scripts[name], self._keys.prefix, words)
        if answer[0] in ("no_workspace", "rekeyed"):
            raise types.NoWorkspace(answer[0])
        return answer

    async def _step(self, name: str, step: types.Step, *args: Any) -> Any:
        answer = await self._run(name, step, *args)
        if answer[0] in ("fenced", "stale", "open"):
            raise types.Fenced(answer[0])
        return answer

    # ── granting ──────────────────────────────────────────────────────────────────────────────────────────

    async def claim(
        self, engine: str, number: int, most: int, *, suspects: tuple[int, int], wakes: int, in_hand: int
    ) -> types.Claimed:
        """Up to `most` lanes (<= 16). `suspects`: how many more may come, how many the engine has. `wakes`:
        wake-up messages taken since the last claim. `in_hand`: calls reserved and not used."""
        return _read(types.Claimed, await self._run("claim", engine, number, most, suspects, wakes, in_hand))

    async def tick(self, engine: str, name: str, held: Iterable[types.Grant]) -> types.Ticked:
        """Renew the leases, and move the lanes that are due. `name`: the worker's, for operators."""
        leases = tuple((grant.lane, grant.token, grant.fence) for grant in held)
        return _read(types.Ticked, await self._run("tick", engine, name, leases))

    async def reserve(self, calls: int, throttled_ms: int = 0) -> types.Reserved:
        """Calls from the rate budget. `throttled_ms`: Intercom answered 429 and said to wait so long."""
        return _read(types.Reserved, await self._run("reserve", calls, throttled_ms))

    # ── under the lease ───────────────────────────────────────────────────────────────────────────────────

    async def checkpoint(
        self,
        step: types.Step,
        *,
        open_write: str | None,
        journal: types.Part = types.KEEP,
        registry: types.RegistryPart = types.KEEP,
        contacts: Sequence[str] = (),
        external_id: str | None = None,
    ) -> types.Checkpointed:
        """Record a write before it is sent. `contacts`: digests of those that it changes and that live at
        another address. `external_id`: digest of a further one to lock. Without an open write: it was
        answered, or provably not sent, and `journal` is what stood before it."""
        args = (open_write, journal, _entry(registry), " ".join(contacts), external_id)
        return _read(types.Checkpointed, await self._step("checkpoint", step, *args))

    async def settle(
        self,
        step: types.Step,
        ended: Sequence[types.Ended],
        *,
        registry: types.RegistryPart,
        consent: types.Part = types.KEEP,
        ext: Sequence[types.ExtNote] = (),
        left: Sequence[types.Left] = (),
        timeline: Sequence[str] = (),
        check: types.Check | types.Keep | None = types.KEEP,
        target: types.TargetEnd | None = None,
        more: int | None = None,
    ) -> types.Settled:
        """End the intents, head first, and go on with the next batch, or release. `more`: calls in hand to go
        on with."""
        notes = [(note.digest, note.pointer, list(note.versions.items())) for note in ext]
        owed = check if isinstance(check, types.Check) else ("", check, 0, False)
        there = [(_entry(target.registry), target.consent)] if target else []
        lists = (list(ended), notes, list(left), there, list(timeline))
        words = await self._step("settle", step, more, _entry(registry), consent, owed, *lists)
        return _read(types.Settled, words)

    async def bury(
        self,
        step: types.Step,
        intent_id: str,
        error: str,
        outcome: str,
        *,
        answered: int | None = None,
        registry: types.RegistryPart = types.KEEP,
        consent: types.Part = types.KEEP,
        timeline: Sequence[str] = (),
        target_pointer: types.StoredEntry | None = None,
        more: int | None = None,
    ) -> types.Settled:
        """The head becomes a dead letter. `answered`: number of the step whose open write was answered."""
        args = (intent_id, error, outcome, answered, _entry(target_pointer or types.KEEP), list(timeline))
        return _read(types.Settled, await self._step("bury", step, more, _entry(registry), consent, *args))

    async def postpone(
        self,
        step: types.Step,
        delay_ms: int,
        state: types.PostponedState,
        *,
        unknown: bool,
        counted: bool | None,
        error: types.Part = types.KEEP,
        journal: types.Part = types.KEEP,
        registry: types.RegistryPart = types.KEEP,
        consent: types.Part = types.KEEP,
        yields: bool = False,
        external_id: str | None = None,
        timeline: Sequence[str] = (),
    ) -> types.Postponed:
        """Release and look again. `unknown`: a write's result is. `counted` None: no attempt counts, nor
        earlier ones. `external_id`: digest of a further one that the head needs."""
        how = (delay_ms, state, unknown, counted, yields, external_id)
        stored = (error, journal, _entry(registry), consent, list(timeline))
        _, *words = await self._step("postpone", step, *how, *stored)
        return _read(types.Postponed, words)

    async def scrub(
        self, steps: Callable[[], types.Step], outcome: str, ext: Sequence[str], contacts: Sequence[str]
    ) -> None:
        """Forget the person, in chunks; `steps` makes the next step of this lease. Repeating it finds
        nothing."""
        more = "1"
        while more == "1":
            _, more = await self._step("scrub", steps(), outcome, list(ext), list(contacts))

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
        return "ok" in await self._run("revise", lane, old, new)

    # ── operators, and the breaker ────────────────────────────────────────────────────────────────────────

    async def replay(
        self, intent_id: str, burials: int, *, whole: bool, timeline: str | None = None
    ) -> types.Replayed:
        """A dead letter goes to the tail of its lane. `burials`: the number of its burial, as it was seen."""
        return _read(types.Replayed, await self._run("replay", intent_id, burials, whole, timeline))

    async def discard(
        self, intent_id: str, burials: int, outcome: str, *, timeline: str | None = None
    ) -> bool:
        """Give a dead letter up; False if it is none (any more)."""
        return "ok" in await self._run("discard", intent_id, burials, outcome, timeline)

    async def breaker(
        self,
        word: types.BreakerWord,
        *,
        lane: str = "",
        sort: str = "reads",
        problem: str = "",
        probe: bool = False,
        bulk: bool = False,
        now: bool = False,
    ) -> types.BreakerView:
        """Tell a breaker. `bulk`: that of bulk intents (words rejected, written, resume); `lane` of
        `rejected`: a digest of what was said. `now` (with resume): end the hold, too."""
        args = (_BREAKERS[bulk], word, lane, sort, problem, probe, now)
        return _read(types.BreakerView, await self._run("breaker", *args))

    async def breaker_view(self, bulk: bool = False) -> types.BreakerView:
        """How a breaker stands; read without a script, so also while Redis refuses writes."""
        names = ("state", "since", "next", "problem", "sort", "streak")
        known = await self._client.read("HMGET", self._keys.key(_BREAKERS[bulk]), *names)
        state, since_ms, next_ms, problem, sort, streak = known
        state = state or ("streak" if streak else "closed")
        return _read(types.BreakerView, (state, since_ms or 0, next_ms or 0, problem or "", sort or "reads"))


def _entry(entry: types.RegistryPart) -> tuple[types.Part, str, str]:
    if isinstance(entry, types.StoredEntry):
        return entry.text, " ".join(entry.about), " ".join(entry.elsewhere)
    return entry, "", ""


def _words(args: Iterable[Any]) -> Iterator[Word]:
    """As a script gets them: nothing is an empty word, a list begins with its length."""
    for arg in args:
        if isinstance(arg, list):
            yield len(arg)
        if isinstance(arg, list | tuple):
            yield from _words(arg)
        elif isinstance(arg, bool):
            yield int(arg)
        else:
            yield "" if arg is None else arg


def _read(kind: type[A], words: Sequence[Any]) -> A:
    return msgspec.convert(words, kind, strict=False, dec_hook=_by_name)


def _by_name(kind: Callable[..., Any], words: Sequence[Any]) -> Any:
    return kind(zip(words[::2], words[1::2], strict=True))


@cache
def _as_lua(settings: types.LaneSettings) -> str:
    values: Mapping[str, int] = asdict(settings)
    table = ", ".join(f"{name} = {int(value)}" for name, value in sorted(values.items()))
    return f"local settings = {{ {table} }}\n\n"
