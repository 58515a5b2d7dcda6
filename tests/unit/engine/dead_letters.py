"""How a test makes a dead letter, and sends it back."""

from __future__ import annotations

from typing import Any

from tests.world.world import World

from onelane import Receipt
from onelane_worker.planner import operations as op

REFUSED = op.Refused(op.Problem("refused", 400, "parameter_invalid"))


def refuse_writes(world: World, times: int = 1) -> None:
    """Intercom refuses the next creates and updates."""
    world.answer((op.Create, op.Update), REFUSED, times)


def bury(world: World, intent: Any) -> Receipt:
    """Make it a dead letter; whoever comes later is served again."""
    refuse_writes(world)
    [receipt] = world.enqueue(intent)
    outcome = world.ended(receipt)
    assert outcome.result == "rejected"
    return receipt


def send_back(world: World, receipt: Receipt, *, whole: bool = False) -> str:
    """Replay a dead letter; what the script answers."""
    burials = int(world.hash("intent", receipt.id)["burials"])
    return str(world.call(lambda store: store.replay(receipt.id, burials, whole=whole)).word)


def replay(world: World, receipt: Receipt, *, whole: bool = False) -> str:
    """Replay it, and go on until it has ended; the result."""
    assert send_back(world, receipt, whole=whole) == "accepted"
    return world.ended(receipt).result
