"""`onelane doctor`: is everything fit to serve? For people, and as a probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelane_worker.cli import _output as output
from onelane_worker.cli._errors import NEGATIVE, UNREACHABLE, fail

if TYPE_CHECKING:
    from onelane_worker.engine.workspace_check import Record
    from onelane_worker.operate.finding import Finding
    from onelane_worker.operate.health import BrokerView
    from onelane_worker.operate.open_workspace import OpenWorkspace
    from onelane_worker.planner.operations import Reply
    from onelane_worker.settings import Settings

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
    from onelane_worker.operate.finding import verdict

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
    """A probe has a second: one try, and no waiting."""
    import socket

    from redis.exceptions import RedisError

    from onelane_worker.cli._config import run
    from onelane_worker.operate.engines import alive
    from onelane_worker.operate.finding import Finding, of_workers
    from onelane_worker.redis_errors import said

    host = socket.gethostname()
    try:
        names = [one.name for one in run(alive, patience_s=0) if one.name.endswith(f"@{host}")]
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

    from onelane_worker.cli._config import run, settings_of_workspace
    from onelane_worker.operate import health, intercom_health

    settings = settings_of_workspace()
    unreachable, record, reached = None, None, True
    say("Redis")
    try:
        findings, record = run(lambda opened: _of_queue(opened, settings))
    except RedisError as error:
        findings, reached = [health.without_redis(error)], False
        unreachable = _no_redis(error)
    if unreachable is None or settings.broker_url:  # else it is the same one
        say("the broker")
        broker = _ask_broker(settings)
        findings.append(health.of_broker(broker))
        refuses = broker.problem.startswith("Redis")
        what = f"the broker's {broker.problem}" if refuses else "the broker is unreachable"
        away = what, "Intents are accepted and kept; workers find them without a wake-up, a little later."
        unreachable = unreachable or (away if broker.problem else None)
    say("Intercom")
    reply = probe(settings, timeout_s)
    findings += intercom_health.of_way(settings)
    findings += intercom_health.of_intercom(reply, settings)
    if reached:
        findings += intercom_health.of_workspace(reply, record)
    return findings, unreachable


async def _of_queue(opened: OpenWorkspace, settings: Settings) -> tuple[list[Finding], Record | None]:
    """What Redis tells, and which workspace of Intercom the queue belongs to."""
    from onelane_worker.cli import _breaker_words as breaker_words
    from onelane_worker.engine.workspace_check import record_calls, recorded
    from onelane_worker.operate import engines, health, pause
    from onelane_worker.operate.finding import of_workers
    from onelane_worker.operate.survey import survey

    findings = await health.of_redis(opened, settings)
    service = await pause.look(opened)
    breaker, bulk = (breaker_words.document(view) for view in (service.breaker, service.bulk))
    found = await survey(opened, stopped=service.stopped)
    names = [one.name for one in await engines.alive(opened)]
    findings += [
        health.of_failover(service, settings),
        health.of_breaker(service, breaker_words.words(breaker), breaker["todo"] or ""),
        *health.of_bulk(service, breaker_words.words(bulk)),
        *health.of_lanes(found, settings.pending_max),
        await health.of_dead_letters(opened, settings),
        of_workers(names),
        health.of_wakes(found),
    ]
    return findings, recorded(await opened.ask(record_calls(opened.keys)))


def _ask_broker(settings: Settings) -> BrokerView:
    from kombu.connection import Connection

    from onelane.keys import wake_queue
    from onelane_worker.operate.health import BrokerView
    from onelane_worker.redis_errors import refusal

    target = settings.broker_target
    bounds = {"socket_timeout": _BROKER_S, "socket_connect_timeout": _BROKER_S}
    options = bounds if target.url.startswith(("redis", "sentinel")) else {}
    try:
        with Connection(  # type: ignore[no-untyped-call]
            target.url,
            connect_timeout=_BROKER_S,
            transport_options=options,
            ssl=dict(target.tls) or False,
        ) as connection:
            connection.ensure_connection(max_retries=0, timeout=_BROKER_S)
            return BrokerView(_length(connection, wake_queue(settings.workspace)))
    except Exception as error:  # whatever kind of broker it is, with errors of its own
        known = refusal(error)
        if known is not None:
            return BrokerView(0, str(known), known.todo)
        return BrokerView(0, f"unreachable: {type(error).__name__}: {error}")


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
    import asyncio

    from onelane_worker.planner.operations import Probe, Problem, Stopped, Unknown

    if not settings.intercom_token.get_secret_value():
        return Stopped(Problem("no_token", message="ONELANE_INTERCOM_TOKEN is not set"))
    from onelane_worker.intercom.client import IntercomClient

    async def ask() -> Reply:
        client = IntercomClient(settings)
        try:
            async with asyncio.timeout(timeout_s):
                send_by = asyncio.get_running_loop().time() + timeout_s
                reply: Reply = await client.perform(Probe(), now_ms=lambda: 0, send_by=send_by)
                return reply
        except TimeoutError:
            return Unknown(Problem("timeout", message=f"no answer within {timeout_s:g} s"))
        finally:
            await client.aclose()

    return asyncio.run(ask())


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
