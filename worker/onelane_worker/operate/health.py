"""Is everything fit to serve? One finding per question, each with what to do about it: Redis and the lanes.

Nothing here changes anything. Redis must answer for there to be findings at all: its errors go through.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis import RedisError, ResponseError

from onelane.submission import WAKE_MAX
from onelane.workspace import as_text
from onelane_worker.operate import redis_requirements
from onelane_worker.operate.finding import Finding, Level
from onelane_worker.operate.open_workspace import OpenWorkspace, ms_of, scored
from onelane_worker.operate.pause import Service
from onelane_worker.operate.survey import Survey
from onelane_worker.redis_errors import refusal
from onelane_worker.settings import DAY_S, Settings

SKEW_WARN_S: Final = 2.0
FULL_WARN: Final = 0.8
OLD_LETTER_DAYS: Final = 30
_CONFIGURED: Final = ("appendfsync", "save", "min-replicas-to-write", redis_requirements.EVICTION)


@dataclass(frozen=True, slots=True)
class BrokerView:
    """What the broker told; `problem` if it did not, and what to do about that."""

    waiting: int = 0
    """Wake-up messages in the workspace's queue."""
    problem: str = ""
    todo: str = "Check ONELANE_BROKER_URL."


def without_redis(error: Exception) -> Finding:
    """Redis is away, or refuses: nothing can be said of what is in it."""
    known = refusal(error)
    if known is not None:
        return Finding("redis", "bad", str(known), f"{known.todo} See the runbook: Redis refuses writes.")
    todo = "Nothing is accepted and nobody is served until it answers. See the runbook: Redis failed over."
    return Finding("redis", "bad", f"did not answer: {type(error).__name__}: {error}", todo)


# ── Redis ─────────────────────────────────────────────────────────────────────────────────────────────────


async def of_redis(
    opened: OpenWorkspace, settings: Settings, *, clock: Callable[[], float] = time.time
) -> list[Finding]:
    """Version, role, eviction, persistence, replicas, memory, clock."""
    before = clock()
    [(seconds, micros)] = await opened.read(("TIME",))
    middle = (before + clock()) / 2
    [info] = await opened.read(("INFO",))
    configured = await _configured(opened)
    [script] = await opened.ask([("EVAL", redis_requirements.SCRIPT, 0)])
    complaints = [*redis_requirements.complaints(info, configured)]
    if isinstance(script, ResponseError) and refusal(script) is None:
        complaints.append(redis_requirements.script_complaint(script))
    unfit = [Finding("redis", "bad", complaint, "No worker starts on it.") for complaint in complaints]
    fit = f"{redis_requirements.version(info)}, {info.get('role', 'master')}, never evicts"
    return [
        *(unfit or [Finding("redis", "ok", fit)]),
        *(await _refusing_writes(opened)),
        persistence(info, configured, settings),
        *replicas(info, configured),
        memory(info),
        clock_skew(int(seconds) + int(micros) / 1e6 - middle),
    ]


async def _configured(opened: OpenWorkspace) -> dict[str, str]:
    """What CONFIG GET tells; nothing on hosted servers, which forbid it."""
    found: dict[str, str] = {}
    for reply in await opened.ask([("CONFIG", "GET", name) for name in _CONFIGURED]):
        if isinstance(reply, RedisError):
            if not isinstance(reply, ResponseError):
                raise reply
            continue
        words = [word for pair in reply.items() for word in pair] if isinstance(reply, Mapping) else reply
        found |= dict(zip(map(as_text, words[::2]), map(as_text, words[1::2]), strict=True))
    return found


async def _refusing_writes(opened: OpenWorkspace) -> list[Finding]:
    """Tries a write that changes nothing: to set a key only if it is there, which it never is."""
    [reply] = await opened.ask([("SET", opened.keys.key("never"), "", "XX")])
    if not isinstance(reply, RedisError):
        return []
    if refusal(reply) is None:
        raise reply
    return [without_redis(reply)]


