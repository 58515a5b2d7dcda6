"""The connection to the broker breaks for a moment: Flower hears again how intents ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery
from tests.chaos.proxy import Proxy

from onelane import ProductSignUp

from .processes import wait_until
from .world import OpenWorld


def test_ends_are_told_again_when_the_connection_is_back(open_world: OpenWorld) -> None:
    """What was sent while it broke may have reached nobody: the row would say STARTED for ever."""
    world = open_world(workers=0)
    address, _, number = world.redis_url.removeprefix("redis://").partition("/")
    host, port = address.split(":")
    heard: list[tuple[str, float]] = []
    with Proxy(host, int(port)) as proxy, listening(world.redis_url, heard):
        world.start_workers(1, BROKER_URL=f"redis://127.0.0.1:{proxy.port}/{number}")
        enable_events(world.redis_url)
        receipt = world.queue.enqueue(ProductSignUp(email="ann@example.test", external_id="u-1"))
        assert world.queue.wait(receipt.id, timeout=60).result == "created"
        wait_until(lambda: any(id_ == receipt.id for id_, _ in heard), what="its end is told")
        before = len(heard)
        proxy.cut()
        wait_until(lambda: receipt.id in [id_ for id_, _ in heard[before:]], what="it is told again")
        assert world.workers[0].exit_code is None


def enable_events(url: str) -> None:
    """Say that somebody listens, as Flower does every five seconds."""
    with Celery("asker", broker=url, set_as_current=False) as app:
        wait_until(lambda: app.control.enable_events(reply=True, timeout=1), what="a worker to send events")


@contextmanager
def listening(url: str, heard: list[tuple[str, float]]) -> Iterator[None]:
    """Hears of every success, as Flower does, by a connection that does not break."""
    app = Celery("listener", broker=url, set_as_current=False)
    with app.connection_for_read() as connection:
        handlers = {"task-succeeded": lambda event: heard.append((event["uuid"], event["timestamp"]))}
        events = app.events.Receiver(connection, handlers=handlers)
        capture = {"limit": None, "timeout": None, "wakeup": False}
        thread = threading.Thread(target=events.capture, kwargs=capture, daemon=True)
        thread.start()
        yield
        events.should_stop = True
        thread.join(10)
    app.close()
