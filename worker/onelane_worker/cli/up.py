"""`onelane up`: a whole Onelane on this machine, in one terminal, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelane_worker.cli import _extras as extras
from onelane_worker.cli import _local_stack as local
from onelane_worker.cli import _output as output
from onelane_worker.cli import state
from onelane_worker.cli._config import REDIS_URL, is_set, worker_settings
from onelane_worker.cli._errors import NEGATIVE, UNREACHABLE, USAGE, fail
from onelane_worker.cli._local_stack import ChildFailed, Interrupted, LocalStack, Program, stop_on_signals
from onelane_worker.cli.sandbox import AttributeOption, lag_words, parse_attributes, parse_lag

if TYPE_CHECKING:
    from onelane_worker.settings import Settings

URL = "ONELANE_INTERCOM_URL"
TOKEN = "ONELANE_INTERCOM_TOKEN"
DURABLE = "ONELANE_REDIS_DURABLE"
REDIS_PORT, SANDBOX_PORT, FLOWER_PORT = 6379, 8089, 5555
_NEIGHBOURS = 20
_PORTS = "Ports (without an option: the usual one, or the next that is free)"
Port = Annotated[int | None, typer.Option(min=0, max=65535, rich_help_panel=_PORTS, show_default=False)]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run, and where."""

    data: Path
    index_lag: str
    attributes: tuple[str, ...]
    concurrency: int
    redis_port: int | None
    """None: the environment names a Redis."""
    sandbox_port: int | None
    """None: the environment names a workspace of Intercom."""
    flower_port: int | None
    """None: Flower is not installed."""


@dataclass(frozen=True, slots=True)
class Running:
    """What runs, and where."""

    redis: str | None
    """URL of the embedded Valkey."""
    sandbox: str | None
    flower: str | None

    def document(self, settings: Settings) -> dict[str, Any]:
        """For `--json`, and for the commands in other terminals. A configured URL may hold a password."""
        return {
            "redis": self.redis,
            "broker": None if settings.broker_url else self.redis,
            "sandbox": self.sandbox,
            "flower": self.flower,
            "pid": os.getpid(),
        }


def up(
    index_lag: Annotated[
        str,
        typer.Option(
            metavar="S|MIN-MAX", help="How far the sandbox's search lags behind writes, in seconds."
        ),
    ] = "2-120",
    attribute: AttributeOption = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep queue and logs here; without it they end with `up`."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Lanes served at the same time.", show_default="64")
    ] = None,
    redis_port: Port = None,
    sandbox_port: Port = None,
    flower_port: Port = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the addresses as JSON, once all is ready.")
    ] = False,
) -> None:
    """Run everything here: Redis, an Intercom sandbox, a worker, Flower.

    What ONELANE_REDIS_URL and ONELANE_INTERCOM_TOKEN name is used, and not started.
    """
    extras.require("sandbox", "`onelane up`")
    if flower_port is not None:
        extras.require("flower", "--flower-port")
    parse_lag(index_lag)
    if parse_attributes(attribute or ()) and is_set(TOKEN):
        fail(USAGE, f"--attribute is for the sandbox, and {TOKEN} names a workspace of Intercom")
    settings = worker_settings()
    if is_set(REDIS_URL):
        _require_usable_redis(settings)
    with _claim() as claim, _directory(data) as kept:
        plan = Plan(
            data=kept,
            index_lag=index_lag,
            attributes=tuple(attribute or ()),
            concurrency=concurrency or settings.concurrency,
            redis_port=_port(REDIS_URL, redis_port, REDIS_PORT, "--redis-port"),
            sandbox_port=_port(TOKEN, sandbox_port, SANDBOX_PORT, "--sandbox-port"),
            flower_port=_flower_port(flower_port),
        )
        _run(plan, settings, claim, as_json)
    if not as_json:
        typer.echo("Everything has stopped.", err=True)


def _require_usable_redis(settings: Settings) -> None:
    """End the command unless a worker can rely on this Redis."""
    from onelane_worker.bootstrap import require_usable_redis
    from onelane_worker.operate.redis_requirements import Unfit

    try:
        require_usable_redis(settings)
    except ValueError as error:
        fail(USAGE, f"ONELANE_REDIS_URL: {error}")
    except Unfit as unfit:
        fail(UNREACHABLE if unfit.unreachable else NEGATIVE, str(unfit))


def _port(variable: str, wanted: int | None, usual: int, option: str) -> int | None:
    """Where to start our own; None if the variable names one that is there."""
    return None if is_set(variable) else choose_port(wanted, usual, option)


def _flower_port(wanted: int | None) -> int | None:
    """Where to start Flower; None without the extra [flower]."""
    if not extras.is_installed("flower"):
        return None
    return choose_port(wanted, FLOWER_PORT, "--flower-port")


