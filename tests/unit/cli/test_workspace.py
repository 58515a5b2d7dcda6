"""`onelane workspace`: whose queue it is, and a move to another workspace of Intercom, which is meant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from onelane.keys import Keys
from onelane_worker.engine.workspace_check import Record, note_calls, record_calls, recorded
from onelane_worker.operate import workspace_move
from onelane_worker.planner import operations as op
from onelane_worker.planner.operations import Workspace

from .helpers import Hand, Onelane

ANN, BOB, CLEO = "ann@example.test", "bob@example.test", "cleo@example.test"
TRIAL, HERE = Workspace("trial", "Trial"), Workspace("sandbox-0", "Sandbox")
SHARED = ("enqueue", "lead-capture", "--email", ANN, "--dedupe-key", "form-1", "--json")
KEYS = Keys()


@pytest.fixture
def with_token(onelane: Onelane, monkeypatch: pytest.MonkeyPatch) -> Onelane:
    """Intercom tells that the token is of the workspace HERE."""
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", "secret")
    intercom_says(monkeypatch, op.Done(workspace=HERE))
    return onelane


def intercom_says(monkeypatch: pytest.MonkeyPatch, reply: op.Reply) -> None:
    monkeypatch.setattr("onelane_worker.cli.doctor.probe", lambda *_: reply)


def note(redis: Any, workspace: Workspace) -> None:
    """What the first worker does."""
    for command in note_calls(KEYS, workspace):
        redis.execute_command(*command)


def on_record(redis: Any) -> Record | None:
    return recorded([redis.execute_command(*command) for command in record_calls(KEYS)])


def words(redis: Redis) -> set[str]:
    """The first words of all keys of the workspace."""
    found: Any = redis.keys(f"{KEYS.prefix}*")
    return {key.removeprefix(KEYS.prefix).partition(":")[0] for key in found}


def test_show(onelane: Onelane, valkey: Redis) -> None:
    ended = onelane("workspace", "show")
    assert (ended.code, "belongs to no workspace yet" in ended.err) == (3, True)

    note(valkey, TRIAL)
    ended = onelane("workspace", "show")
    assert (ended.code, ended.out) == (0, "Trial (trial)\n")
    assert onelane("workspace", "show", "--json").json == {
        "workspace": {"id": "trial", "name": "Trial"},
        "moving": False,
    }


def test_a_move_keeps_what_waits_and_forgets_what_was_true_elsewhere(
    with_token: Onelane, valkey: Redis, hand: Hand
) -> None:
    # Given a queue of another workspace, where something is known of Ann, Bob's create got lost, and Cleo
    # waits for an external id
    note(valkey, TRIAL)
    with_token(*SHARED)
    consent = {
        "consent": {
            "all": {"opted_in": False, "at_ms": 5, "by": "0" * 32},
            "101": {"opted_in": True, "at_ms": 5, "by": "0" * 32},
        },
        "versions": {"crm": {"number": 7, "by": "0" * 32}},
    }
    hand.settle(ANN, {"result": "created", "contact_id": "c1"}, {"primary": "c1"}, consent)
    sign_up = ("enqueue", "product-sign-up", "--external-id", "u-1", "--json", "--email")
    bob = (*sign_up, BOB, "--dedupe-key", "b")
    waiting = with_token(*bob).json["id"]
    with_token(*sign_up, CLEO)
    grant = hand.claim(BOB)
    hand.claim_nothing()  # Cleo stands behind Bob
    hand.postpone(BOB, "reconciling", grant=grant, journal=json.dumps({"x": 1}))

    # When it is moved
    ended = with_token("workspace", "move", "--yes", "--json")

    # Then nothing of the former workspace is left, and the intents wait
    assert (ended.code, ended.json) == (
        0,
        {
            "from": {"id": "trial", "name": "Trial"},
            "to": {"id": "sandbox-0", "name": "Sandbox"},
            "moved": True,
            "intents": 2,
            "dead_letters": 0,
        },
    )
    assert on_record(valkey) == Record(HERE)
    assert words(valkey) & {"registry", "ext", "wait", "contact", "bucket"} == set()
    kept = json.loads(valkey.get(KEYS.key("consent", hand.lane(ANN))) or "")
    assert (list(kept), list(kept["consent"])) == (["consent"], ["all"])
    assert valkey.pttl(KEYS.key("consent", hand.lane(ANN))) > 0
    assert valkey.lrange(KEYS.key("queue", hand.lane(BOB)), 0, -1) == [waiting]
    fields = valkey.hgetall(KEYS.key("lane", hand.lane(BOB))).keys()
    assert not fields & {"journal", "dirty", "token", "exts", "waits"}
    # And what had ended there may be enqueued again, but what waits is still not doubled
    assert with_token(*SHARED).json["duplicate"] is False
    assert with_token(*bob).json["duplicate"] is True
    # And the timer makes every lane ready
    hand.alive()
    for email in (BOB, CLEO):
        hand.settle(email, {"result": "created"})


def test_a_move_to_where_it_is_changes_nothing(with_token: Onelane, valkey: Redis) -> None:
    ended = with_token("workspace", "move", "--yes")
    assert (ended.code, ended.out) == (
        0,
        "The queue belonged to no workspace yet; it belongs to Sandbox (sandbox-0) now.\n",
    )
    before = valkey.keys()
    ended = with_token("workspace", "move", "--yes")
    assert (ended.code, ended.out) == (0, "The queue belongs to Sandbox (sandbox-0) already.\n")
    assert valkey.keys() == before


def test_a_move_that_was_cut_off_is_run_again(with_token: Onelane, valkey: Redis, hand: Hand) -> None:
    note(valkey, HERE)
    valkey.hset(KEYS.key("meta"), "moving", "1")
    valkey.set(KEYS.key("registry", hand.lane(ANN)), "{}", px=60_000)
    assert "has not ended" in with_token("workspace", "show").out

    assert with_token("workspace", "move", "--yes").code == 0

    assert on_record(valkey) == Record(HERE)
    assert "registry" not in words(valkey)


def test_the_mark_stays_until_all_is_forgotten(
    with_token: Onelane, valkey: Redis, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it no worker starts: something of the former workspace may still be there."""
    note(valkey, TRIAL)
    valkey.set(KEYS.key("registry", hand.lane(ANN)), "{}", px=60_000)

    async def cut_off(*_: object) -> None:
        raise RuntimeError("cut off")

    monkeypatch.setattr(workspace_move, "_forget", cut_off)
    with pytest.raises(RuntimeError, match="cut off"):
        with_token("workspace", "move", "--yes")
    assert on_record(valkey) == Record(HERE, moving=True)


