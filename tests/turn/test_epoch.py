"""A server that may have lost a moment: facts are not believed, and a miss proves nothing for a while."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from onelane import LeadCapture, ProductSignUp
from onelane_worker.epoch import Epochs
from onelane_worker.services import REDIS_RETRIES, make_redis
from onelane_worker.settings import Settings

from .world import World

ANN = "ann@example.test"


@pytest.fixture
def watched(valkey_url: str) -> Iterator[tuple[Epochs, Redis]]:
    epochs = Epochs()
    with Redis.from_url(valkey_url, decode_responses=True, redis_connect_func=epochs.on_connect) as client:
        client.flushall()
        yield epochs, client


def meet_another_server(epochs: Epochs) -> None:
    epochs._server = "another one"


class TestWatching:
    def test_the_first_server_has_lost_nothing(self, watched: tuple[Epochs, Redis]) -> None:
        epochs, client = watched
        assert epochs.since_ms(client) is None

    def test_another_server_begins_an_epoch(self, watched: tuple[Epochs, Redis]) -> None:
        epochs, client = watched
        epochs.since_ms(client)
        meet_another_server(epochs)
        began = epochs.since_ms(client)
        assert began is not None
        assert epochs.since_ms(client) == began

    def test_a_second_worker_learns_of_it_without_beginning_one(self, watched: tuple[Epochs, Redis]) -> None:
        epochs, client = watched
        epochs.since_ms(client)
        meet_another_server(epochs)
        began = epochs.since_ms(client)
        second = Epochs()
        meet_another_server(second)
        assert second.since_ms(client) == began


@pytest.fixture
def hanging_up() -> Iterator[tuple[int, list[int]]]:
    """A server that accepts every connection and hangs up at the first word: its port, and how often."""
    met: list[int] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # the test is over
                return
            with connection:
                connection.recv(4096)
                met.append(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1], met
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_a_server_that_hangs_up_is_tried_a_few_times(hanging_up: tuple[int, list[int]]) -> None:
    """Once it ended in a RecursionError: a check of the new connection opened another one, and so on."""
    port, met = hanging_up
    settings = Settings(redis_url=f"redis://127.0.0.1:{port}/0")
    with make_redis(settings, Epochs().on_connect) as client, pytest.raises(ConnectionError):
        client.time()
    assert len(met) <= (REDIS_RETRIES + 1) ** 2


class TestActing:
    def in_new_epoch(self, world: World) -> None:
        seconds, micros = world.redis.time()
        now_ms = seconds * 1000 + micros // 1000
        world.deps = replace(world.deps, epoch_ms=lambda: now_ms)

    def test_facts_from_before_are_not_believed(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        self.in_new_epoch(world)
        world.calls()
        assert world.do(LeadCapture(email=ANN, name="Ann")).result == "updated"
        assert world.calls() == ["Update"]

    def test_a_lead_is_not_created_on_a_first_miss(self, world: World) -> None:
        self.in_new_epoch(world)
        [receipt] = world.enqueue(LeadCapture(email=ANN))
        world.run()
        status = world.queue.status(receipt.id)
        assert status is not None
        assert (status.state, world.contacts(ANN)) == ("reconciling", [])

    def test_a_user_with_an_external_id_need_not_wait(self, world: World) -> None:
        self.in_new_epoch(world)
        assert world.do(ProductSignUp(email=ANN, external_id="u-1")).result == "created"
