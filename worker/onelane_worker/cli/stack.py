"""The parts of a whole Onelane on one machine: how each is started, and how it is known to be ready."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from onelane_worker.cli.exits import NEGATIVE, fail
from onelane_worker.cli.processes import Child, Children

HOST = "127.0.0.1"
REDIS_PORT = 6379
SANDBOX_PORT = 8089
FLOWER_PORT = 5555
FLOWER_COLUMNS = "name,uuid,kwargs,state,retries,exception,result,received,runtime"
"""What a person wants of an intent's row. Flower's own choice hides the retries and why; the last columns are
beyond the edge of most screens."""
SANDBOX_TOKEN = "sandbox"  # any will do
DEFAULT_CONCURRENCY = 16
_NEIGHBOURS = 20
_HTTP_TIMEOUT_S = 5.0
_SAVE_MS = 10_000


_PYTHON = [sys.executable, "-P"]
"""Without the current folder on the import path: it may hold a redis.py or a celery.py of the user's."""
_CELERY = [*_PYTHON, "-c", "import onelane_worker.app; from celery.__main__ import main; main()"]
"""The command `celery`, with the app imported before it puts the current folder on the path to import it."""


def worker_command(concurrency: int, loglevel: str, name: str | None = None) -> list[str]:
    """A worker process, as `onelane worker` runs it."""
    options = ["--concurrency", str(concurrency), "--loglevel", loglevel]
    return [*_PYTHON, "-m", "onelane_worker", "worker", *options, *(["--name", name] if name else [])]


def start_valkey(children: Children, port: int, directory: Path) -> Child:
    """An embedded Valkey at `redis_url(port)`; it is ready once `redis_answers`."""
    return children.start("Valkey", [*_PYTHON, "-m", "onelane_worker.cli.valkey", str(port), str(directory)])


def redis_url(port: int) -> str:
    """Where the embedded Valkey of this port is."""
    return f"redis://{HOST}:{port}/0"


def http_url(port: int) -> str:
    """Where the sandbox or the Flower of this port is."""
    return f"http://{HOST}:{port}"


def start_sandbox(children: Children, port: int, index_lag: str, attributes: Sequence[str] = ()) -> Child:
    """A sandbox as `onelane sandbox` runs it, on this port; it is ready once `sandbox_answers`."""
    command = [*_PYTHON, "-m", "onelane_worker", "sandbox", "--host", HOST, "--port", str(port)]
    options = ["--index-lag", index_lag, *(f"--attribute={one}" for one in attributes)]
    return children.start("Sandbox", [*command, *options])


def sandbox_answers(url: str) -> bool:
    """Whether the sandbox serves."""
    return http_json(f"{url}/_sandbox/index") is not None


def start_worker(
    children: Children, env: Mapping[str, str], concurrency: int = DEFAULT_CONCURRENCY, loglevel: str = "info"
) -> Child:
    """A worker; it is ready once `a_worker_is_ready`."""
    return children.start("Worker", worker_command(concurrency, loglevel), env)


def start_flower(children: Children, port: int, directory: Path, env: Mapping[str, str]) -> Child:
    """Flower; it is ready once `flower_sees_a_worker`. What it has seen is kept in `directory`.

    It writes nothing, so it gets no token of Intercom. Its API stays closed: open to callers without a login
    it would be open to every web page in this machine's browser.
    """
    flower = [*_CELERY, "-A", "onelane_worker.app", "flower"]
    options = [f"--address={HOST}", f"--port={port}", f"--tasks_columns={FLOWER_COLUMNS}"]
    options += ["--persistent=True", f"--db={directory / 'flower'}", f"--state_save_interval={_SAVE_MS}"]
    allowed = {name: value for name, value in env.items() if name != "ONELANE_INTERCOM_TOKEN"}
    return children.start("Flower", [*flower, *options], allowed)


def a_worker_is_ready(redis_url: str) -> bool:
    """Whether a worker serves the lanes of this Redis: its consumer is connected."""
    import redis

    from onelane_worker.presence import alive

    with redis.Redis.from_url(redis_url) as client:
        try:
            return bool(alive(client))
        except redis.RedisError:
            return False


def flower_sees_a_worker(url: str) -> bool:
    """Whether Flower serves, and has heard a worker: from now on it misses no row."""
    answer = http_json(f"{url}/workers?json=1")
    return bool(isinstance(answer, dict) and answer.get("data"))


def http_json(url: str) -> object:
    """The JSON behind a local URL; None if there is none (yet)."""
    from urllib.request import ProxyHandler, build_opener  # late: every command imports this module

    try:
        with build_opener(ProxyHandler({})).open(url, timeout=_HTTP_TIMEOUT_S) as response:
            answer: object = json.load(response)
            return answer
    except (OSError, ValueError):
        return None


def redis_answers(url: str) -> bool:
    """Whether a Redis serves there."""
    import redis

    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:  # not yet, or still loading what it kept
            return False


def without_onelane_settings() -> dict[str, str]:
    """The environment, without any setting of Onelane: for what must not depend on the operator's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ONELANE_")}


def choose_port(wanted: int | None, usual: int, option: str) -> int:
    """The wanted port; else the usual one or a neighbour, whichever is free first."""
    if wanted is not None:
        if wanted and not _is_free(wanted):
            fail(NEGATIVE, f"port {wanted} is taken", f"Choose another one with {option}.")
        return wanted or any_free_port()
    ports = range(usual, usual + _NEIGHBOURS)
    return next((port for port in ports if _is_free(port)), None) or any_free_port()


def _is_free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def any_free_port() -> int:
    """A port that nobody has."""
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
