"""What people are shown, and the store's own edges."""

from __future__ import annotations

import pytest
from redis import Redis

from onelane import keyspace
from onelane.keyspace import BULK, INTERACTIVE
from onelane_worker.lanes.model import Holder, LaneSettings, WaitingIntent
from onelane_worker.lanes.scripts import NAMES, source

from .bench import COMMIT_MS, LANE, LEASE_MS, PARTITION, Bench


def test_a_lane_nobody_knows_is_empty(bench: Bench) -> None:
    view = bench.store.describe(LANE)

    assert (view.intents, view.holder, view.due_ms, view.sent, view.dirty) == ((), None, None, {}, False)


def test_a_lane_at_work(bench: Bench) -> None:
    first = bench.submit().id
    second = bench.submit(queue=BULK).id
    grant = bench.claim(seq=1)
    bench.store.checkpoint(grant, "op", belief="{}", open_write="[]", commit_ms=COMMIT_MS)

    view = bench.store.describe(LANE)

    assert view.intents == (
        WaitingIntent(first, "lead_capture", "working", 1),
        WaitingIntent(second, "contact_sync", "waiting", 0),
    )
    assert view.due_ms is not None
    assert view.holder == Holder(grant.token, grant.fence, view.due_ms)
    assert (view.belief, view.open_write, view.memory, view.dirty) == ("{}", "[]", None, True)


def test_counters(bench: Bench) -> None:
    bench.submit(queue=BULK)
    bench.submit()
    bench.claim(seq=1, queue=BULK)

    counters = bench.store.turn_counters(PARTITION)

    assert counters.seq == {INTERACTIVE: 1, BULK: 1}
    assert counters.claimed == {INTERACTIVE: 0, BULK: 1}
    assert counters.pending == 2


def test_a_client_that_does_not_decode_works_as_well(bench: Bench, redis: Redis) -> None:
    pool = redis.connection_pool
    kwargs = {**pool.connection_kwargs, "decode_responses": False}
    raw_pool = type(pool)(connection_class=pool.connection_class, **kwargs)
    raw = Bench(type(redis)(connection_pool=raw_pool))
    bench.submit_many(2, queue=BULK)

    grant = raw.claim(seq=1, queue=BULK)
    raw.store.checkpoint(grant, "op", journal='{"who":"Åsa"}', belief="{}")
    assert raw.store.describe(LANE).journal == '{"who":"Åsa"}'
    answer = raw.settle(grant, "op2")

    assert answer.turn.queue == BULK
    assert raw.store.describe(LANE) == bench.store.describe(LANE)
    assert raw.store.turn_counters(PARTITION) == bench.store.turn_counters(PARTITION)
    raw_pool.disconnect()


@pytest.mark.parametrize(
    ("field", "value"), [("lane_idle_ttl_ms", 1), ("lease_ms", 0), ("fold_max", 0), ("lost_after_turns", 0)]
)
def test_settings_that_break_a_law_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        LaneSettings(**{field: value})


@pytest.mark.parametrize("name", NAMES)
def test_every_script_names_its_keys_arguments_result_and_law(name: str) -> None:
    header = source(name).removeprefix(source("renew").partition("-- renew:")[0])

    assert header.startswith(f"-- {name}: ")
    assert all(f"-- {word}" in header for word in ("KEYS", "ARGV", "Result", "Law"))


@pytest.mark.parametrize("word", ["cmsgpack", "bit.", "struct.", "sha1hex", "#!"])
@pytest.mark.parametrize("name", NAMES)
def test_scripts_use_only_what_every_server_has(name: str, word: str) -> None:
    assert word not in source(name)


def test_all_keys_of_a_lane_are_in_one_slot(bench: Bench) -> None:
    bench.submit(dedupe="k")
    bench.settle(bench.claim(), "op", belief="{}", memory="{}")
    bench.submit()
    bench.bury(bench.claim(), "op2")
    bench.postpone(bench.claim(seq=bench.submit().seq), "op3")

    assert {key.split(":")[1] for key in bench.snapshot()} == {f"{{{PARTITION}}}"}
    assert keyspace.partition_of(LANE) == PARTITION
    assert bench.due_ms() is not None
    assert LEASE_MS < COMMIT_MS
