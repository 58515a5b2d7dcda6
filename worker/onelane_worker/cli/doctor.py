"""`onelane doctor`: is everything fit to serve? For people, and as a probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelane_worker.cli import _output as output
from onelane_worker.cli._errors import NEGATIVE, UNREACHABLE, fail

if TYPE_CHECKING:
    from onelane import QueueSettings
    from onelane.tls import Target
    from onelane_worker.doctor import BrokerView
    from onelane_worker.finding import Finding
    from onelane_worker.planner.operations import Reply
    from onelane_worker.settings import Settings
    from onelane_worker.workspace import Record

_MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "bad": ("BAD", "bold red")}
_BROKER_S = 2.0


def doctor(
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Most seconds to wait for Intercom.")
    ] = 5.0,
    local: Annotated[
        bool, typer.Option("--local", help="Only: does Redis answer, and is a worker of this host alive?")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check everything: Redis, broker, workers, lanes, Intercom.

    As a probe: exit code 0 healthy, 1 something is bad, 4 Redis or the broker is unreachable. The probe of a
    container is --local: it is quick, and asks Intercom for nothing.
    """
    from onelane_worker.finding import verdict

    with output.progress("Asking", quiet=as_json) as say:
        findings, unreachable = _of_this_host() if local else _findings(say, timeout)
    worst = verdict(findings)
    if as_json:
        checks = [{"name": f.name, "level": f.level, "says": f.says, "todo": f.todo} for f in findings]
        output.print_json({"healthy": worst != "bad", "worst": worst, "checks": output.masked(checks)})
    else:
        _show(findings)
    if unreachable is not None:
        fail(UNREACHABLE, *unreachable)
    if worst == "bad":
        raise typer.Exit(NEGATIVE)


_Found = tuple[list["Finding"], tuple[str, str] | None]
"""What there is to say, and if the queue cannot be reached: what, and what that means."""


def _of_this_host() -> _Found:
    """A probe has a second: one connection, one try, and no import of what it does not need."""
    import socket

    from redis.exceptions import RedisError

    from onelane_worker.cli._config import open_redis
    from onelane_worker.finding import Finding, of_workers
    from onelane_worker.presence import alive
    from onelane_worker.redis_errors import said

    host = socket.gethostname()
    try:
        with open_redis(tries=1) as redis:
            names = [name for name in alive(redis) if name.endswith(f"@{host}")]
    except RedisError as error:
        return [Finding("redis", "bad", said(error))], _no_redis(error)
    return [Finding("redis", "ok", "answers"), of_workers(names, f" on {host}")], None


def _no_redis(error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    from onelane_worker.cli._config import where_redis_is
    from onelane_worker.redis_errors import refusal

    known = refusal(error)
    return ("Redis did not answer", where_redis_is()) if known is None else (str(known), known.todo)


def _findings(say: Any, timeout_s: float) -> _Found:
    from redis.exceptions import RedisError

    from onelane_worker import doctor as checkup
    from onelane_worker.cli._config import queue_settings, settings_of_workspace

    limits, settings = queue_settings(), settings_of_workspace()
    unreachable, record, reached = None, None, True
    say("Redis")
    try:
        findings, record = _of_queue(settings, limits)
    except RedisError as error:
        findings, reached = [checkup.without_redis(error)], False
        unreachable = _no_redis(error)
    if unreachable is None or settings.broker_url:  # else it is the same one
        say("the broker")
        broker = _ask_broker(settings.broker_target)
        findings += checkup.of_broker(broker)
        refuses = broker.problem.startswith("Redis")
        what = f"the broker's {broker.problem}" if refuses else "the broker is unreachable"
        away = what, "Intents are accepted and kept; nobody is woken for them."
        unreachable = unreachable or (away if broker.problem else None)
    say("Intercom")
    reply = probe(settings, timeout_s)
    findings += checkup.of_way(settings)
    findings += checkup.of_intercom(reply, settings)
    if reached:
        findings += checkup.of_workspace(reply, record)
    return findings, unreachable


def _of_queue(settings: Settings, limits: QueueSettings) -> tuple[list[Finding], Record | None]:
    """What Redis tells, and which workspace the queue belongs to."""
    from onelane_worker import doctor as checkup
    from onelane_worker.cli._config import open_redis
    from onelane_worker.cli.survey import bulk_words, line_words, look, look_bulk
    from onelane_worker.finding import of_workers
    from onelane_worker.lanes.survey import survey
    from onelane_worker.presence import alive
    from onelane_worker.workspace import on_record

    with open_redis() as redis:
        findings = [*checkup.of_redis(redis, settings)]
        gate = look(redis)
        findings.append(checkup.of_line(gate, line_words(gate)))
        bulk = look_bulk(redis)
        findings += checkup.of_bulk(bulk, bulk_words(bulk))
        findings += checkup.of_lanes(survey(redis, stopped=gate.stopped), limits)
        findings.append(checkup.of_dead_letters(redis, settings))
        findings.append(of_workers(alive(redis)))
        return findings, on_record(redis)


def _ask_broker(broker: Target) -> BrokerView:
    from onelane import keyspace
    from onelane_worker.doctor import BrokerView
    from onelane_worker.plain_app import plain_app
    from onelane_worker.redis_errors import refusal

    app = plain_app(broker)
    app.conf.broker_transport_options = {"socket_timeout": _BROKER_S, "socket_connect_timeout": _BROKER_S}
    try:
        with app.connection_for_read(connect_timeout=_BROKER_S) as connection:
            connection.ensure_connection(max_retries=0, timeout=_BROKER_S)
            names = [keyspace.broker_queue(queue) for queue in keyspace.QUEUES]
            return BrokerView({name: _length(connection, name) for name in names})
    except Exception as error:  # whatever kind of broker it is, with errors of its own
        known = refusal(error)
        if known is not None:
            return BrokerView({}, str(known), known.todo)
        return BrokerView({}, f"unreachable: {type(error).__name__}: {error}")
    finally:
        app.close()


def _length(connection: Any, queue: str) -> int:
    from onelane_worker.redis_errors import refusal

    try:
        return int(connection.default_channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors as error:
        if refusal(error) is not None:
            raise
        return 0  # no such queue yet: nothing waits in it


def probe(settings: Settings, timeout_s: float) -> Reply:
    """The answer to GET /me."""
    import time

    from onelane_worker.intercom.gateway import Gateway
    from onelane_worker.planner.operations import Probe, Problem, Stopped

    if not settings.intercom_token.get_secret_value():
        return Stopped(Problem("no_token", message="ONELANE_INTERCOM_TOKEN is not set"))
    gateway = Gateway(settings)
    try:
        return gateway.perform(Probe(), now_ms=lambda: 0, deadline=time.monotonic() + timeout_s)
    finally:
        gateway.close()


def _show(findings: Sequence[Finding]) -> None:
    output.print_facts([fact for one in findings for fact in _facts(one)])
    bad, warned = (sum(one.level == level for one in findings) for level in ("bad", "warn"))
    words = [f"{bad} bad" if bad else "", output.many(warned, "warning") if warned else ""]
    counted = ", ".join(filter(None, words))
    told = f"{'Not fit' if bad else 'Fit'} to serve{f': {counted}' if counted else ''}."
    output.tell("")
    output.tell(told, style="bold red" if bad else "bold yellow" if warned else "bold green")


def _facts(finding: Finding) -> list[output.Fact]:
    said = [output.Fact(finding.name, finding.says, *_MARKS[finding.level])]
    return [*said, output.Fact("", f"→ {finding.todo}")] if finding.todo else said