def choose_port(wanted: int | None, usual: int, option: str) -> int:
    """The wanted port; else the usual one or a neighbour, whichever is free first."""
    if wanted is not None:
        if wanted and not _is_free(wanted):
            fail(NEGATIVE, f"port {wanted} is taken", f"Choose another one with {option}.")
        return wanted or local.free_port()
    ports = range(usual, usual + _NEIGHBOURS)
    return next((port for port in ports if _is_free(port)), None) or local.free_port()


def _is_free(port: int) -> bool:
    try:
        socket.create_server((local.HOST, port)).close()
    except OSError:
        return False
    return True


@contextmanager
def _claim() -> Iterator[state.Claim]:
    try:
        with state.claim() as claim:
            yield claim
    except state.AlreadyUp:
        known = state.addresses()
        flower = f", Flower at {known['flower']}" if known.get("flower") else ""
        where = f" (process {known['pid']}{flower})" if known else ""
        fail(NEGATIVE, f"`onelane up` is running already{where}", "Stop that one first, or use it as it is.")


@contextmanager
def _directory(data: Path | None) -> Iterator[Path]:
    """Where queue and logs are kept."""
    with nullcontext(data) if data is not None else tempfile.TemporaryDirectory(prefix="onelane-") as place:
        try:
            (Path(place) / "logs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fail(
                NEGATIVE,
                f"cannot write to {place}: {error.strerror}",
                "Choose another directory with --data.",
            )
        yield Path(place).resolve()


def _run(plan: Plan, settings: Settings, claim: state.Claim, as_json: bool) -> None:
    stack = LocalStack(plan.data / "logs")
    with stop_on_signals(stack), stack:
        try:
            with output.progress("Starting", quiet=as_json) as say:
                running = _start(stack, plan, say)
            claim.publish(running.document(settings))
            if as_json:
                output.print_json(running.document(settings))
            else:
                _show(running, plan)
            stack.watch()
        except Interrupted:
            pass
        except ChildFailed as failed:
            fail(NEGATIVE, str(failed), "The end of its log:", failed.tail.splitlines())
        if not as_json:
            typer.echo(
                "Stopping: the worker ends what it is at. Ctrl-C again ends everything at once.", err=True
            )


def _start(stack: LocalStack, plan: Plan, say: Callable[[str], None]) -> Running:
    say(
        "Valkey, the sandbox, Flower and a worker" if plan.flower_port else "Valkey, the sandbox and a worker"
    )
    env = dict(os.environ)
    redis = sandbox = flower = None
    to_await: list[tuple[Callable[[], bool], Program]] = []
    if plan.redis_port is not None:
        redis = env[REDIS_URL] = local.start_valkey(stack, plan.redis_port, plan.data)
        env[DURABLE] = "true"  # so nothing is held back after its restart
    if plan.sandbox_port is not None:
        sandbox = env[URL] = local.http_url(plan.sandbox_port)
        env[TOKEN] = local.SANDBOX_TOKEN
        program = local.start_sandbox(stack, plan.sandbox_port, plan.index_lag, plan.attributes)
        to_await.append((partial(local.sandbox_answers, sandbox), program))
    if plan.flower_port is not None:
        flower = local.http_url(plan.flower_port)
        program = local.start_flower(stack, plan.flower_port, plan.data, env)
        to_await.append((partial(local.flower_sees_a_worker, flower), program))
    worker = local.start_worker(stack, env, "--concurrency", str(plan.concurrency))  # the first to be stopped
    to_await.append((partial(local.is_ready, worker), worker))
    for ready, program in to_await:
        stack.wait_until(ready, program)
    return Running(redis, sandbox, flower)


def _show(running: Running, plan: Plan) -> None:
    from rich.markup import escape
    from rich.panel import Panel
    from rich.table import Table

    lag = lag_words(parse_lag(plan.index_lag))
    rows = Table.grid(padding=(0, 2))
    if running.flower is None:
        rows.add_row("Flower", escape(f"not installed: {extras.how_to_install('flower')}"))
    else:
        rows.add_row("Flower", f"[bold]{running.flower}[/]")
    if running.sandbox is None:
        rows.add_row("Intercom", "the workspace of ONELANE_INTERCOM_TOKEN")
    else:
        rows.add_row("Sandbox", f"[bold]{running.sandbox}[/]  index lag {lag}")
        rows.add_row("", f"{running.sandbox}/_sandbox/contacts  the true state")
    rows.add_row("Redis", f"[bold]{running.redis}[/]  embedded" if running.redis else f"that of {REDIS_URL}")
    rows.add_row("Worker", f"{plan.concurrency} lanes at a time")
    rows.add_row("Logs", f"{plan.data}/logs")
    console = output.console()
    console.print(Panel(rows, title="Onelane is up", subtitle="Ctrl-C stops everything", expand=False))
    console.print("In another terminal:")
    console.print("  onelane enqueue newsletter-opt-in --email ann@example.test --wait 10", soft_wrap=True)
    if running.redis:
        console.print("And for a service of yours:")
        console.print(f"  export {REDIS_URL}={running.redis}", soft_wrap=True)