def persistence(info: Mapping[str, Any], configured: Mapping[str, str], settings: Settings) -> Finding:
    """What a restart or a power failure can lose, and whether ONELANE_REDIS_DURABLE is true."""
    name = "persistence"
    if "err" in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")):
        return Finding(name, "bad", "Redis could not write to its disk", "Look at its log: disk full?")
    if not info.get("aof_enabled"):
        return _without_aof(info, configured)
    policy = configured.get("appendfsync") or "unknown"
    follows = int(info.get("connected_slaves") or 0) > 0
    lost = {
        "always": "nothing, but a failover can lose the last moment" if follows else "nothing",
        "everysec": "the last second of accepted intents",
        "no": "what the system had not yet written, half a minute of accepted intents",
    }.get(policy, "a moment of accepted intents")
    says = f"append-only file, appendfsync {policy}: a power failure loses {lost}"
    if settings.redis_durable and lost != "nothing":
        todo = "ONELANE_REDIS_DURABLE says that nothing can be lost: unset it, or set appendfsync always."
        return Finding(name, "bad", says, todo)
    level: Level = "ok" if policy in ("always", "everysec") else "warn"
    return Finding(name, level, says, "" if level == "ok" else "Set appendfsync.")


def _without_aof(info: Mapping[str, Any], configured: Mapping[str, str]) -> Finding:
    todo = "Turn the append-only file on: CONFIG SET appendonly yes, and in its configuration."
    if configured.get("save"):
        says = "snapshots only: a restart loses what was accepted since the last one, minutes perhaps"
        return Finding("persistence", "warn", says, todo)
    if info.get("connected_slaves"):
        says = f"none, but {info['connected_slaves']} replica(s): if all fail together, all is lost"
        return Finding("persistence", "warn", says, todo)
    return Finding("persistence", "bad", "none: a restart of Redis loses every accepted intent", todo)


def replicas(info: Mapping[str, Any], configured: Mapping[str, str]) -> Iterator[Finding]:
    """A primary that others may replace must refuse writes once it is cut off from them."""
    count = int(info.get("connected_slaves") or 0)
    if not count:
        return
    if int(configured.get("min-replicas-to-write") or 0):
        yield Finding("replicas", "ok", f"{count}; writes are refused without them")
        return
    todo = "CONFIG SET min-replicas-to-write 1 and min-replicas-max-lag 10, and in its configuration."
    says = f"{count}; a primary that was replaced goes on accepting intents, which are lost"
    yield Finding("replicas", "warn", says, todo)


def memory(info: Mapping[str, Any]) -> Finding:
    """How much room is left."""
    most, used = int(info.get("maxmemory") or 0), int(info.get("used_memory") or 0)
    if not most:
        return Finding("memory", "ok", f"{used / 2**20:,.0f} MiB used, no limit set")
    says = f"{used / 2**20:,.0f} of {most / 2**20:,.0f} MiB used"
    level: Level = "ok" if used < FULL_WARN * most else "warn" if used < most else "bad"
    todo = "" if level == "ok" else "When it is full, nothing is accepted any more."
    return Finding("memory", level, says, todo)


def clock_skew(skew_s: float) -> Finding:
    """Whether this machine and Redis agree on the time."""
    if abs(skew_s) < SKEW_WARN_S:
        return Finding("clock", "ok", "this machine's clock agrees with that of Redis")
    says = f"{abs(skew_s):.1f} s {'behind' if skew_s > 0 else 'ahead of'} that of Redis"
    todo = "Lanes go by the clock of Redis; occurred_at goes by that of your services: set both by NTP."
    return Finding("clock", "warn", f"this machine's clock is {says}", todo)


# ── broker, breaker, lanes ────────────────────────────────────────────────────────────────────────────────


def of_broker(view: BrokerView) -> Finding:
    """Reachable, and how long is its queue?"""
    if view.problem:
        return Finding("broker", "bad", view.problem, view.todo)
    noun = "wake-up" if view.waiting == 1 else "wake-ups"
    return Finding("broker", "ok", f"{view.waiting:,} {noun} in its queue")


def of_failover(service: Service, settings: Settings) -> Finding:
    """Was Redis restarted or replaced lately, and is nothing served because of that?"""
    age_s = None if service.epoch_ms is None else (service.now_ms - service.epoch_ms) / 1000
    if age_s is None or age_s >= settings.settle_window_s:
        return Finding("failover", "ok", "no restart or failover of Redis lately")
    says = f"Redis was restarted or failed over {age_s:.0f} s ago, and may have lost a moment"
    if service.hold_until_ms is not None:
        left_s = (service.hold_until_ms - service.now_ms) / 1000
        todo = "It ends by itself; `onelane resume --now` ends it at once, where nothing can have been lost."
        return Finding("failover", "warn", f"{says}: nothing is served for {left_s:.0f} s more", todo)
    todo = f"For {settings.settle_window_s - age_s:.0f} s more, new leads wait, so that none is made twice."
    return Finding("failover", "warn", says, todo)


