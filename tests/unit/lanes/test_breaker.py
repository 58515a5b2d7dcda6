"""The circuit breaker, an operator's pause, the breaker of bulk intents, and the rate budget."""

from __future__ import annotations

import pytest
from redis import Redis
from tests.blocking import finish

from .world import START_MS, World

PROBLEM = '{"class":"timeout"}'


def state(world: World, *, bulk: bool = False) -> str:
    return finish(world.store.breaker_view(bulk)).state


def failed(world: World, lane: str, sort: str = "writes") -> str:
    return world.breaker("failed", lane=lane, sort=sort, problem=PROBLEM).state


def opened(redis: Redis, sort: str = "writes") -> World:
    world = World(redis)
    view = world.breaker("refused", lane="a", sort=sort, problem=PROBLEM)
    assert (view.state, view.changed) == ("open", True)
    return world


def half(redis: Redis, sort: str = "writes") -> World:
    world = opened(redis, sort)
    view = world.breaker("ok", sort="reads", probe=True)
    assert (view.state, view.changed) == ("half", True)
    return world


# ── opening ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lanes", "end"), [("aaaaaaa", "streak"), ("abababa", "streak"), ("abcd", "streak"), ("aaabc", "open")]
)
def test_it_opens_after_several_failures_in_a_row_on_several_lanes(
    world: World, lanes: str, end: str
) -> None:
    assert [failed(world, lane) for lane in lanes][-1] == end
    assert state(world) == end


def test_an_answered_call_ends_a_streak(world: World) -> None:
    for lane in "abcd":
        failed(world, lane)
    assert not world.breaker("ok", lane="a", sort="writes").changed
    assert state(world) == "closed"
    assert failed(world, "e") == "streak"
    assert 0 < world.ends_in_ms("breaker") <= 60_000


def test_an_answered_read_does_not_end_a_streak_of_writes(world: World) -> None:
    failed(world, "a", "writes")
    assert world.breaker("ok", lane="a", sort="reads").state == "streak"


def test_the_widest_sort_that_failed_is_what_has_to_work_again(world: World) -> None:
    for lane, sort in zip("abcde", ["subscriptions", "reads", "writes", "writes", "writes"], strict=True):
        failed(world, lane, sort)
    view = finish(world.store.breaker_view())
    assert (view.state, view.sort, view.problem) == ("open", "reads", PROBLEM)


def test_it_says_since_when_it_is_open_and_why(redis: Redis) -> None:
    world = opened(redis)
    world.wait(5_000)
    world.breaker("failed", lane="b", problem='{"class":"other"}')
    view = finish(world.store.breaker_view())
    assert (view.since_ms, view.next_ms, view.problem) == (START_MS, START_MS + 1_000, PROBLEM)


# ── probing ───────────────────────────────────────────────────────────────────────────────────────────────


