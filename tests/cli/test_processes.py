"""Children: awaited by condition, watched, and stopped in order."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onelane_worker.cli.processes import Child, ChildFailed, Children, Interrupted, stop_on_signals

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
def children(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path, grace_s=0.2) as children:
        yield children


def start(children: Children, name: str, script: str, *args: str, readies: int = 1) -> Child:
    child = children.start(name, [sys.executable, "-c", script, *args])
    children.wait_until(lambda: child.tail().count("ready") == readies, child)
    return child


def test_they_are_stopped_the_last_one_first(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = start(children, "First", OBEYS), start(children, "Second", OBEYS)
    order: list[str] = []
    stop = Child.stop
    monkeypatch.setattr(Child, "stop", lambda child, grace_s: (order.append(child.name), stop(child, 5.0)))

    children.stop()

    assert order == ["Second", "First"]
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.tail() == "ready\nbye"


def test_one_that_does_not_stop_is_killed_with_all_it_started(children: Children, tmp_path: Path) -> None:
    child = start(children, "Parent", PARENT, str(tmp_path / "lock"), readies=2)

    children.stop()

    assert child.exit_code == -signal.SIGKILL
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held for as long as one of them lives


def test_one_that_ends_by_itself_is_named_with_the_end_of_its_log(children: Children) -> None:
    start(children, "Good", OBEYS)
    children.start("Bad", [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"])

    with pytest.raises(ChildFailed, match="Bad ended by itself with exit code 3") as caught:
        children.watch()

    assert caught.value.tail == "the reason"


def test_one_that_does_not_get_ready_is_named(children: Children) -> None:
    child = start(children, "Slow", OBEYS)

    with pytest.raises(ChildFailed, match=r"Slow was not ready within 0\.1 s"):
        children.wait_until(lambda: False, child, timeout_s=0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_for_the_end(number: signal.Signals, children: Children) -> None:
    child = start(children, "Child", OBEYS)

    with stop_on_signals(children):
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            children.wait_until(lambda: False, child)
        assert child.exit_code is None  # it is not theirs: they are stopped in order


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    children = Children(tmp_path, grace_s=60)
    child = start(children, "Stubborn", STUBBORN)
    children.ask_to_stop()
    stopping = threading.Thread(target=children.stop)
    stopping.start()

    children.ask_to_stop()
    stopping.join(10)

    assert not stopping.is_alive()
    assert child.exit_code == -signal.SIGKILL
