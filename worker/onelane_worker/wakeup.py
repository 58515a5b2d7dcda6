"""Wakes the consumer's loop when a turn has ended.

With a pool of threads a turn is acknowledged in its own thread. That makes room for the next message, but
Celery's loop, asleep in its poll, does not notice until something else wakes it: under load the threads then
stand idle most of the time. A byte through a socket pair wakes it at once.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from celery import bootsteps


class WakeUpStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Part of the consumer; made anew for every connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def start(self, consumer: Any) -> None:
        if consumer.hub is None:  # pools without an event loop fetch by themselves
            return
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)
        consumer.hub.add_reader(self._ends[0].fileno(), self._drain)
        channel = consumer.task_consumer.channel
        channel.basic_ack = _and_then(channel.basic_ack, self._wake)

    def stop(self, consumer: Any) -> None:
        ends, self._ends = self._ends, None
        if ends is not None:
            consumer.hub.remove_reader(ends[0].fileno())
            for end in ends:
                end.close()

    def _wake(self) -> None:
        ends = self._ends
        if ends is not None:
            try:
                ends[1].send(b".")
            except OSError:  # full: it is about to wake anyway; or closed: there is nothing to wake
                return

    def _drain(self) -> None:
        if self._ends is not None:
            self._ends[0].recv(4096)


def _and_then(first: Callable[..., None], then: Callable[[], None]) -> Callable[..., None]:
    def both(*args: Any, **options: Any) -> None:
        first(*args, **options)
        then()

    return both