def test_one_engine_probes_after_1_2_4_seconds_and_so_on(redis: Redis) -> None:
    world = opened(redis)
    probed = []
    for _ in range(120):
        world.wait(500)
        if any(world.tick(engine=engine).probe for engine in ("one", "two")):
            probed.append((world.now_ms - START_MS) // 1000)
            world.breaker("failed", lane="", sort="reads", problem=PROBLEM, probe=True)
    assert probed == [1, 2, 4, 8, 16, 31, 46]


def test_late_answers_do_not_end_an_open_breaker(redis: Redis) -> None:
    world = opened(redis)
    assert world.breaker("ok", lane="a", sort="writes").state == "open"
    world.put("a")
    assert world.claimed().word == "open"


def test_half_open_lets_one_lane_at_a_time_through(redis: Redis) -> None:
    world = half(redis)
    for lane in "ab":
        world.put(lane)
    first = world.claimed()
    assert (first.word, len(first.grants), first.more) == ("ok", 1, False)
    assert world.claimed(engine="other").word == "half"
    world.settle(first.grants[0])
    assert world.claimed(engine="other").grants[0].lane == "b"


@pytest.mark.parametrize(
    ("failing", "answered", "end"),
    [
        ("reads", "reads", "closed"),
        ("reads", "subscriptions", "closed"),
        ("writes", "writes", "closed"),
        ("writes", "reads", "half"),
        ("subscriptions", "writes", "half"),
    ],
)
def test_an_answered_call_of_the_sort_that_failed_closes_it(
    redis: Redis, failing: str, answered: str, end: str
) -> None:
    world = half(redis, failing)
    view = world.breaker("ok", lane="a", sort=answered)
    assert (view.state, view.changed) == (end, end == "closed")


@pytest.mark.parametrize("word", ["failed", "refused"])
def test_any_failure_opens_it_again_with_the_pause_as_long_as_it_has_grown(redis: Redis, word: str) -> None:
    world = opened(redis)
    for _ in range(6):
        world.wait(500)
        world.tick()
    world.breaker("ok", sort="reads", probe=True)
    view = world.breaker(word, lane="a", sort="reads", problem=PROBLEM)  # type: ignore[arg-type]
    assert (view.state, view.next_ms) == ("open", world.now_ms + 4_000)
    assert view.since_ms == START_MS
    world.put("a")
    assert world.claimed().word == "open"


# ── an operator ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_pause_ends_by_resume_only(world: World) -> None:
    view = world.breaker("pause", problem="maintenance")
    assert (view.state, view.problem, view.since_ms, view.changed) == (
        "paused",
        "maintenance",
        START_MS,
        True,
    )
    world.put("a")
    for word in ("ok", "failed", "refused"):
        assert world.breaker(word, lane="a", probe=True).state == "paused"
    world.wait(60_000)
    assert not world.tick().probe
    assert world.claimed().word == "open"
    assert world.breaker("resume").changed
    assert not world.breaker("resume").changed
    assert world.claimed().word == "ok"


def test_resume_starts_the_line_whatever_had_stopped_it(redis: Redis) -> None:
    world = opened(redis)
    assert world.breaker("resume").state == "closed"
    world.breaker("refused", lane="a", problem=PROBLEM)
    world.breaker("pause", problem="x")
    assert world.breaker("resume").state == "closed"


# ── bulk ──────────────────────────────────────────────────────────────────────────────────────────────────


def rejected(world: World, said: str = "said") -> str:
    return world.breaker("rejected", lane=said, problem=PROBLEM, bulk=True).state


def stopped(redis: Redis) -> World:
    world = World(redis, bulk_rejections=3)
    assert [rejected(world) for _ in range(3)] == ["streak", "streak", "open"]
    return world


def test_bulk_intents_stop_when_many_are_rejected_alike(redis: Redis) -> None:
    world = stopped(redis)
    assert state(world, bulk=True) == "open"
    assert state(world) == "closed"
    view = finish(world.store.breaker_view(bulk=True))
    assert (view.problem, view.since_ms, view.next_ms) == (PROBLEM, START_MS, START_MS + 15_000)


@pytest.mark.parametrize(
    ("story", "end"),
    [
        ("aawaaww", "open"),
        ("abababab", "open"),
        ("abcdeabcde", "streak"),
        ("awwwwawwwwawwww", "closed"),
        ("awwwaawwwa", "streak"),
        ("wwww", "closed"),
    ],
)
def test_more_than_one_in_five_alike_stop_them(redis: Redis, story: str, end: str) -> None:
    world = World(redis, bulk_rejections=3)
    for one in story:
        if one == "w":
            world.breaker("written", bulk=True)
        else:
            rejected(world, one)
        if state(world, bulk=True) == "open":
            break
    assert state(world, bulk=True) == end


def test_while_they_are_stopped_one_bulk_lane_at_a_time_is_tried(redis: Redis) -> None:
    world = stopped(redis)
    for lane in "xyz":
        world.put(lane, bulk=1)
    world.put("a")
    assert [grant.lane for grant in world.grants()] == ["a"]
    world.wait(15_000)
    claimed = world.claimed()
    assert [grant.lane for grant in claimed.grants] == ["x"]
    assert not claimed.more
    assert world.grants(engine="other") == ()
    world.settle(claimed.grants[0])
    assert world.grants() == ()  # the next try has its time
    world.wait(15_000)
    assert [grant.lane for grant in world.grants()] == ["y"]


def test_bulk_intents_that_are_written_in_a_row_start_them_again(redis: Redis) -> None:
    world = stopped(redis)
    for n in range(4):
        world.put(f"x{n}", bulk=1)
    world.wait(15_000)
    for n in range(4):
        [grant] = world.grants()
        view = world.breaker("written", bulk=True)
        assert view.state == ("closed" if n == 3 else "open")
        world.settle(grant)


def test_a_rejection_among_those_that_are_tried_begins_anew(redis: Redis) -> None:
    world = stopped(redis)
    world.wait(15_000)
    for _ in range(3):
        world.breaker("written", bulk=True)
    assert rejected(world, "else") == "open"
    assert [world.breaker("written", bulk=True).state for _ in range(4)] == ["open"] * 3 + ["closed"]


def test_a_setting_of_none_starts_them_whatever_had_stopped_them(redis: Redis) -> None:
    stopped(redis)
    world = World(redis, bulk_rejections=0)
    world.put("x", bulk=1)
    assert len(world.grants()) == 1
    assert rejected(world) == "closed"
    assert "breaker:bulk" not in world.snapshot()


# ── the rate budget ───────────────────────────────────────────────────────────────────────────────────────


def test_the_bucket_refills_evenly_and_holds_little(redis: Redis) -> None:
    world = World(redis, requests_per_10s=1_000)  # 20 calls, 93 a second
    assert world.reserve(50).calls == 20
    short = world.reserve(5)
    assert (short.calls, short.wait_ms) == (0, 12)  # 1/93 of a second and a moment
    world.wait(short.wait_ms)
    assert world.reserve(5).calls == 1
    given = 0
    for _ in range(100):
        world.wait(100)
        given += world.reserve(100).calls
    assert 929 <= given <= 931


def test_nothing_is_given_before_the_wait_of_a_429_is_over(redis: Redis) -> None:
    world = World(redis, requests_per_10s=1_000)
    assert world.reserve(0, throttled_ms=4_000).calls == 0
    assert world.reserve(0, throttled_ms=1_000).calls == 0
    world.put("a")
    claimed = world.claimed()
    assert (claimed.grants, claimed.wait_ms) == ((), 4_001)
    world.wait(3_999)
    assert world.reserve(1).wait_ms == 2
    world.wait(1)
    assert world.reserve(1).calls == 1


def test_a_long_wait_of_a_429_outlives_the_buckets_time_to_live(world: World) -> None:
    world.reserve(0, throttled_ms=300_000)
    assert world.ends_in_ms("bucket") > 299_000
