"""The texts of the scripts, the contract of LaneStore, and what keys may say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from tests.blocking import finish, sdk_script

from onelane import scripts
from onelane.intents import ContactErasure, ContactSync, EmailChange, Intent
from onelane.settings import QueueSettings
from onelane.submission import prepare
from onelane_worker.lanes.client import LaneClient
from onelane_worker.lanes.store import (
    WORKER_SCRIPTS,
    LaneStore,
    Script,
    Word,
    script,
)
from onelane_worker.lanes.types import LaneSettings, StoredEntry

from .world import CLOCK, DONE, World

SETTINGS = LaneSettings()
SDK_SCRIPTS = ("submit", "withdraw")
FOLDERS = {"onelane": SDK_SCRIPTS, "onelane_worker.lanes": WORKER_SCRIPTS}
ALL = (*SDK_SCRIPTS, *WORKER_SCRIPTS)


def sources(package: str) -> dict[str, str]:
    folder = files(package) / "lua"
    return {Path(file.name).stem: file.read_text("utf-8") for file in folder.iterdir()}


def test_every_script_that_is_there_is_used_and_shared_parts_come_first() -> None:
    for package, names in FOLDERS.items():
        assert {name for name in sources(package) if not name.startswith("_")} == set(names)
    text = script("claim", SETTINGS).text
    order = [
        text.index(start)
        for start in ("_clock:", "_lanes:", "settings = {", "_gate:", "_grant:", "_step:", "-- claim:")
    ]
    assert order == sorted(order)
    assert "-- _grant:" not in sdk_script("submit").text


@pytest.mark.parametrize("name", ALL)
def test_every_script_begins_with_its_answers_its_law_and_the_names_of_its_input(name: str) -> None:
    package = "onelane" if name in SDK_SCRIPTS else "onelane_worker.lanes"
    header, _, code = sources(package)[name].partition("\n\nlocal ")
    assert header.startswith(f"-- {name}: ")
    assert [word for word in ("Answers ", "Law ") if f"-- {word}" not in header] == []
    assert "-- Input " in header or "ARGV" in code.partition("redis.call")[0]


def test_a_clock_replaces_the_clock_and_changes_the_digest() -> None:
    text = scripts.script("submit", CLOCK)
    assert CLOCK in text
    assert "'TIME'" not in text
    assert sdk_script("submit", CLOCK).sha != sdk_script("submit").sha


def test_the_settings_are_part_of_the_text_as_whole_numbers() -> None:
    text = script("tick", LaneSettings(lease_ms=1234, new_redis=True)).text
    assert "lease_ms = 1234" in text
    assert "new_redis = 1" in text


def test_scripts_ask_for_settings_that_exist_only() -> None:
    known = {field.name for field in fields(LaneSettings)}
    everything = "".join(sources("onelane_worker.lanes").values())
    asked = set(re.findall(r"settings\.(\w+)", everything))
    assert asked == known


# ── the store ─────────────────────────────────────────────────────────────────────────────────────────────


class Suspended:
    """A client that waits in an event loop."""

    async def run(self, script: Script, key: str, args: Sequence[Word]) -> Any:
        await asyncio.sleep(0)

    async def read(self, *command: Word) -> Any:
        await asyncio.sleep(0)


def test_a_call_whose_client_waits_is_not_finished_without_a_loop(world: World) -> None:
    store = LaneStore(Suspended(), world.workspace, SETTINGS)
    with pytest.raises(RuntimeError, match="event loop"):
        finish(store.reserve(1))


def test_one_store_serves_over_the_asyncio_client(valkey: Redis, valkey_url: str) -> None:
    world = World(valkey)
    world.put("a")

    async def story() -> list[str]:
        client = LaneClient.from_url(valkey_url, {})
        store = LaneStore(client, world.workspace, SETTINGS, CLOCK)
        claimed = await store.claim("e", 1, 1, suspects=(1, 0), wakes=0, in_hand=0)
        await client.aclose()
        return [grant.lane for grant in claimed.grants]

    assert asyncio.run(story()) == []  # without `new_redis` there is a hold
    assert world.hash("epoch")["since"] != "0"


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_key_and_no_field_but_payloads_holds_an_address_or_an_external_id(redis: Redis) -> None:
    world = World(redis)
    workspace = world.workspace
    given: list[Intent] = [
        ContactSync(email="ann@example.test", external_id="crm-7", dedupe_key="k"),
        EmailChange(email="ann@example.test", new_email="zoe@example.test", external_id="crm-7"),
        ContactErasure(email="ann@example.test"),
    ]
    for intent in given:
        one = prepare(intent)
        args = (workspace.fingerprint, *one.arguments(workspace, QueueSettings()))
        answer = world.eval(sdk_script("submit", CLOCK), args)
        assert answer[0] == "accepted"
    world.check_laws()
    for _ in range(3):
        [grant] = world.grants()
        contact = workspace.contact("contact-64f")
        world.checkpoint(grant, registry=StoredEntry("{1}", (contact,), (contact,)))
        world.settle(grant)
    told = []
    for key, value in world.snapshot().items():
        if isinstance(value, dict):
            value.pop("payload", None)
        told.append(f"{key} {value}")
    assert DONE in " ".join(told)
    for secret in ("ann", "zoe", "example", "crm-7", "contact-64f"):
        assert [line for line in told if secret in line] == []
