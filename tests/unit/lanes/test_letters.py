"""Dead letters: buried, replayed, discarded, scrubbed."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from tests.blocking import finish

from onelane_worker.lanes.types import Ended, ExtNote, Grant, StoredEntry

from .world import START_MS, World


def buried(world: World, lane: str = "a", **more: Any) -> str:
    id_ = world.put(lane, **more)
    [grant] = (grant for grant in world.grants() if grant.lane == lane)
    world.bury(grant, timeline=(f'{{"id":"{id_}"}}',))
    return id_


def test_a_dead_letter_is_kept_whole(world: World) -> None:
    id_ = buried(world, dedupe="d")
    record = world.intent(id_)
    assert (record["state"], record["payload"], record["error"], record["outcome"]) == (
        "dead",
        "{}x",
        '{"class":"refused"}',
        '{"result":"rejected"}',
    )
    assert record["burials"] == "1"
    assert world.snapshot()["dead"] == [(id_, START_MS)]
    assert world.snapshot()["letters:a"] == [id_]
    assert world.ends_in_ms("intent", id_) == -1
    assert world.ends_in_ms("dedupe", "d") > 0
    assert world.counter("pending") == 0


def test_a_replayed_letter_goes_to_the_tail_and_begins_anew(world: World) -> None:
    id_ = buried(world, dedupe="d")
    first = world.put("a")
    world.wait(10)
    told = world.replay(id_, whole=True)
    assert (told.word, told.wake) == ("accepted", False)
    assert world.queue("a") == [first, id_]
    assert world.ends_in_ms("dedupe", "d") == -1
    assert "dead" not in world.snapshot()
    letter = world.grant().intents[1]
    assert (letter.accepted_ms, letter.again_ms, letter.whole) == (START_MS, START_MS + 10, True)
    assert (letter.attempts, letter.kills, letter.burials) == (0, 0, 1)


def test_a_replay_that_comes_late_replays_nothing(world: World) -> None:
    id_ = buried(world)
    assert world.replay(id_).wake
    assert world.replay(id_).word == "accepted"
    assert world.queue("a") == [id_]
    world.bury(world.grant())
    before = world.snapshot()
    assert world.replay(id_, 1).word == "gone"
    assert world.snapshot() == before
    assert world.replay(id_, 2).word == "accepted"


@pytest.mark.parametrize("word", ["erasing", "lane_full", "queue_full"])
def test_a_letter_is_not_replayed_where_it_may_not_be(redis: Redis, word: str) -> None:
    world = World(redis, lane_max=1 if word == "lane_full" else 9, queue_max=1 if word == "queue_full" else 9)
    id_ = buried(world)
    world.put("b" if word == "queue_full" else "a", erases=int(word == "erasing"))
    before = world.snapshot()
    assert world.replay(id_).word == word
    assert world.snapshot() == before


def test_a_letter_may_be_replayed_after_the_erasure_has_ended(world: World) -> None:
    id_ = buried(world)
    world.put("a", erases=1)
    world.settle(world.grant())
    assert world.replay(id_).word == "accepted"


def test_a_replay_behind_a_head_that_yields_makes_the_lane_ready(world: World) -> None:
    id_ = buried(world)
    world.put("a")
    world.postpone(world.grant(), 9_000, yields=True)
    assert world.replay(id_).wake
    assert world.place("a") == "interactive"


def test_a_discarded_letter_is_told_of_for_a_while(world: World) -> None:
    id_ = buried(world)
    assert world.discard(id_)
    record = world.intent(id_)
    assert (record["state"], record["outcome"]) == ("done", '{"result":"rejected","reason":"discarded"}')
    assert "payload" not in record
    assert world.ends_in_ms("intent", id_) > 0
    assert world.discard(id_)
    assert not world.discard(id_, 2)
    assert world.replay(id_).word == "gone"


def test_what_is_no_letter_is_neither_replayed_nor_discarded(world: World) -> None:
    id_ = world.put("a")
    assert world.replay(id_, 0).word == "gone"
    assert not world.discard(id_, 0)
    assert world.replay("nobody").word == "gone"


# ── erasure ───────────────────────────────────────────────────────────────────────────────────────────────


def erasing(world: World, lane: str = "a") -> Grant:
    world.put(lane, erases=1)
    [grant] = (grant for grant in world.grants() if grant.lane == lane)
    return grant


def test_an_erasure_ends_the_letters_of_its_lane_and_no_others(world: World) -> None:
    mine, other = buried(world, "a", dedupe="d"), buried(world, "b")
    world.scrub(erasing(world))
    record = world.intent(mine)
    assert (record["state"], record["outcome"]) == ("done", '{"result":"rejected","reason":"erased"}')
    assert not {"payload", "error", "dedupe"} & set(record)
    stored = world.snapshot()
    assert "dedupe:d" not in stored
    assert [id_ for id_, _ in stored["dead"]] == [other]
    assert "letters:a" not in stored
    assert "timeline:a" not in stored


def test_an_erasure_forgets_who_the_contact_of_ended_intents_was(world: World) -> None:
    told = '{"result":"updated","contact_id":"64f","role":"user","superseded_by":"0a"}'
    id_ = world.put("a", dedupe="d")
    grant = world.grant()
    finish(
        world.store.settle(
            world.step(grant),
            [Ended(id_, told)],
            registry=None,
            timeline=[f'{{"what":"ended","id":"{id_}"}}'],
        )
    )
    world.scrub(erasing(world))
    record = world.intent(id_)
    assert record["outcome"] == '{"result":"updated","role":"user","superseded_by":"0a"}'
    assert "dedupe:d" not in world.snapshot()


def test_a_dedupe_key_that_is_another_intents_by_now_stays(world: World) -> None:
    buried(world, dedupe="d")
    world.redis.delete(world.keys.key("dedupe", "d"))
    later = world.put("b", dedupe="d")
    world.scrub(erasing(world))
    assert world.snapshot()["dedupe:d"].startswith(later)


def test_an_erasure_forgets_pointers_and_versions_and_keeps_locks(world: World) -> None:
    world.put("a", ext="e")
    world.settle(world.grant(), ext=(ExtNote("e", "{1}", {"crm": "5 i 1"}),))
    world.put("b", ext="e")
    holder = world.grant()
    world.scrub(erasing(world), ext=("e",))
    assert world.snapshot()["ext:e"] == {"lane": "b"}
    world.settle(holder)


def test_whoever_knows_an_erased_contact_has_to_read_it(world: World) -> None:
    world.put("b")
    world.settle(world.grant(), registry=StoredEntry("{1}", ("c",), ("c",)))
    world.scrub(erasing(world), contacts=("c",))
    assert finish(world.store.lanes_knowing("c")) == ("b",)
    assert finish(world.store.registry_of("b")) == "{1}"
    world.put("b")
    assert world.grant().moved == {"c": START_MS}


def test_what_still_waits_is_left_alone_by_an_erasure(world: World) -> None:
    grant = erasing(world)
    behind = world.put("a", dedupe="d")
    world.scrub(grant)
    world.settle(grant, check=None)
    assert world.queue("a") == [behind]
    assert world.intent(behind)["payload"] == "{}x"


def test_many_letters_are_scrubbed_in_several_steps(world: World) -> None:
    keys, count = world.keys, 600
    grant = erasing(world)
    with world.redis.pipeline() as pipe:
        for n in range(count):
            record: dict[Any, Any] = {
                "state": "dead",
                "payload": "{1}",
                "lane": "a",
                "kind": "x",
                "at": 1,
                "burials": 1,
            }
            pipe.hset(keys.key("intent", f"l{n}"), mapping=record)
            pipe.zadd(keys.key("dead"), {f"l{n}": 1})
            pipe.sadd(keys.key("letters", "a"), f"l{n}")
        pipe.execute()
    world.scrub(grant)
    assert not {"dead", "letters:a"} & set(world.snapshot())
    assert world.lane("a")["step"] == "2"


def test_a_registry_entry_is_revised_only_if_the_old_one_stands(world: World) -> None:
    world.put("a")
    world.settle(world.grant(), registry=StoredEntry("{1}"))
    before = world.ends_in_ms("registry", "a")
    assert not finish(world.store.revise("a", "{0}", "{2}"))
    assert finish(world.store.revise("a", "{1}", "{2}"))
    assert finish(world.store.registry_of("a")) == "{2}"
    assert 0 < world.ends_in_ms("registry", "a") <= before
    assert finish(world.store.revise("a", "{2}", None))
    assert finish(world.store.registry_of("a")) is None


def test_a_dedupe_key_that_is_another_intents_by_now_gets_no_end(world: World) -> None:
    first = buried(world, dedupe="d")
    world.redis.delete(world.keys.key("dedupe", "d"))
    later = world.put("b", dedupe="d")
    finish(world.store.replay(first, 1, whole=False))
    [grant] = (grant for grant in world.grants() if grant.lane == "a")
    world.settle(grant)
    assert world.snapshot()["dedupe:d"].startswith(later)
    assert world.ends_in_ms("dedupe", "d") == -1
