"""One bench per test, on the double and on a real server; the laws are checked when the test is over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from .bench import Bench
from .laws import check_laws


@pytest.fixture
def bench(redis: Redis) -> Iterator[Bench]:
    bench = Bench(redis)
    yield bench
    check_laws(bench.redis, bench.now_ms())