def of_breaker(service: Service, words: str, todo: str) -> Finding:
    """Is the circuit breaker open, or the workspace paused? `todo`: what a person has to do, if anything."""
    name, state = "breaker", service.breaker.state
    if state == "paused":
        return Finding(name, "warn", words, "`onelane resume` starts it again.")
    if state in ("open", "half"):
        by_itself = "Intercom is probed by itself; a refused token needs a person. See the runbook: outage."
        return Finding(name, "bad" if state == "open" else "warn", words, todo or by_itself)
    if state == "streak":
        return Finding(name, "warn", "closed, but calls have failed lately")
    return Finding(name, "ok", "closed")


def of_bulk(service: Service, words: str) -> Iterator[Finding]:
    """Are bulk intents stopped? Nothing to say if not."""
    if service.bulk_stopped:
        todo = "Too many were rejected alike: mend what they bring. They run again by themselves after that."
        yield Finding("bulk", "bad", words, todo)


def of_lanes(found: Survey, pending_max: int) -> list[Finding]:
    """Stranded lanes, the blocked ones that no event woke, and how full the queue is."""
    return [_stranded(found), *_backstops(found), _backlog(found, pending_max)]


def _stranded(found: Survey) -> Finding:
    stranded = found.by_why.get("stranded", 0)
    if stranded:
        says = f"{stranded:,} stranded: due for more than half a minute, and nobody came"
        return Finding("lanes", "bad", says, "Is a worker running? `onelane lanes` shows them.")
    count = f"{len(found.lanes):,}{'' if found.whole else ' or more'}"
    return Finding("lanes", "ok", f"{count} with waiting intents, none stranded")


def _backstops(found: Survey) -> Iterator[Finding]:
    """Waiting for a lane that is put back for long is no fault; a number that grows on quiet days is."""
    if found.backstops:
        times = "once" if found.backstops == 1 else f"{found.backstops:,} times"
        says = f"a blocked lane was looked at by the timer {times}, after five minutes without an event"
        yield Finding("blocked", "ok", says)


def _backlog(found: Survey, pending_max: int) -> Finding:
    share = found.pending / pending_max
    level: Level = "ok" if share < FULL_WARN else "warn" if share < 1 else "bad"
    noun = "intent waits" if found.pending == 1 else "intents wait"
    todo = "" if level == "ok" else "At the limit enqueue raises QueueFull: add workers, or raise the limits."
    return Finding("backlog", level, f"{found.pending:,} {noun}, {share:.0%} of the limit", todo)


def of_wakes(found: Survey) -> Finding:
    """Wake-up messages that were sent and not taken yet."""
    says = f"{found.wakes} of at most {WAKE_MAX} under way"
    if found.wakes < WAKE_MAX:
        return Finding("wake-ups", "ok", says)
    return Finding("wake-ups", "ok", f"{says}: more are not needed, the workers know that lanes are ready")


async def of_dead_letters(opened: OpenWorkspace, settings: Settings) -> Finding:
    """Is there anything a person must look at? Old ones hold what was asked about people, word for word."""
    key = opened.keys.key("dead")
    moment, count, oldest = await opened.read(("TIME",), ("ZCARD", key), ("ZRANGE", key, 0, 0, "WITHSCORES"))
    if not count or not oldest:
        return Finding("dead letters", "ok", "none")
    days = (ms_of(moment) - _first_ms(oldest)) // (1000 * DAY_S)
    says = f"{int(count):,} to be looked at" + (f", the oldest for {days} days" if days > 1 else "")
    todo = "`onelane dead list` shows them; replay or discard them."
    if days >= OLD_LETTER_DAYS and settings.dead_letter_ttl_s is None:
        todo += " They are kept for ever: ONELANE_DEAD_LETTER_TTL_S gives them up after a time."
    return Finding("dead letters", "warn", says, todo)


def _first_ms(oldest: Sequence[Any]) -> int:
    return scored(oldest)[0][1]
