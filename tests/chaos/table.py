"""The result for people and for machines. Every number is counted from what was seen, none from the plan."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from math import inf
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from tests.checker.report import KINDS, LOST, OVERLAP

from .recovery import Recovery
from .run import BROKEN, HOLDS, Result

PAPER_WIDTH = 110
_COLOURS = {HOLDS: "green", BROKEN: "red"}
NAMES = {
    "lost": "lost",
    "duplicate": "duplicates",
    "order": "order violations",
    "overlap": "overlaps",
    "missing": "missing contacts",
    "field": "wrong fields",
    "consent": "wrong consent",
    "dead_letter": "unplanned dead letters",
    "outcome": "wrong outcomes",
    "stray": "stray values",
}


def text(result: Result) -> str:
    """The page as plain text."""
    paper = io.StringIO()
    Console(file=paper, width=PAPER_WIDTH, highlight=False).print(page(result))
    return paper.getvalue().rstrip()


def page(result: Result) -> RenderableType:
    """The three tables, what broke, and the verdict."""
    broken = [str(one) for one in (*result.report.violations, *result.toll.troubles)]
    return Group(
        _pairs("what was done", done(result)),
        "",
        _pairs("what came of it", found(result)),
        "",
        _recoveries(result.toll.recoveries),
        "",
        *(Text(line, style="red") for line in broken),
        Text(_verdict(result), style=f"bold {_COLOURS.get(result.verdict, 'yellow')}"),
    )


def _verdict(result: Result) -> str:
    again = f"--seed {result.options.seed} --appendfsync {result.options.appendfsync}"
    return f"{result.verdict} ({again}, {result.seconds:.0f} s)"


def _pairs(title: str, rows: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(title, no_wrap=True, min_width=24)
    table.add_column("")
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


# --- what was done ---


def done(result: Result) -> dict[str, str]:
    """To whom what was done, and how often."""
    toll, faults, options, scale = result.toll, result.faults, result.options, result.options.scale
    durable = "loses nothing, as the workers are told" if options.durable else "the workers do not trust it"
    return {
        "Redis": f"appendfsync {options.appendfsync}; {durable}",
        "at work": f"{scale.workers} workers, each with its due timer, and {scale.producers} producers",
        "kills (SIGKILL)": f"{toll.blows}, of {_told(toll.killed)}",
        "freezes (SIGSTOP)": f"workers {_spans(toll.frozen)}",
        "network to Redis": f"stalled {_spans(toll.stalled)}; {_some(faults, 'Redis: ')}",
        "network to Intercom": _some(faults, "Intercom: "),
        "broker": f"emptied {toll.done['empty_broker']}×; {_some(faults, 'broker: ')}",
        "Intercom's own faults": _some(faults, "sandbox: "),
        "moments lost by Redis": _moments(toll.moments_s),
    }


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()) if count) or "none"


def _some(counts: Mapping[str, int], prefix: str) -> str:
    return _told({name.removeprefix(prefix): n for name, n in counts.items() if name.startswith(prefix)})


def _spans(spans: list[Any]) -> str:
    longest_s = max((one.end - one.start for one in spans), default=0.0)
    return f"{len(spans)}×, at most {longest_s:.1f} s" if spans else "0×"


def _moments(moments_s: list[float]) -> str:
    return f"{len(moments_s)}, at most {max(moments_s):.2f} s each" if moments_s else "none"


# --- what came of it ---


def found(result: Result) -> dict[str, str]:
    """The checker's verdict, and what the run itself can tell."""
    counts = result.report.counts
    rows = {
        "intents accepted": f"{counts['intents']:,} on {counts['addresses']:,} addresses",
        "Intercom requests": (
            f"{counts['requests']:,}: {counts['writes']:,} writes, {counts['creates']:,} of them creates"
        ),
        "dead letters": f"{counts['dead letters']:,}, all of them planned",
    }
    if result.count("dead_letter"):
        rows["dead letters"] = f"{counts['dead letters']:,}"
    rows |= {NAMES[kind]: f"{result.count(kind):,}" for kind in NAMES}
    return rows | {
        "counted apart": _apart(result),
        "receipts missing": str(result.unsent),
        "lanes empty at the end": "yes" if result.drained else "NO",
        "least time to spare": _spare(result),
    }


