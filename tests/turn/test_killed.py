"""A worker that dies between a write and its settle: what it has written is never taken back."""

from __future__ import annotations

import pytest
from onelane.identity import lane_id

from onelane import LeadCapture, keyspace
from onelane_worker.planner import operations as op

from .world import World

ANN = "ann@example.test"
LANE = lane_id(ANN)


def test_a_fold_whose_holder_died_goes_together_again(world: World) -> None:
    """Its head alone would write the older name over the newer one, which support has seen already."""
    world.do(LeadCapture(email=ANN, name="Ann"))
    _die_once(world)
    receipts = world.enqueue(LeadCapture(email=ANN, name="Anna"), LeadCapture(email=ANN, name="Anne"))
    with pytest.raises(KeyboardInterrupt):
        world.run()
    _lease_ends(world)
    world.run_until(lambda: all(world.outcome(receipt) for receipt in receipts))
    written = [call.body["name"] for call in world.gateway.calls if isinstance(call, op.Update)]
    assert written == ["Anne", "Anne"]


def _die_once(world: World) -> None:
    settle = world.store.settle

    def dies(*_: object, **__: object) -> object:
        world.store.settle = settle  # type: ignore[method-assign]
        raise KeyboardInterrupt

    world.store.settle = dies  # type: ignore[method-assign, assignment]


def _lease_ends(world: World) -> None:
    world.redis.hset(keyspace.lane(LANE), "until", 1)
    world.redis.zadd(keyspace.due(keyspace.partition_of(LANE)), {LANE: 1})
