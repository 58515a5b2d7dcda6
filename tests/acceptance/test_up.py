"""`onelane up`: everything on one machine, used from another terminal, and gone at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from redis import Redis

from onelane_sandbox.client import SandboxControl
from onelane_worker.cli._local_stack import http_json

from .commands import Terminal, is_alive, sessions_of
from .processes import wait_until

PORTS = ["--redis-port", "0", "--sandbox-port", "0", "--flower-port", "0"]
EMAIL = "ann@example.test"


@contextmanager
def running(
    terminal: Terminal, *options: str, open_api: bool = True, **env: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`onelane up` and the addresses that it printed. `open_api`: tests may ask Flower's API."""
    given = {**env, "FLOWER_UNAUTHENTICATED_API": "true"} if open_api else env
    with terminal.start("up", "--json", *PORTS, *options, env=given) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield process, json.loads(line)
        finally:
            if process.poll() is None:
                process.terminate()


def test_up_is_used_from_another_terminal_and_stops_without_a_trace(terminal: Terminal) -> None:
    with running(terminal, "--index-lag", "60", "--attribute", "plan") as (up, known):
        started = sessions_of(up.pid)
        sandbox = SandboxControl(known["sandbox"])

        command = [
            "enqueue",
            "newsletter-opt-in",
            "--email",
            EMAIL,
            "--attribute",
            "plan=pro",
            "--wait",
            "20",
        ]
        ended = terminal.run(*command, "--json")

        assert (ended.code, ended.json["outcome"]["result"]) == (0, "created")
        [contact] = sandbox.contacts()
        assert (contact["email"], contact["custom_attributes"]) == (EMAIL, {"plan": "pro"})
        wait_until(lambda: ended.json["id"] in (http_json(f"{known['flower']}/api/tasks") or {}))
        tasks = http_json(f"{known['flower']}/api/tasks")
        assert isinstance(tasks, dict)
        row = tasks[ended.json["id"]]
        assert (row["name"], row["state"]) == ("contacts.newsletter_opt_in", "SUCCESS")
        assert terminal.run("lane", EMAIL).code == 0
        assert terminal.run("doctor").code == 0

        up.send_signal(signal.SIGINT)
        out, err = up.communicate(timeout=40)

    assert (up.returncode, out, err) == (0, "", "")
    assert len(started) == 4
    assert not [one for one in started if is_alive(one)]
    assert not list((Path(terminal.env["XDG_STATE_HOME"]) / "onelane").iterdir())


def test_a_child_that_dies_ends_up_and_is_named(terminal: Terminal) -> None:
    with running(terminal) as (up, _):
        started = sessions_of(up.pid)
        ps = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(up.pid)], capture_output=True, text=True)
        [worker] = [line.split()[0] for line in ps.stdout.splitlines() if "_child worker" in line]
        os.kill(int(worker), signal.SIGKILL)
        _, err = up.communicate(timeout=40)

    assert up.returncode == 1
    assert err.startswith("onelane: Worker ended by itself with exit code -9\n")
    assert not [one for one in started if is_alive(one)]


def test_what_is_kept_in_data_is_there_again(terminal: Terminal, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept")
    with running(terminal, "--data", kept) as (up, known):
        receipt = terminal.run("enqueue", "lead-capture", "--email", EMAIL, "--wait", "20", "--json").json[
            "id"
        ]
        wait_until(lambda: flowers_state(known, receipt) == "SUCCESS")
        up.send_signal(signal.SIGTERM)
        assert up.wait(40) == 0

    with running(terminal, "--data", kept) as (_, known):
        assert terminal.run("status", receipt, "--json").json["state"] == "done"
        assert flowers_state(known, receipt) == "SUCCESS"


def flowers_state(known: dict[str, Any], receipt: str) -> object:
    tasks = http_json(f"{known['flower']}/api/tasks")
    row = tasks.get(receipt, {}) if isinstance(tasks, dict) else {}
    return row.get("state")


def test_a_configured_redis_and_workspace_are_used(
    terminal: Terminal, valkey: Redis, valkey_url: str
) -> None:
    env = {"ONELANE_REDIS_URL": f"{valkey_url}/0", "ONELANE_INTERCOM_TOKEN": "a-token"}
    env["ONELANE_INTERCOM_URL"] = "http://127.0.0.1:1"
    with running(terminal, open_api=False, **env) as (up, known):
        assert (known["redis"], known["sandbox"]) == (None, None)
        started = sessions_of(up.pid)
        assert len(started) == 2

        # Flower reads and writes nothing there, and a page of another origin learns nothing from it
        with_token = [pid for pid in started if b"a-token" in Path(f"/proc/{pid}/environ").read_bytes()]
        assert len(with_token) == 1
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"{known['flower']}/api/tasks", headers={"Origin": "https://evil.test"}))
        with refused.value as answer:
            assert answer.code == 401
            assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_port_that_is_taken(terminal: Terminal, valkey_url: str) -> None:
    port = valkey_url.rpartition(":")[2]

    ended = terminal.run("up", "--redis-port", port)

    assert (ended.code, ended.err) == (
        1,
        f"onelane: port {port} is taken\n  Choose another one with --redis-port.\n",
    )