def _spare(result: Result) -> str:
    unproven = f"; {result.lanes_unproven} lanes not proven" if result.lanes_unproven else ""
    return f"{_left(result.latest_s)}; with the waits for CPU {_left(result.latest_raw_s)}{unproven}"


def _left(late_s: float) -> str:
    """What was left of the time in which a lane must move; negative: too late."""
    return "–" if late_s == -inf else f"{-late_s:.2f} s"


def _apart(result: Result) -> str:
    apart = result.report.apart
    lost = sum(one.kind == LOST for one in apart)
    overlaps: dict[str, int] = {}
    for one in apart:
        why = one.text.rpartition("(")[2].rstrip(")")
        name = f"{'overlap' if one.kind == OVERLAP else one.kind}: {why}"
        overlaps[name] = overlaps.get(name, 0) + (one.kind != LOST)
    return _told({**overlaps, "lost with a moment of Redis": lost})


# --- recovery ---


def _recoveries(recoveries: list[Recovery]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("recovery", no_wrap=True)
    lanes = [title for sort in ("free\nlanes", "blocked\nlanes", "in\nline") for title in (sort, "slowest")]
    titles = ("worker\nthere", *lanes, "to spare\nraw", "waits\nfor CPU", "to spare\nwithout")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for one in recoveries:
        style = "red" if one.late else "yellow" if one.too_busy else None
        table.add_row(one.event, *_cells(one), style=style)
        for words, raw in _remarks(one):
            blanks = [""] * (titles.index("to spare\nraw"))
            table.add_row(f"  {words}", *blanks, raw, "", "", style=style or "yellow")
    return table


def _remarks(one: Recovery) -> Iterator[tuple[str, str]]:
    """What stands below a kill: words, and a raw time."""
    if one.stuck:
        yield f"{len(one.stuck)} STUCK", ""
    elif one.late:
        yield "TOO LATE", ""
    if one.unproven:
        yield f"{one.unproven} not proven", _left(one.unproven_late_s)


def _cells(one: Recovery) -> tuple[str, ...]:
    return (
        f"{one.started_s:.1f} s",
        *(str(one.free), _time(one.free_s, one.free)),
        *(str(one.blocked), _time(one.blocked_s, one.blocked)),
        *(str(one.in_line), _time(one.in_line_s, one.in_line)),
        _left(one.raw_late_s),
        _time(one.waited_s, one.judged),
        _left(one.late_s),
    )


def _time(seconds: float, lanes: int) -> str:
    return f"{seconds:.2f} s" if lanes else "–"


def as_json(result: Result) -> dict[str, Any]:
    """All of it for machines; the evidence itself is in the run's folder."""
    options, toll = result.options, result.toll
    return {
        "ok": result.ok,
        "verdict": result.verdict,
        "seed": options.seed,
        "appendfsync": options.appendfsync,
        "redis_durable": options.durable,
        "scale": asdict(options.scale),
        "seconds": result.seconds,
        "violations": {kind: result.count(kind) for kind in KINDS},
        "latest_s": _number(result.latest_s),
        "latest_raw_s": _number(result.latest_raw_s),
        "lanes_unproven": result.lanes_unproven,
        "recoveries": [
            {name: _number(value) for name, value in asdict(one).items()} | {"within": one.within}
            for one in toll.recoveries
        ],
        "kills": dict(toll.killed),
        "events": dict(toll.done),
        "frozen": [asdict(one) for one in toll.frozen],
        "stalled": [asdict(one) for one in toll.stalled],
        "rollbacks": [asdict(one) for one in toll.rollbacks],
        "moments_s": toll.moments_s,
        "faults": dict(result.faults),
        "troubles": toll.troubles,
        "drained": result.drained,
        "receipts_missing": result.unsent,
        "report": result.report.as_json(),
        "told": {**done(result), **found(result)},
    }


def _number(value: Any) -> Any:
    """JSON knows no infinity: there was nothing to measure."""
    return None if value == -inf else value
