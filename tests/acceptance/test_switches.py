"""Every story under every value of every sandbox switch: what nobody knows about Intercom must not matter.

The defaults are what all other tests run under. Here each remaining value gets one item; all stories of it
are told at the same time, each with people of its own, and one that fails is named beside the switch.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from onelane_sandbox.switches import SWITCHES

from . import (
    test_consent,
    test_everyday,
    test_gone_and_refused,
    test_identity,
    test_lost_answers,
    test_together,
)
from .story import SCENARIOS, Scenario, Story
from .world import World

__all__ = [
    "test_consent",
    "test_everyday",
    "test_gone_and_refused",
    "test_identity",
    "test_lost_answers",
    "test_together",
]

Told = tuple[str, Future[None]]

OTHER_SECONDS = {"delete_lock_s": 0.0}
"""For switches that are a number: a second value."""
VALUES = [
    (switch.name, value)
    for switch in SWITCHES.values()
    for value in switch.values or (OTHER_SECONDS[switch.name],)
    if value != switch.default
]


def tell(scenario: Scenario, world: World) -> None:
    """One story among many: those with a past of their own wait for the index first, then all begin."""
    story = Story(world, alone=False)
    if not scenario.seeded:
        story.indexed()
    try:
        scenario.tell(story, **scenario.options)
    finally:
        if not story.indexed_already:  # it failed before: the others need not wait for it
            world.index.abort()


@contextmanager
def told(world: World, stories: list[Scenario], name: str, value: object) -> Iterator[list[Told]]:
    """All these stories, under way in a world of that switch value."""
    world.renew(len(stories), **{name: value})
    with ThreadPoolExecutor(len(stories), f"{name}={value}") as pool:
        yield [(scenario.name, pool.submit(tell, scenario, world)) for scenario in stories]


@pytest.mark.parametrize(("name", "value"), VALUES, ids=[f"{name}={value}" for name, value in VALUES])
def test_every_story_holds(
    calm: World, stormy: World, strict: World, subtests: pytest.Subtests, name: str, value: object
) -> None:
    with ExitStack() as stack:
        running: list[Told] = []
        for world in (strict, stormy, calm):
            stories = [scenario for scenario in SCENARIOS if scenario.world == world.name]
            running += stack.enter_context(told(world, stories, name, value))
        for story, telling in running:
            with subtests.test(story):
                telling.result()


def test_every_switch_of_the_sandbox_is_visited(calm: World) -> None:
    listed = {one["name"]: {*one["values"]} for one in calm.sandbox.switches()}
    for name, values in listed.items():
        visited = {value for other, value in VALUES if other == name} | {SWITCHES[name].default}
        assert values <= visited, name
        assert len(visited) > 1, name


def test_every_story_of_the_register_is_numbered() -> None:
    numbers = {scenario.number for scenario in SCENARIOS}
    assert numbers == {*range(1, 19), 21, *range(23, 29), 34} - {13}