def test_nobody_may_be_at_work_during_a_move(with_token: Onelane, valkey: Redis, hand: Hand) -> None:
    note(valkey, TRIAL)
    hand.alive("onelane-1@box")
    ended = with_token("workspace", "move", "--yes")
    assert (ended.code, "1 worker alive: onelane-1 on box" in ended.err) == (1, True)
    hand.gone()

    with_token(*SHARED)
    hand.claim(ANN)
    ended = with_token("workspace", "move", "--yes")
    assert (ended.code, "in 1 lane somebody is at work" in ended.err) == (1, True)
    assert on_record(valkey) == Record(TRIAL)


def test_nothing_is_forgotten_if_a_worker_has_started_while_it_asked(
    with_token: Onelane, valkey: Redis, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(valkey, TRIAL)
    valkey.set(KEYS.key("registry", hand.lane(ANN)), "{}", px=60_000)
    monkeypatch.setattr("onelane_worker.cli.workspace.is_interactive", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: hand.alive("onelane-1@box"))

    ended = with_token("workspace", "move")

    assert (ended.code, "1 worker alive" in ended.err) == (1, True)
    assert "registry" in words(valkey)
    assert on_record(valkey) == Record(HERE, moving=True)  # which ends that worker
    hand.gone()
    assert with_token("workspace", "move", "--yes").code == 0
    assert (on_record(valkey), "registry" in words(valkey)) == (Record(HERE), False)


def test_an_intent_that_is_enqueued_during_a_move_is_served(
    with_token: Onelane, valkey: Redis, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lane was empty and owed a check, which the move forgets."""
    note(valkey, TRIAL)
    with_token(*SHARED)
    hand.settle(ANN, {"result": "created"}, check=hand.check_in(600_000))
    real, enqueued = workspace_move._release, []

    async def release(*args: Any) -> None:
        if not enqueued:
            enqueued.append(hand.submit(ANN))
        await real(*args)

    monkeypatch.setattr(workspace_move, "_release", release)
    assert with_token("workspace", "move", "--yes").code == 0

    hand.alive()
    assert hand.claim(ANN).intents


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_where_nobody_can_be_asked_nothing_is_moved(
    more: list[str], with_token: Onelane, valkey: Redis
) -> None:
    note(valkey, TRIAL)
    assert with_token("workspace", "move", *more).code == 2
    assert on_record(valkey) == Record(TRIAL)


def test_nothing_is_moved_while_intercom_does_not_tell_whose_token_it_is(
    with_token: Onelane, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(valkey, TRIAL)
    intercom_says(monkeypatch, op.Stopped(op.Problem("unauthorized", 401)))
    ended = with_token("workspace", "move", "--yes")
    assert (ended.code, "does not tell whose token this is: unauthorized 401" in ended.err) == (1, True)
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", "")
    assert with_token("workspace", "move", "--yes").code == 2
    assert on_record(valkey) == Record(TRIAL)
