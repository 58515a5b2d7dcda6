"""`onelane dead`: look at dead letters, replay them, give them up."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, NoReturn, Self

import typer

from onelane_worker.cli import _letter_page as letter_page
from onelane_worker.cli import _output as output
from onelane_worker.cli._errors import NEGATIVE, NOT_FOUND, USAGE, Commands, fail

if TYPE_CHECKING:
    from onelane_worker.operate.dead_letters import DeadLetter, Done, Selection
    from onelane_worker.operate.open_workspace import OpenWorkspace

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsLines = Annotated[
    bool, typer.Option("--json", help="Print JSON, one line for each; no line if there is none.")
]
_WHICH = "Which"
_Words = Sequence[str] | None
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of receipts.")]
OfKind = Annotated[
    list[str] | None, typer.Option("--kind", metavar="KIND", help="Of this kind.", rich_help_panel=_WHICH)
]
OfError = Annotated[
    list[str] | None,
    typer.Option(
        "--error", metavar="REASON", help="With this reason, code or status.", rich_help_panel=_WHICH
    ),
]
OlderThan = Annotated[
    str | None,
    typer.Option(metavar="AGE", help="Dead for longer, as in 90s, 30m, 2h, 7d.", rich_help_panel=_WHICH),
]
NewerThan = Annotated[
    str | None, typer.Option(metavar="AGE", help="Dead for a shorter time.", rich_help_panel=_WHICH)
]
Everything = Annotated[bool, typer.Option("--all", help="All of them.", rich_help_panel=_WHICH)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show which ones.")]

dead_letters = typer.Typer(
    cls=Commands,
    help="Dead letters, intents that could not be applied: look, replay, discard.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@dead_letters.command("list")
def dead_list(
    ids: Ids = None,
    kind: OfKind = None,
    error: OfError = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Annotated[int, typer.Option(min=1, help="Most to show, the newest first.")] = 50,
    as_json: AsLines = False,
) -> None:
    """List them, newest first."""
    from onelane_worker.cli._config import run
    from onelane_worker.operate.dead_letters import count, newest

    which = _Which.of(ids, kind, error, older_than, newer_than)

    async def read(opened: OpenWorkspace) -> tuple[list[DeadLetter], int]:
        found: list[DeadLetter] = []
        async for letter in newest(opened, await which.selection(opened)):
            found.append(letter)
            if len(found) > limit:
                return found, await count(opened)
        return found, len(found)

    letters, total = run(read)
    filtered = which.is_filter or bool(which.ids)
    if len(letters) <= limit:
        older = ""
    elif filtered:  # to count those that match, all would have to be read
        older = "… and older ones: a higher --limit shows more."
    else:
        older = f"… and {total - limit:,} older: --limit {total} shows them all."
    if not as_json:
        letter_page.show_list(letters[:limit], older, filtered=filtered)
        return
    for letter in letters[:limit]:
        output.print_json(letter_page.document(letter, whole=False))
    if older:
        output.tell(older, err=True)


@dead_letters.command("show")
def dead_show(
    intent_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the receipt.")],
    as_json: AsJson = False,
) -> None:
    """Show one whole, addresses masked: what was wanted, why it died, what a replay would leave out."""
    from onelane_worker.cli._config import run
    from onelane_worker.operate.dead_letters import letters_of, would_leave_out

    _require_ids([intent_id])

    async def read(opened: OpenWorkspace) -> tuple[DeadLetter, frozenset[str] | None] | None:
        letters = await letters_of(opened, [intent_id])
        return (letters[0], (await would_leave_out(opened, letters))[0]) if letters else None

    found = run(read)
    if found is None:
        _not_found(intent_id)
    letter, gone = found
    if as_json:
        left_out = {"left_out": None if gone is None else sorted(gone)}
        output.print_json(letter_page.document(letter, whole=True) | left_out)
    else:
        letter_page.show(letter, gone)


@dead_letters.command("replay")
def dead_replay(
    ids: Ids = None,
    kind: OfKind = None,
    error: OfError = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    everything: Everything = False,
    as_is: Annotated[
        bool,
        typer.Option(
            "--as-is",
            help="Apply them whole, over what was written since, as if said now; but a sync with an older "
            "version than one applied is superseded all the same.",
        ),
    ] = False,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; the timeline of the address goes on telling it.")
    ] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Try them again: each goes to the tail of its lane, under its own id.

    Left out is what later intents of the same address have written since, and a word on consent that the
    person has taken back. Exit code 1 if some could not be replayed.
    """
    from onelane_worker.cli._config import run
    from onelane_worker.operate import dead_letters as letters

    words = output.masked(reason.strip())
    which = _Which.of(ids, kind, error, older_than, newer_than).required(everything)

    async def do(opened: OpenWorkspace) -> list[Done] | None:
        chosen = await _chosen(opened, which)
        if dry_run:
            await _forecast(opened, chosen, as_is, as_json)
            return None
        how = " as they are" if as_is else ""
        question = f"Replay {output.many(len(chosen.ids), 'dead letter')}{how}?"
        await _confirm(opened, chosen, question, yes, as_is)
        return await _do(
            "replaying",
            opened,
            chosen.ids,
            lambda letter: letters.replay(opened, letter, whole=as_is, reason=words),
        )

    _tell("replayed", run(do), as_json)


