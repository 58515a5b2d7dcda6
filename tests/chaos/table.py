"""The result for people and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tests.promise.report import KINDS, LOST

from .recovery import BOUND_S, Recovery
from .run import Result


def rows(result: Result) -> list[tuple[str, str]]:
    """Name and value of every line."""
    counts, toll, scale = result.report.counts, result.toll, result.options.scale
    apart = {name.removeprefix("apart: "): n for name, n in counts.items() if name.startswith("apart: ")}
    lines = [
        ("seed", str(result.options.seed)),
        ("appendfsync", f"{result.options.appendfsync}, REDIS_DURABLE {result.options.durable}"),
        ("intents accepted", f"{counts['intents']} on {counts['addresses']} addresses"),
        ("kills", f"{scale.kills} ({_told(scale.events)})"),
        ("faults met", f"{sum(result.faults.values())} ({_told(result.faults)})"),
        (
            "Intercom requests",
            f"{counts['requests']}, {counts['writes']} writes, {counts['creates']} creates",
        ),
        ("dead letters", f"{counts['dead letters']}, all of them planned"),
        ("drained", "yes" if result.drained else "NO"),
        ("receipts missing", str(result.unsent)),
        ("crashes", str(len(toll.crashes))),
    ]
    lines += [(kind.replace("_", " "), f"{result.count(kind)}") for kind in KINDS]
    gone = sum(one.kind == LOST for one in result.report.apart)
    lines += [("counted apart", _told(apart) or "0"), ("lost with a moment of Redis", str(gone))]
    lines += [(f"recovery: {one.event}", _recovery(one)) for one in toll.recoveries]
    lines += [
        ("slowest recovery", f"{result.slowest_recovery_s:.2f} s (bound: lease + 1 s = {BOUND_S:g} s)"),
        ("took", f"{result.seconds:.0f} s"),
        ("verdict", "the promise holds" if result.ok else "BROKEN"),
    ]
    return lines


def _told(counts: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)


def _recovery(one: Recovery) -> str:
    parts = [
        f"{one.lanes - one.blocked} lanes free ({one.queued} more in the queue)",
        f"{one.from_ready_s:.2f} s after a worker was there",
        f"{one.from_kill_s:.2f} s after the kill",
        f"{one.blocked} blocked: {one.blocked_late_s:.2f} s late",
        f"worst {one.judged_s:.2f} s + {one.starved_s:.2f} s without a processor",
    ]
    told = ", ".join(parts)
    return told if one.within else f"TOO SLOW: {told}, stuck {len(one.stuck)}"


def text(result: Result) -> str:
    """The table, and what broke."""
    lines = rows(result)
    width = max(len(name) for name, _ in lines)
    table = [f"{name:<{width}}  {value}" for name, value in lines]
    return "\n".join([*table, *map(str, result.report.violations), *result.toll.crashes])


def as_json(result: Result) -> dict[str, Any]:
    """The same for machines, with all evidence."""
    return {
        "ok": result.ok,
        "seed": result.options.seed,
        "rows": dict(rows(result)),
        "slowest_recovery_s": result.slowest_recovery_s,
        "recoveries": [{**asdict(one), "within": one.within} for one in result.toll.recoveries],
        "faults": dict(result.faults),
        "crashes": result.toll.crashes,
        "report": result.report.as_json(),
    }
