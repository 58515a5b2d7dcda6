"""Is everything fit to serve? One finding per question, each with what to do about it.

Nothing here changes anything. Redis must answer for there to be findings at all: its errors go through.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisError, ResponseError

from onelane import keyspace
from onelane.settings import QueueSettings
from onelane_worker import checks
from onelane_worker.breaker import Gate
from onelane_worker.finding import Finding, Level
from onelane_worker.lanes.survey import Survey
from onelane_worker.planner import operations as op
from onelane_worker.redis_errors import refusal
from onelane_worker.settings import DAY_S, Settings
from onelane_worker.workspace import OtherWorkspace, Record, require_same

SKEW_WARN_S = 2.0
FULL_WARN = 0.8
OLD_LETTER_DAYS = 30
HOSTS = {"US": "api.intercom.io", "EU": "api.eu.intercom.io", "AU": "api.au.intercom.io"}
"""Intercom's regions and their API hosts (published)."""
_NEVER = "onelane:never"
"""A key that is never there."""


@dataclass(frozen=True, slots=True)
class BrokerView:
    """What the broker told; `problem` if it did not, and what to do about that."""

    queues: Mapping[str, int]
    problem: str = ""
    todo: str = "Check ONELANE_BROKER_URL."


def without_redis(error: Exception) -> Finding:
    """Redis is away, or refuses: nothing can be said of what stands in it."""
    known = refusal(error)
    if known is not None:
        return Finding("redis", "bad", str(known), f"{known.todo} See the runbook: Redis refuses writes.")
    todo = "Nothing is accepted and nobody is served until it answers. See the runbook: Redis failed over."
    return Finding("redis", "bad", f"did not answer: {type(error).__name__}: {error}", todo)


# ── Redis ─────────────────────────────────────────────────────────────────────────────────────────────────