@dead_letters.command("discard")
def dead_discard(
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; their receipts go on telling it.")],
    ids: Ids = None,
    kind: OfKind = None,
    error: OfError = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give them up. What they hold of a person is gone at once; their outcome stays for a while.

    It shows them and asks first, where there is somebody to ask.
    """
    from onelane_worker.cli._config import run
    from onelane_worker.operate import dead_letters as letters

    words = output.masked(reason.strip())
    if not words:
        fail(USAGE, "--reason is empty", "Say why: it is all that remains of them.")

    which = _Which.of(ids, kind, error, older_than, newer_than).required(everything)

    async def do(opened: OpenWorkspace) -> list[Done] | None:
        chosen = await _chosen(opened, which)
        if dry_run:
            await _forecast(opened, chosen, True, as_json)
            return None
        question = f"Give up {output.many(len(chosen.ids), 'dead letter')} for good?"
        await _confirm(opened, chosen, question, yes, True)
        return await _do(
            "discarding", opened, chosen.ids, lambda letter: letters.discard(opened, letter, words)
        )

    _tell("discarded", run(do), as_json)


# ── which ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Which:
    """Which dead letters are meant; their ages in ms."""

    ids: Sequence[str]
    kinds: Sequence[str]
    errors: Sequence[str]
    older_ms: int | None
    newer_ms: int | None

    @classmethod
    def of(cls, ids: _Words, kind: _Words, error: _Words, older: str | None, newer: str | None) -> Self:
        """What the options say. Ends the command if one cannot be used."""
        _require_ids(ids or [])
        ages = _age_ms(older, "--older-than"), _age_ms(newer, "--newer-than")
        return cls(ids or (), kind or (), error or (), *ages)

    @property
    def is_filter(self) -> bool:
        return any((self.kinds, self.errors, self.older_ms is not None, self.newer_ms is not None))

    def required(self, everything: bool) -> Self:
        """Ends the command unless exactly one way to choose was used."""
        if bool(self.ids) == (self.is_filter or everything):
            hint = "Ids, or any of --kind, --error, --older-than, --newer-than, or --all; not both."
            fail(USAGE, "say which dead letters", f"{hint} `onelane dead list` shows them.")
        return self

    async def selection(self, opened: OpenWorkspace) -> Selection:
        from onelane_worker.operate.dead_letters import Selection

        now_ms = await opened.now_ms()
        return Selection(
            ids=tuple(self.ids),
            kinds=frozenset(name.replace("-", "_") for name in self.kinds),
            errors=frozenset(self.errors),
            buried_before_ms=None if self.older_ms is None else now_ms - self.older_ms,
            buried_after_ms=None if self.newer_ms is None else now_ms - self.newer_ms,
        )


def _require_ids(ids: Sequence[str]) -> None:
    from onelane.records import is_intent_id

    for wrong in (one for one in ids if not is_intent_id(one)):
        hint = "`onelane dead list` shows the ids there are."
        fail(USAGE, f"{output.masked(wrong)[:64]!r} is no id: it must be 32 hex digits", hint)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Those that something is to be done with. They may be many: they are read again page by page."""

    ids: tuple[str, ...]
    """In the order in which they were accepted."""
    counts: letter_page.Counts


async def _chosen(opened: OpenWorkspace, which: _Which) -> _Chosen:
    from onelane_worker.operate.dead_letters import each

    order: list[tuple[int, int, str]] = []
    counts = Counter[tuple[str, str]]()
    async for letter in each(opened, await which.selection(opened)):
        order.append((letter.accepted_at_ms, letter.buried_at_ms, letter.id))
        counts[letter_page.sort_of(letter)] += 1
    found = tuple(id_ for *_, id_ in sorted(order))
    missing = set(which.ids) - set(found)
    if missing:
        _not_found(min(missing))
    return _Chosen(found, counts)


def _age_ms(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*(s|m|min|h|d)", text.strip())
    if found is None:
        raise typer.BadParameter("must be an age such as 90s, 30m, 2h or 7d", param_hint=option)
    return round(float(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}[found[2]] * 1000)


def _not_found(intent_id: str) -> NoReturn:
    hint = "`onelane dead list` shows those there are."
    fail(NOT_FOUND, f"no dead letter has the id {intent_id}", hint)


# ── doing ─────────────────────────────────────────────────────────────────────────────────────────────────


async def _confirm(opened: OpenWorkspace, chosen: _Chosen, question: str, yes: bool, whole: bool) -> None:
    """Show which ones are meant, and ask; where there is nobody to ask, do neither."""
    if chosen.ids and not yes and is_interactive():
        letter_page.show_chosen(await _first(opened, chosen, whole), chosen.counts, err=True)
        typer.confirm(question, abort=True, err=True)


async def _first(opened: OpenWorkspace, chosen: _Chosen, whole: bool) -> list[letter_page.Forecast]:
    return [one async for one in _forecasts(opened, chosen.ids[: letter_page.LISTED], whole)]


async def _forecasts(
    opened: OpenWorkspace, ids: Sequence[str], whole: bool
) -> AsyncIterator[letter_page.Forecast]:
    """Each letter, and what a replay of it would leave out."""
    from onelane_worker.operate.dead_letters import PAGE, letters_of, would_leave_out
    from onelane_worker.operate.open_workspace import chunks

    for page in chunks(ids, PAGE):
        letters = await letters_of(opened, page)
        none: list[frozenset[str] | None] = list(repeat(frozenset(), len(letters)))
        paths = none if whole else await would_leave_out(opened, letters)
        for forecast in zip(letters, paths, strict=True):
            yield forecast


def is_interactive() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


async def _do(
    what: str, opened: OpenWorkspace, ids: Sequence[str], act: Callable[[DeadLetter], Awaitable[Done]]
) -> list[Done]:
    from onelane.wakeup import Waker
    from onelane_worker.cli._config import queue_settings
    from onelane_worker.operate.dead_letters import PAGE, Done, letters_of
    from onelane_worker.operate.open_workspace import chunks

    waker, done = Waker.of(queue_settings()), []
    try:
        with output.bar(what, len(ids)) as advance:
            for page in chunks(ids, PAGE):
                letters = {letter.id: letter for letter in await letters_of(opened, page)}
                for id_ in page:
                    done.append(await act(letters[id_]) if id_ in letters else Done(id_, "gone"))
                    if done[-1].wake:
                        waker.wake()
                    advance(1)
    finally:
        waker.close()
    return done


async def _forecast(opened: OpenWorkspace, chosen: _Chosen, whole: bool, as_json: bool) -> None:
    if not as_json:
        letter_page.show_chosen(await _first(opened, chosen, whole), chosen.counts)
        if chosen.ids:
            output.tell(f"{output.many(len(chosen.ids), 'dead letter')}; nothing was changed.")
        return
    async for letter, gone in _forecasts(opened, chosen.ids, whole):
        left = {"left_out": None if gone is None else sorted(gone)}
        output.print_json(letter_page.document(letter, whole=False) | left)


def _tell(what: str, done: Sequence[Done] | None, as_json: bool) -> None:
    """`done` None: it was a forecast, and has been told."""
    if done is None:
        return
    failed = [one for one in done if one.result != what]
    if as_json:
        letters = [{"id": one.id, "result": one.result} for one in done]
        output.print_json({what: len(done) - len(failed), "failed": len(failed), "letters": letters})
    else:
        output.tell(f"{output.many(len(done) - len(failed), 'dead letter')} {what}.")
        for one in failed:
            output.tell(f"{one.id}  {letter_page.NOT_DONE[one.result]}", indent=2)
        if what == "replayed" and len(failed) < len(done):
            output.tell("`onelane status ID` shows what becomes of each.")
    if failed:
        raise typer.Exit(NEGATIVE)
