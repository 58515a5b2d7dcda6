"""Virtual time, and the threads of which one runs."""

from __future__ import annotations

from functools import partial

import pytest

from .scheduler import Alarm, Process, Scheduler, Unwind


def test_time_jumps_and_events_keep_their_order() -> None:
    scheduler, seen = Scheduler(100.0), list[object]()
    scheduler.at(105.0, lambda: seen.append(scheduler.now))
    scheduler.after(1.0, lambda: seen.append(scheduler.now))
    scheduler.after(1.0, lambda: seen.append("second"))
    scheduler.run()
    assert seen == [101.0, "second", 105.0]


def test_tasks_take_turns_where_they_wait() -> None:
    scheduler, seen = Scheduler(0.0), []

    def task(name: str, pause_s: float) -> None:
        for _ in range(3):
            seen.append((name, scheduler.now))
            scheduler.sleep(pause_s)

    process = Process("one")
    scheduler.spawn(process, lambda: task("a", 2.0))
    scheduler.spawn(process, lambda: task("b", 3.0))
    scheduler.run()
    assert seen == [("a", 0.0), ("b", 0.0), ("a", 2.0), ("b", 3.0), ("a", 4.0), ("b", 6.0)]


def test_an_alarm_brings_its_value() -> None:
    scheduler, seen = Scheduler(0.0), []
    alarm = Alarm(scheduler)
    scheduler.after(5.0, lambda: alarm.ring("first"))
    scheduler.after(6.0, lambda: alarm.ring("second"))
    scheduler.spawn(Process("one"), lambda: seen.append((alarm.wait(), scheduler.now)))
    scheduler.run()
    assert seen == [("first", 5.0)]


def test_a_dead_process_is_unwound_and_others_go_on() -> None:
    scheduler, seen = Scheduler(0.0), []
    dead, alive = Process("dead"), Process("alive")

    def task(process: Process) -> None:
        try:
            scheduler.sleep(2.0)
            seen.append(process.name)
        except Unwind:
            seen.append(f"{process.name} unwound")
            raise

    for process in (dead, alive):
        scheduler.spawn(process, partial(task, process))
    scheduler.at(1.0, lambda: setattr(dead, "alive", False))
    scheduler.run()
    assert seen == ["dead unwound", "alive"]


def test_a_frozen_process_goes_on_when_it_thaws() -> None:
    scheduler, seen = Scheduler(0.0), []
    process = Process("one")

    def task() -> None:
        scheduler.sleep(1.0)
        seen.append(scheduler.now)

    scheduler.spawn(process, task)
    scheduler.at(0.5, lambda: setattr(process, "frozen_until", 9.0))
    scheduler.run()
    assert seen == [9.0]


def test_failures_reach_the_outside_and_nobody_is_left() -> None:
    scheduler, seen = Scheduler(0.0), []

    def waits() -> None:
        try:
            scheduler.sleep(100.0)
        finally:
            seen.append("unwound")

    def fails() -> None:
        scheduler.sleep(1.0)
        raise ValueError("on purpose")

    scheduler.spawn(Process("one"), waits)
    scheduler.spawn(Process("two"), fails)
    with pytest.raises(ValueError, match="on purpose"):
        scheduler.run()
    scheduler.close()
    assert seen == ["unwound"]


def test_circles_are_noticed() -> None:
    scheduler = Scheduler(0.0, most_events=50)

    def again() -> None:
        scheduler.after(1.0, again)

    again()
    with pytest.raises(AssertionError, match="circles"):
        scheduler.run()
