"""`onelane doctor`: is everything fit to serve? For people, and as a probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli import output
from worker.cli.exits import NEGATIVE, UNREACHABLE, fail

if TYPE_CHECKING:
    from worker.core.operations import Reply
    from worker.doctor import BrokerView, Finding
    from worker.settings import Settings

_MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "bad": "[red]BAD [/]"}
_PING_S = 1.0
_BROKER_S = 2.0


def doctor(
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Most seconds to wait for Intercom.")
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check everything: Redis, broker, workers, lanes, Intercom.

    As a probe: exit code 0 healthy, 1 something is bad, 4 Redis or the broker is unreachable.
    """
    from worker import doctor as checkup

    with output.progress("Asking", quiet=as_json) as say:
        findings, broker = _findings(say, timeout)
    worst = checkup.verdict(findings)
    if as_json:
        checks = [{"name": f.name, "level": f.level, "says": f.says, "todo": f.todo} for f in findings]
        output.print_json({"healthy": worst != "bad", "worst": worst, "checks": output.masked(checks)})
    else:
        _show(findings)
    if broker.problem:
        fail(
            UNREACHABLE,
            "the broker is unreachable",
            "Intents are accepted and kept; nobody is woken for them.",
        )
    if worst == "bad":
        raise typer.Exit(NEGATIVE)


def _findings(say: Any, timeout_s: float) -> tuple[list[Finding], BrokerView]:
    from worker import doctor as checkup
    from worker.breaker import Breaker
    from worker.cli.config import open_redis, queue_settings, settings_of_workspace
    from worker.cli.survey import line_words
    from worker.lanes.survey import survey

    given = queue_settings()
    settings = settings_of_workspace()
    with open_redis() as redis:
        say("Redis")
        findings = [*checkup.of_redis(redis, settings)]
        found, dead = survey(redis), checkup.of_dead_letters(redis)
        gate = Breaker(redis, calls=1, lanes=1, pause_ms=1).look()
    say("the broker and the workers")
    broker = _ask_broker(settings.broker)
    findings += [*checkup.of_broker(broker), checkup.of_line(gate, line_words(gate))]
    findings += [*checkup.of_lanes(found, given), dead]
    say("Intercom")
    findings += [*checkup.of_intercom(_probe(settings, timeout_s), settings)]
    return findings, broker


def _ask_broker(url: str) -> BrokerView:
    from celery import Celery

    from producers import keyspace
    from worker.doctor import BrokerView

    app = Celery("onelane", broker=url, set_as_current=False)
    app.conf.broker_transport_options = {
        "socket_timeout": _BROKER_S + _PING_S,
        "socket_connect_timeout": _BROKER_S,
    }
    try:
        with app.connection_for_read(connect_timeout=_BROKER_S) as connection:
            connection.ensure_connection(max_retries=0, timeout=_BROKER_S)
            names = [keyspace.broker_queue(queue) for queue in keyspace.QUEUES]
            queues = {name: _length(connection, name) for name in names}
            answers = app.control.ping(timeout=_PING_S, connection=connection)
    except Exception as error:  # whatever kind of broker it is, with errors of its own
        return BrokerView({}, problem=type(error).__name__)
    finally:
        app.close()
    return BrokerView(queues, tuple(name for answer in answers for name in answer))


def _length(connection: Any, queue: str) -> int:
    try:
        return int(connection.default_channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:  # no such queue yet: nothing waits in it
        return 0


def _probe(settings: Settings, timeout_s: float) -> Reply:
    import time

    from worker.core.operations import Probe, Problem, Stopped
    from worker.intercom.gateway import Gateway

    if not settings.intercom_token.get_secret_value():
        return Stopped(Problem("no_token", message="ONELANE_INTERCOM_TOKEN is not set"))
    gateway = Gateway(settings)
    try:
        return gateway.perform(Probe(), now_ms=lambda: 0, deadline=time.monotonic() + timeout_s)
    finally:
        gateway.close()


def _show(findings: Sequence[Finding]) -> None:
    console = output.console()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        console.print(f"{_MARKS[finding.level]}  ", end="")
        console.print(
            f"{finding.name.ljust(width)}  {output.masked(finding.says)}", markup=False, soft_wrap=True
        )
        if finding.todo:
            console.print(f"{' ' * (width + 8)}{finding.todo}", markup=False, soft_wrap=True)
