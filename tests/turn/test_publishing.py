"""The broker is away when a turn is to be published: what was settled is settled, and nobody else pays."""

from __future__ import annotations

from dataclasses import replace

from kombu.exceptions import OperationalError
from onelane.turns import Turn

from onelane import EmailChange, LeadCapture, keyspace
from onelane_worker.planner.policy import Policy

from .world import World

ANN, BOB = "ann@example.test", "bob@example.test"


def lose_the_broker(world: World, slice_intents: int = 50) -> list[Turn]:
    """From now on nothing can be published; what was tried."""
    tried: list[Turn] = []

    def refuse(turn: Turn) -> None:
        tried.append(turn)
        raise OperationalError("connection refused")

    timing = replace(world.deps.timing, slice_intents=slice_intents)
    world.deps = replace(world.deps, publish=refuse, timing=timing, policy=Policy(fold_max=1))
    return tried


def the_timer_finds_them(world: World) -> None:
    for partition in keyspace.PARTITIONS:
        newest = world.store.turn_counters(partition).seq
        world.broker.turns += world.store.hand_out(partition, 100, newest)


def test_the_next_intent_is_not_taken_for_failed(world: World) -> None:
    first, second = world.enqueue(LeadCapture(email=ANN, name="Ann"), LeadCapture(email=ANN, name="Anna"))
    tried = lose_the_broker(world, slice_intents=1)
    world.run()
    assert [turn.head for turn in tried] == [second.id]
    assert [(word, id_) for word, id_, _ in world.seen.events] == [("ended", first.id)]
    status = world.queue.status(second.id)
    assert status is not None
    assert (status.state, status.attempts, status.error) == ("waiting", 0, None)
    the_timer_finds_them(world)
    world.run()
    assert [contact["name"] for contact in world.contacts(ANN)] == ["Anna"]


def test_nor_is_the_next_one_when_a_change_of_address_frees_another_lane(world: World) -> None:
    world.do(LeadCapture(email=ANN, name="Ann"))
    world.seen.events.clear()
    change, behind = world.enqueue(EmailChange(email=ANN, new_email=BOB), LeadCapture(email=BOB, name="Bob"))
    [after] = world.enqueue(LeadCapture(email=ANN, name="Another"))
    tried = lose_the_broker(world)
    turn = next(turn for turn in world.broker.turns if turn.head == change.id)
    world.broker.turns = [turn]
    world.run()
    assert [turn.head for turn in tried] == [behind.id]
    assert [(word, id_) for word, id_, _ in world.seen.events] == [("ended", change.id), ("ended", after.id)]
    the_timer_finds_them(world)
    world.run()
    assert [contact["name"] for contact in world.contacts(BOB)] == ["Bob"]