def of_redis(
    client: Redis, settings: Settings, *, clock: Callable[[], float] = time.time
) -> Iterator[Finding]:
    """Version, role, eviction, persistence, memory, clock, epoch."""
    before = clock()
    seconds, micros = client.time()
    middle = (before + clock()) / 2
    info: Mapping[str, Any] = dict(client.info())
    complaints = list(checks.complaints(client, info))
    for complaint in complaints:
        yield Finding("redis", "bad", complaint, "No worker starts on it.")
    if not complaints:
        yield Finding("redis", "ok", f"{_version(info)}, {info.get('role', 'master')}, never evicts")
    yield from _refusing_writes(client)
    yield _persistence(client, info, settings)
    yield from _memory(info)
    yield _clock(seconds + micros / 1e6 - middle)
    yield _epoch(client, settings, seconds * 1000 + micros // 1000)


def _refusing_writes(client: Redis) -> Iterator[Finding]:
    """Tries a write that changes nothing: to set a key only if it is there, which it never is."""
    try:
        client.set(_NEVER, "", xx=True)
    except RedisError as error:
        if refusal(error) is None:
            raise
        yield without_redis(error)


def _version(info: Mapping[str, Any]) -> str:
    valkey = info.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', '?')}"


def _persistence(client: Redis, info: Mapping[str, Any], settings: Settings) -> Finding:
    name = "persistence"
    if "err" in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")):
        return Finding(name, "bad", "Redis could not write to its disk", "Look at its log: disk full?")
    if not info.get("aof_enabled"):
        return _without_aof(client, info)
    policy = _configured(client, "appendfsync") or "unknown"
    if policy == "always":
        return Finding(
            name, "ok", "append-only file, always synced: an accepted intent survives a power failure"
        )
    lost = {"everysec": "the last second", "no": "what the system had not yet written (half a minute)"}
    says = f"append-only file, appendfsync {policy}: a power failure can lose {lost.get(policy, 'a moment')}"
    if settings.redis_durable:
        todo = "ONELANE_REDIS_DURABLE says that nothing can be lost: unset it, or set appendfsync always."
        return Finding(name, "bad", says, todo)
    level: Level = "ok" if policy == "everysec" else "warn"
    return Finding(name, level, f"{says} of accepted intents", "" if level == "ok" else "Set appendfsync.")


def _without_aof(client: Redis, info: Mapping[str, Any]) -> Finding:
    todo = "Turn the append-only file on: CONFIG SET appendonly yes, and in its configuration."
    if _configured(client, "save"):
        says = "snapshots only: a restart loses what was accepted since the last one, minutes perhaps"
        return Finding("persistence", "warn", says, todo)
    if info.get("connected_slaves"):
        says = f"none, but {info['connected_slaves']} replica(s): if all fail together, all is lost"
        return Finding("persistence", "warn", says, todo)
    return Finding("persistence", "bad", "none: a restart of Redis loses every accepted intent", todo)


def _configured(client: Redis, name: str) -> str | None:
    try:
        return dict(client.config_get(name)).get(name)
    except ResponseError:  # hosted servers forbid CONFIG
        return None


def _memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    most, used = int(info.get("maxmemory") or 0), int(info.get("used_memory") or 0)
    if not most:
        yield Finding("memory", "ok", f"{used / 2**20:,.0f} MiB used, no limit set")
        return
    says = f"{used / 2**20:,.0f} of {most / 2**20:,.0f} MiB used"
    level: Level = "ok" if used < FULL_WARN * most else "warn" if used < most else "bad"
    yield Finding(
        "memory", level, says, "" if level == "ok" else "When it is full, nothing is accepted any more."
    )


def _clock(skew_s: float) -> Finding:
    says = f"{abs(skew_s):.1f} s {'behind' if skew_s > 0 else 'ahead of'} that of Redis"
    if abs(skew_s) < SKEW_WARN_S:
        return Finding("clock", "ok", "this machine's clock agrees with that of Redis")
    todo = "Lanes go by the clock of Redis; occurred_at goes by that of your services: set both by NTP."
    return Finding("clock", "warn", f"this machine's clock is {says}", todo)


def _epoch(client: Redis, settings: Settings, now_ms: int) -> Finding:
    since_ms = int(client.hget(keyspace.EPOCH, "since") or 0)
    age_s = (now_ms - since_ms) / 1000
    if since_ms and age_s < settings.settle_window_s:
        says = f"Redis was restarted or failed over {age_s:.0f} s ago, and may have lost a moment"
        left_s = settings.settle_window_s - age_s
        todo = f"For {left_s:.0f} s more, new leads wait, so that none is made twice."
        return Finding("epoch", "warn", says, todo)
    return Finding("epoch", "ok", "no restart or failover lately")


# ── broker, workers, lanes ────────────────────────────────────────────────────────────────────────────────


def of_broker(view: BrokerView) -> Iterator[Finding]:
    """Reachable, and how long its queues are?"""
    if view.problem:
        yield Finding("broker", "bad", view.problem, view.todo)
        return
    waiting = ", ".join(f"{count:,} in {name}" for name, count in view.queues.items())
    yield Finding("broker", "ok", f"turns waiting: {waiting}")


def of_line(gate: Gate, words: str) -> Finding:
    """Is the line stopped?"""
    if gate.word == "paused":
        return Finding("line", "warn", words, "`onelane resume` starts it again.")
    if gate.word in ("open", "trial"):
        by_itself = "It is tried again by itself; a refused token needs a person. See the runbook: outage."
        return Finding("line", "bad", words, gate.todo or by_itself)
    if gate.word == "streak":
        return Finding("line", "warn", "running, but calls have failed lately")
    return Finding("line", "ok", "running")


def of_bulk(gate: Gate, words: str) -> Iterator[Finding]:
    """Are bulk intents stopped? Nothing to say if not."""
    if gate.stopped:
        todo = "Too many were rejected alike: mend what they bring. They run again by themselves after that."
        yield Finding("bulk", "bad", words, todo)


def of_lanes(found: Survey, limits: QueueSettings) -> Iterator[Finding]:
    """Stranded lanes, and how full the queue is."""
    stranded = [one for one in found.lanes if one.why == "stranded"]
    if stranded:
        says = f"{len(stranded):,} stranded: due for more than half a minute, and nobody came"
        yield Finding("lanes", "bad", says, "Is a worker running? `onelane lanes` shows them.")
    else:
        yield Finding("lanes", "ok", f"{len(found.lanes):,} with waiting intents, none stranded")
    share = found.fullest / limits.partition_max
    level: Level = "ok" if share < FULL_WARN else "warn" if share < 1 else "bad"
    noun = "intent waits" if found.pending == 1 else "intents wait"
    says = f"{found.pending:,} {noun}; the fullest partition holds {share:.0%} of its limit"
    todo = "" if level == "ok" else "At the limit enqueue raises QueueFull: add workers, or raise the limits."
    yield Finding("backlog", level, says, todo)


def of_dead_letters(client: Redis, settings: Settings) -> Finding:
    """Is there anything a person must look at? Old ones hold what was asked about people, word for word."""
    seconds, _ = client.time()
    pipe = client.pipeline(transaction=False)
    for partition in keyspace.PARTITIONS:
        pipe.zcard(keyspace.dead(partition))
        pipe.zrange(keyspace.dead(partition), 0, 0, withscores=True)
    answers = pipe.execute()
    count = sum(map(int, answers[::2]))
    if not count:
        return Finding("dead letters", "ok", "none")
    oldest_ms = min(int(at) for oldest in answers[1::2] for _, at in oldest)
    days = (seconds - oldest_ms // 1000) // DAY_S
    says = f"{count:,} to be looked at" + (f", the oldest for {days} days" if days > 1 else "")
    todo = "`onelane dead list` shows them; replay or discard them."
    if days >= OLD_LETTER_DAYS and settings.dead_letter_ttl_s is None:
        todo += " They are kept for ever: ONELANE_DEAD_LETTER_TTL_S gives them up after a time."
    return Finding("dead letters", "warn", says, todo)


# ── Intercom ──────────────────────────────────────────────────────────────────────────────────────────────


def of_workspace(reply: op.Reply, record: Record | None) -> Iterator[Finding]:
    """Is the token's workspace the queue's? Nothing is said while Intercom does not tell it."""
    match reply:
        case op.Done(workspace=None):
            todo = "No worker writes anything: nobody knows whose contacts that would be."
            yield Finding("workspace", "bad", "the answer to GET /me names none", todo)
        case op.Done(workspace=op.Workspace() as token):
            try:
                require_same(token, record)
            except OtherWorkspace as other:
                yield Finding("workspace", "bad", other.says, other.todo)
                return
            noted = "" if record else "; the first worker notes it for this queue"
            yield Finding("workspace", "ok", f"{token}{noted}")


def of_way(settings: Settings) -> Iterator[Finding]:
    """Who can read the token on its way? Nothing to say if nobody."""
    url = urlsplit(settings.intercom_url)
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        says = f"{url.hostname} is asked without TLS: who is on the way reads the token and everybody's data"
        yield Finding("transport", "warn", says, "Use https:// in ONELANE_INTERCOM_URL, but for a sandbox.")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def of_intercom(reply: op.Reply, settings: Settings) -> Iterator[Finding]:
    """Token, region, version: what the answer to GET /me says of them."""
    host = urlsplit(settings.intercom_url).netloc
    match reply:
        case op.Done(region=region):
            yield Finding("token", "ok", f"accepted by {host}")
            yield _region(region, host)
            yield Finding("version", "ok", f"Intercom-Version {settings.intercom_version}")
        case op.Throttled():
            yield Finding("token", "warn", f"{host} asks us to slow down", "See the runbook: a storm of 429.")
        case op.Stopped(problem=problem) if problem.kind == "unsupported":
            says = f"{host} refuses Intercom-Version {settings.intercom_version}: {_said(problem)}"
            yield Finding("version", "bad", says, "Correct ONELANE_INTERCOM_VERSION.")
        case op.Stopped(problem=problem) | op.Forbidden(problem=problem):
            todo = "Correct ONELANE_INTERCOM_TOKEN and ONELANE_INTERCOM_URL (each region has its own)."
            yield Finding("token", "bad", f"refused by {host}: {_said(problem)}", todo)
        case _:
            problem = getattr(reply, "problem", op.Problem(type(reply).__name__.lower()))
            todo = "Intercom is down, or not reachable from here. Nothing is lost: see the runbook, outage."
            yield Finding("token", "bad", f"{host} does not answer: {_said(problem)}", todo)


def _region(region: str | None, host: str) -> Finding:
    if region is None:
        return Finding("region", "ok", "not told")
    if host not in HOSTS.values():  # a sandbox, or a proxy: it stands where we put it
        return Finding("region", "ok", f"– ({host} is no host of Intercom's own)")
    wanted = HOSTS.get(region)
    if wanted is None or host == wanted:
        return Finding("region", "ok", region)
    todo = f"Set ONELANE_INTERCOM_URL=https://{wanted}: requests travel to another region and back."
    return Finding("region", "warn", f"the workspace is in {region}, but we ask {host}", todo)


def _said(problem: op.Problem) -> str:
    words = (problem.kind, problem.http_status, problem.code)
    return " ".join(str(word) for word in words if word is not None)
