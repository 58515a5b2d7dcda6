"""postpone: the head stays, and the lane waits."""

from __future__ import annotations

from onelane.keyspace import INTERACTIVE

from .bench import COMMIT_MS, LEASE_MS, Bench


def test_the_head_waits_for_its_next_attempt(bench: Bench) -> None:
    (id_,) = bench.submit_many(1)

    due_ms = bench.postpone(bench.claim(seq=1), "op", 4_000, error='{"class":"Timeout"}')

    record = bench.intent(id_)
    assert (record["state"], record["attempts"], record["error"]) == ("retrying", "1", '{"class":"Timeout"}')
    assert int(record["next"]) == due_ms == bench.due_ms()
    assert bench.sent() == {}
    assert set(bench.lane()) == {"fence", "dirty"}


def test_a_claim_clears_the_next_attempt(bench: Bench) -> None:
    (id_,) = bench.submit_many(1)
    bench.postpone(bench.claim(), "op", 0, error="{}")
    bench.claim()

    assert "next" not in bench.intent(id_)
    assert bench.intent(id_)["error"] == "{}"


def test_forgiven_attempts_count_no_more(bench: Bench) -> None:
    (id_,) = bench.submit_many(1)
    for op in "12":
        bench.postpone(bench.claim(), op, 0)
    bench.postpone(bench.claim(), "3", 0, state="parked", forgive=True)

    assert bench.intent(id_)["attempts"] == "0"
    assert bench.claim().attempts == 1


def test_waiting_counts_no_attempt_and_no_error(bench: Bench) -> None:
    (id_,) = bench.submit_many(1)
    bench.postpone(bench.claim(), "1", 0, error="{}")
    bench.postpone(bench.claim(), "2", 0, state="parked", count_attempt=False)

    assert bench.intent(id_)["attempts"] == "1"
    assert bench.intent(id_)["state"] == "parked"
    assert "error" not in bench.intent(id_)


def test_an_unknown_write_keeps_its_record_and_holds_the_lane(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim()
    until_ms = bench.store.checkpoint(
        grant, "1", open_write='{"w":1}', journal='{"j":1}', commit_ms=COMMIT_MS
    ).commit_until_ms

    assert bench.postpone(grant, "2", 1_000, state="reconciling", unknown_write=True) == until_ms
    assert (bench.lane()["open"], bench.lane()["journal"]) == ('{"w":1}', '{"j":1}')


def test_a_longer_delay_than_the_unknown_write_stands(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim()
    checkpoint = bench.store.checkpoint(grant, "1", open_write="{}", commit_ms=COMMIT_MS)

    due_ms = bench.postpone(grant, "2", 2 * COMMIT_MS, unknown_write=True)

    assert due_ms >= checkpoint.now_ms + 2 * COMMIT_MS


def test_a_write_not_executed_leaves_no_record(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim()
    bench.store.checkpoint(grant, "1", open_write="{}", journal="{}", commit_ms=COMMIT_MS)

    due_ms = bench.postpone(grant, "2", 1_000, journal=None)

    assert due_ms < bench.now_ms() + 10_000
    assert not {"open", "commit", "journal"} & set(bench.lane())


def test_the_journal_outlives_any_number_of_looks(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim()
    bench.store.checkpoint(grant, "0", journal='{"looks":0}')
    bench.postpone(grant, "1", 0)
    assert bench.claim().journal == '{"looks":0}'

    bench.elapse(LEASE_MS + 1)
    bench.postpone(bench.claim(), "2", 0, journal='{"looks":1}')
    assert bench.claim().journal == '{"looks":1}'


def test_pointers_and_memory_may_be_stored(bench: Bench) -> None:
    bench.submit()
    bench.postpone(bench.claim(), "op", 0, belief='{"b":1}', memory='{"m":1}')

    heir = bench.claim()
    assert (heir.belief, heir.memory, heir.facts_usable) == ('{"b":1}', '{"m":1}', False)


def test_a_turn_on_its_way_is_not_counted_as_outstanding_any_more(bench: Bench) -> None:
    bench.submit()
    bench.postpone(bench.claim(), "op", 60_000)  # claimed by a double; turn 1 is still on its way

    assert bench.sent() == {}
    assert bench.refusal(seq=1) == "not_due"


def test_who_came_since_the_grant_does_not_wait_for_a_head_that_steps_aside(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim(seq=1)
    bench.submit()

    bench.postpone(grant, "op", 600_000, yields=True)

    assert [turn.queue for turn in bench.hand_out()] == [INTERACTIVE]
    assert len(bench.claim().intents) == 2


def test_those_already_seen_wait_with_the_head(bench: Bench) -> None:
    bench.submit_many(2)
    bench.postpone(bench.claim(), "op", 600_000, yields=True)

    assert bench.hand_out() == []


def test_a_claim_ends_the_stepping_aside(bench: Bench) -> None:
    bench.submit()
    bench.postpone(bench.claim(seq=1), "1", 0, yields=True)
    bench.postpone(bench.claim(), "2", 60_000)

    assert bench.submit().seq == 0


def test_a_repeated_postpone_changes_nothing(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim()
    due_ms = bench.postpone(grant, "op", 0, count_attempt=False)
    bench.claim()
    before = bench.snapshot()

    assert bench.postpone(grant, "op", 0, count_attempt=False) == due_ms
    assert bench.snapshot() == before
