"""`onelane dead`: look at dead letters, replay them, give them up."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, repeat
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from onelane_worker.cli import _letter_page as letter_page
from onelane_worker.cli import _output as output
from onelane_worker.cli._errors import NEGATIVE, NOT_FOUND, USAGE, Commands, fail

if TYPE_CHECKING:
    from redis import Redis

    from onelane_worker.lanes.model import DeadLetter
    from onelane_worker.letters import Deed, Hands, Selection

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsLines = Annotated[
    bool, typer.Option("--json", help="Print JSON, one line for each; no line if there is none.")
]
_WHICH = "Which"
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
    from onelane_worker.cli._config import open_redis
    from onelane_worker.letters import count, newest

    _require_ids(ids or [])
    filtered = any((ids, kind, error, older_than, newer_than))
    with open_redis() as redis:
        selection = _selection(redis, tuple(ids or ()), kind, error, older_than, newer_than)
        letters = list(islice(newest(redis, selection), limit + 1))
        total = count(redis) if len(letters) > limit else 0
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
    from onelane_worker.cli._config import open_redis
    from onelane_worker.lanes import views
    from onelane_worker.letters import would_leave_out

    _require_ids([intent_id])
    with open_redis() as redis:
        letter = views.dead_letter(redis, intent_id)
        if letter is None:
            _not_found(intent_id)
        [gone] = would_leave_out(redis, [letter])
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
    words = output.masked(reason.strip())

    def replay(hands: Hands, letter: DeadLetter) -> Deed:
        return hands.replay(letter, whole=as_is, reason=words)

    _require_choice(ids, kind, error, older_than, newer_than, everything)
    with _opened() as redis:
        chosen = _chosen(redis, ids, kind, error, older_than, newer_than)
        if dry_run:
            return _forecast(redis, chosen, as_is, as_json)
        _confirm(
            redis,
            chosen,
            f"Replay {output.many(len(chosen.ids), 'dead letter')}{' as they are' if as_is else ''}?",
            yes,
            as_is,
        )
        deeds = _do("replaying", redis, chosen.ids, replay)
    return _tell("replayed", deeds, as_json)


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
    words = output.masked(reason.strip())
    if not words:
        fail(USAGE, "--reason is empty", "Say why: it is all that remains of them.")

    def discard(hands: Hands, letter: DeadLetter) -> Deed:
        return hands.discard(letter, words)

    _require_choice(ids, kind, error, older_than, newer_than, everything)
    with _opened() as redis:
        chosen = _chosen(redis, ids, kind, error, older_than, newer_than)
        if dry_run:
            return _forecast(redis, chosen, True, as_json)
        _confirm(redis, chosen, f"Give up {output.many(len(chosen.ids), 'dead letter')} for good?", yes, True)
        deeds = _do("discarding", redis, chosen.ids, discard)
    return _tell("discarded", deeds, as_json)


# ── which ─────────────────────────────────────────────────────────────────────────────────────────────────


def _require_choice(ids: Any, *given: Any) -> None:
    if bool(ids) == any(map(bool, given)):
        hint = "Ids, or any of --kind, --error, --older-than, --newer-than, or --all; not both."
        fail(USAGE, "say which dead letters", f"{hint} `onelane dead list` shows them.")
    _require_ids(ids or [])


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


def _chosen(
    redis: Redis, ids: list[str] | None, kind: Any, error: Any, older_than: str | None, newer_than: str | None
) -> _Chosen:
    from onelane_worker.letters import each

    wanted = tuple(ids or ())
    order: list[tuple[int, int, str]] = []
    counts = Counter[tuple[str, str]]()
    for letter in each(redis, _selection(redis, wanted, kind, error, older_than, newer_than)):
        order.append((letter.accepted_at_ms, letter.buried_at_ms, letter.id))
        counts[letter_page.sort_of(letter)] += 1
    found = tuple(id_ for *_, id_ in sorted(order))
    missing = set(wanted) - set(found)
    if missing:
        _not_found(min(missing))
    return _Chosen(found, counts)


def _selection(
    redis: Redis, ids: tuple[str, ...], kind: Any, error: Any, older_than: str | None, newer_than: str | None
) -> Selection:
    from onelane_worker.letters import Selection

    seconds, micros = redis.time()
    now_ms = seconds * 1000 + micros // 1000
    return Selection(
        ids=ids,
        kinds=frozenset(name.replace("-", "_") for name in kind or ()),
        errors=frozenset(error or ()),
        buried_before_ms=None if older_than is None else now_ms - _age_ms(older_than, "--older-than"),
        buried_after_ms=None if newer_than is None else now_ms - _age_ms(newer_than, "--newer-than"),
    )


def _age_ms(text: str, option: str) -> int:
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*(s|m|min|h|d)", text.strip())
    if found is None:
        raise typer.BadParameter("must be an age such as 90s, 30m, 2h or 7d", param_hint=option)
    return round(float(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}[found[2]] * 1000)


def _not_found(intent_id: str) -> NoReturn:
    hint = "`onelane dead list` shows those there are."
    fail(NOT_FOUND, f"no dead letter has the id {intent_id}", hint)


# ── doing ─────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _opened() -> Any:
    from onelane_worker.cli._config import open_redis

    with open_redis() as redis:
        yield redis


def _confirm(redis: Redis, chosen: _Chosen, question: str, yes: bool, whole: bool) -> None:
    """Show which ones are meant, and ask; where there is nobody to ask, do neither."""
    if chosen.ids and not yes and is_interactive():
        letter_page.show_chosen(_first(redis, chosen, whole), chosen.counts, err=True)
        typer.confirm(question, abort=True, err=True)


def _first(redis: Redis, chosen: _Chosen, whole: bool) -> list[letter_page.Forecast]:
    return list(islice(_forecasts(redis, chosen.ids[: letter_page.LISTED], whole), letter_page.LISTED))


def _forecasts(redis: Redis, ids: Sequence[str], whole: bool) -> Iterator[letter_page.Forecast]:
    """Each letter, and what a replay of it would leave out."""
    from onelane_worker.lanes import views
    from onelane_worker.letters import PAGE, would_leave_out

    for start in range(0, len(ids), PAGE):
        letters = views.dead_letters_of(redis, ids[start : start + PAGE])
        paths = repeat(frozenset[str](), len(letters)) if whole else would_leave_out(redis, letters)
        yield from zip(letters, paths, strict=True)


def is_interactive() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def _do(what: str, redis: Redis, ids: Sequence[str], act: Callable[[Hands, DeadLetter], Deed]) -> list[Deed]:
    from onelane.publisher import Publisher

    from onelane_worker.cli._config import queue_settings, worker_settings
    from onelane_worker.history import History
    from onelane_worker.lanes import views
    from onelane_worker.lanes.store import LaneStore
    from onelane_worker.letters import PAGE, Deed, Hands
    from onelane_worker.services import lane_settings

    given = queue_settings()
    limits = lane_settings(worker_settings())
    told = History(redis, limits.status_ttl_ms)
    hands = Hands(redis, LaneStore(redis, limits), told, given.lane_max, given.partition_max)
    publisher = Publisher(given.broker, given.ca_file)
    deeds = []
    try:
        with output.bar(what, len(ids)) as advance:
            for start in range(0, len(ids), PAGE):
                page = ids[start : start + PAGE]
                letters = {letter.id: letter for letter in views.dead_letters_of(redis, page)}
                for id_ in page:
                    deed = act(hands, letters[id_]) if id_ in letters else Deed(id_, "gone")
                    publisher.publish([deed.turn] if deed.turn else [])
                    deeds.append(replace(deed, turn=None))
                    advance(1)
    finally:
        publisher.close()
    return deeds


def _forecast(redis: Redis, chosen: _Chosen, whole: bool, as_json: bool) -> None:
    if not as_json:
        letter_page.show_chosen(_first(redis, chosen, whole), chosen.counts)
        if chosen.ids:
            output.tell(f"{output.many(len(chosen.ids), 'dead letter')}; nothing was changed.")
        return
    for letter, gone in _forecasts(redis, chosen.ids, whole):
        left = {"left_out": None if gone is None else sorted(gone)}
        output.print_json(letter_page.document(letter, whole=False) | left)


def _tell(done: str, deeds: Sequence[Deed], as_json: bool) -> None:
    failed = [deed for deed in deeds if deed.result != done]
    if as_json:
        letters = [{"id": deed.id, "result": deed.result} for deed in deeds]
        output.print_json({done: len(deeds) - len(failed), "failed": len(failed), "letters": letters})
    else:
        output.tell(f"{output.many(len(deeds) - len(failed), 'dead letter')} {done}.")
        for deed in failed:
            output.tell(f"{deed.id}  {letter_page.NOT_DONE[deed.result]}", indent=2)
        if done == "replayed" and len(failed) < len(deeds):
            output.tell("`onelane status ID` shows what becomes of each.")
    if failed:
        raise typer.Exit(NEGATIVE)
