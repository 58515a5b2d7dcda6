"""A holder that lives and cannot go on gives its lane back: no kill, no attempt."""

from __future__ import annotations

from onelane_worker.lanes.model import Grant, Refused

from .bench import COMMIT_MS, LANE, LEASE_MS, Bench

ERROR = '{"class": "redis"}'


def give_back(bench: Bench, token: str, delay_ms: int = 1_000) -> str:
    return bench.store.give_back(LANE, token, delay_ms, ERROR)


def test_the_lane_is_free_and_due_again(bench: Bench) -> None:
    head = bench.submit().id
    bench.claim(token="t")
    assert give_back(bench, "t") == "ok"
    assert "token" not in bench.lane()
    assert bench.intent(head) | {"next": ""} == bench.intent(head) | {
        "state": "retrying", "attempts": "0", "error": ERROR, "next": ""
    }  # fmt: skip
    assert bench.refusal() == "not_due"
    bench.elapse(1_001)
    heir = bench.claim()
    assert (heir.kills, heir.attempts, heir.facts_usable) == (0, 1, False)


def test_asked_again_it_changes_nothing(bench: Bench) -> None:
    bench.submit()
    bench.claim(token="t")
    give_back(bench, "t")
    before = bench.snapshot()
    assert give_back(bench, "t") == "gone"
    assert bench.snapshot() == before


def test_an_open_write_keeps_its_record_and_its_time(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim(token="t")
    bench.store.checkpoint(grant, "op", journal='{"j":1}', open_write='{"w":1}', commit_ms=COMMIT_MS)
    give_back(bench, "t")
    due_ms = bench.due_ms()
    assert due_ms is not None
    assert due_ms > bench.now_ms() + COMMIT_MS - 2_000
    bench.elapse(COMMIT_MS + 1)
    heir = bench.claim()
    assert (heir.open_write, heir.journal, heir.kills) == ('{"w":1}', '{"j":1}', 0)


def test_who_took_it_over_keeps_it_and_the_head_is_not_charged(bench: Bench) -> None:
    head = bench.submit().id
    bench.claim(token="slow")
    bench.elapse(LEASE_MS + 1)
    heir = bench.claim(token="heir")
    assert (heir.kills, heir.attempts) == (1, 2)
    assert [give_back(bench, "slow"), give_back(bench, "slow")] == ["excused", "gone"]
    assert (bench.intent(head)["kills"], bench.intent(head)["attempts"]) == ("0", "1")
    assert bench.settle(heir, "op").status == "asleep"


def test_a_dead_holder_is_not_excused_by_another_ones_word(bench: Bench) -> None:
    head = bench.submit().id
    bench.claim(token="dead")
    bench.elapse(LEASE_MS + 1)
    bench.claim(token="heir")
    assert give_back(bench, "heir") == "ok"
    assert bench.intent(head)["kills"] == "1"


def test_a_head_that_has_ended_meanwhile_stays_as_it_is(bench: Bench) -> None:
    head = bench.submit().id
    bench.claim(token="slow")
    bench.elapse(LEASE_MS + 1)
    bench.settle(bench.claim(token="heir"), "op")
    before = bench.intent(head)
    assert give_back(bench, "slow") == "excused"
    assert bench.intent(head) == before


def test_a_claim_that_arrives_after_it_is_refused(bench: Bench) -> None:
    """It was on its way when its caller gave up: nobody would serve what it got."""
    bench.submit()
    assert give_back(bench, "t") == "gone"
    assert bench.refusal(token="t") == "busy"
    assert isinstance(bench.ask(token="t"), Refused)
    assert isinstance(bench.ask(token="another"), Grant)
