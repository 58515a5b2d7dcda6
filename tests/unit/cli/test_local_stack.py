"""The processes of a local stack: awaited by condition, watched, stopped in order, none left behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from onelane_worker.cli import _local_stack as local
from onelane_worker.cli._local_stack import (
    ChildFailed,
    Interrupted,
    LocalStack,
    Program,
    environment,
    stop_on_signals,
)

OBEYS = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
print("bye")
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""
PARENT = f"""
import fcntl, subprocess, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], pass_fds=[lock.fileno()])
{STUBBORN}
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    with LocalStack(tmp_path, grace_s=0.2) as stack:
        yield stack


def start(stack: LocalStack, name: str, script: str, *args: str, readies: int = 1) -> Program:
    child = stack.start(name, [sys.executable, "-c", script, *args])
    stack.wait_until(lambda: child.text.count("ready") == readies, child)
    return child


def test_they_are_stopped_the_last_one_first(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = start(stack, "First", OBEYS), start(stack, "Second", OBEYS)
    order: list[str] = []
    stop = Program.stop
    monkeypatch.setattr(Program, "stop", lambda child, grace_s: (order.append(child.name), stop(child, 5.0)))

    stack.stop()

    assert order == ["Second", "First"]
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.tail() == "ready\nbye"


def test_one_that_does_not_stop_is_killed_with_all_it_started(stack: LocalStack, tmp_path: Path) -> None:
    child = start(stack, "Parent", PARENT, str(tmp_path / "lock"), readies=2)

    stack.stop()

    assert child.exit_code == -signal.SIGKILL
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held for as long as one of them lives


def test_one_that_ends_by_itself_is_named_with_the_end_of_its_log(stack: LocalStack) -> None:
    start(stack, "Good", OBEYS)
    stack.start("Bad", [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"])

    with pytest.raises(ChildFailed, match="Bad ended by itself with exit code 3") as caught:
        stack.watch()

    assert caught.value.tail == "the reason"


def test_one_that_does_not_get_ready_is_named(stack: LocalStack) -> None:
    child = start(stack, "Slow", OBEYS)

    with pytest.raises(ChildFailed, match=r"Slow was not ready within 0\.1 s"):
        stack.wait_until(lambda: False, child, timeout_s=0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_for_the_end(number: signal.Signals, stack: LocalStack) -> None:
    child = start(stack, "Child", OBEYS)

    with stop_on_signals(stack):
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            stack.wait_until(lambda: False, child)
        assert child.exit_code is None  # it is not theirs: they are stopped in order


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, grace_s=60)
    child = start(stack, "Stubborn", STUBBORN)
    stack.ask_to_stop()
    stopping = threading.Thread(target=stack.stop)
    stopping.start()

    stack.ask_to_stop()
    stopping.join(10)

    assert not stopping.is_alive()
    assert child.exit_code == -signal.SIGKILL


def test_a_program_says_what_is_waited_for_and_is_started_again(tmp_path: Path) -> None:
    script = "import os; print('I am', os.getpid(), flush=True)\n" + OBEYS
    program = Program("Worker", [sys.executable, "-c", script], os.environ, tmp_path / "log")
    with program:
        first = program.says(r"I am (\d+)")[1]
        program.kill()
        assert (program.exit_code, program.running) == (-signal.SIGKILL, False)
        program.start()
        assert program.says(r"I am (\d+)")[1] != first  # what it said before does not count

    assert program.exit_code == 0


def test_a_program_that_will_never_say_it_is_named_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no redis')"]
    with (
        Program("Worker", command, os.environ, tmp_path / "log") as program,
        pytest.raises(ChildFailed, match="Worker ended without saying 'ready'") as caught,
    ):
        program.says("ready")
    assert caught.value.tail == "no redis"
    assert caught.value.__notes__ == ["no redis"]


def test_settings_of_whoever_runs_it_do_not_reach_a_part() -> None:
    env = environment({"PATH": "/bin", "ONELANE_LEASE_S": "9"}, REDIS_URL="redis://here", CONCURRENCY=3)
    assert env == {"PATH": "/bin", "ONELANE_REDIS_URL": "redis://here", "ONELANE_CONCURRENCY": "3"}


def test_an_embedded_valkey_keeps_what_it_has_acknowledged(stack: LocalStack, tmp_path: Path) -> None:
    with Redis.from_url(local.start_valkey(stack, local.free_port(), tmp_path)) as client:
        client.set("accepted", 1)
    stack.ask_to_stop()
    stack.ask_to_stop()  # at once: it has no time to save
    stack.stop()

    again = LocalStack(tmp_path)
    with again, Redis.from_url(local.start_valkey(again, local.free_port(), tmp_path)) as client:
        assert client.get("accepted") == b"1"


STARTER = """
import sys
from pathlib import Path
from onelane_worker.cli import _local_stack as local
stack = local.LocalStack(Path(sys.argv[1]))
local.start_valkey(stack, int(sys.argv[2]), Path(sys.argv[1]), local.IN_MEMORY)
print("running", flush=True)
input()
"""


def test_what_a_killed_command_had_started_ends_with_it(stack: LocalStack, tmp_path: Path) -> None:
    port = local.free_port()
    command = [sys.executable, "-c", STARTER, str(tmp_path), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"running\n"
        assert local.redis_answers(local.redis_url(port))
        starter.kill()

    until = time.monotonic() + local.PATIENCE_S
    while local.redis_answers(local.redis_url(port)):
        assert time.monotonic() < until
        time.sleep(0.05)
