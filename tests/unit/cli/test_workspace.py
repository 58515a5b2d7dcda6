"""`onelane workspace`: whose queue it is, and a move to another workspace, which is meant."""

from __future__ import annotations

import json

import pytest
from onelane.identity import lane_id
from onelane_worker.presence import Presence
from onelane_worker.workspace import OtherWorkspace, Record, note, on_record
from redis import Redis

from onelane import keyspace
from onelane_sandbox.client import SandboxControl
from onelane_worker import workspace_move
from onelane_worker.lanes.model import Check
from onelane_worker.lanes.store import LaneStore
from onelane_worker.planner.operations import Workspace

from .helpers import Hand, Onelane

ANN = lane_id("ann@example.test")
TRIAL, HERE = Workspace("trial", "Trial"), Workspace("sandbox-0", "Sandbox")
SHARED = ("enqueue", "lead-capture", "--email", "ann@example.test", "--dedupe-key", "form-1", "--json")


@pytest.fixture
def with_token(onelane: Onelane, onelane_sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch) -> Onelane:
    monkeypatch.setenv("ONELANE_INTERCOM_URL", onelane_sandbox.url)
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", onelane_sandbox.token)
    return onelane


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
    # Given a queue of another workspace, where something was believed of Ann, and where Bob's create got lost
    note(valkey, TRIAL)
    with_token(*SHARED)
    memory = {
        "consent": {
            "all": {"opted_in": False, "at_ms": 5, "by": "0" * 32},
            "101": {"opted_in": True, "at_ms": 5, "by": "0" * 32},
        },
        "versions": {"crm": {"number": 7, "by": "0" * 32}},
    }
    hand.settle(ANN, {"result": "created", "contact_id": "c1"}, {"primary": "c1"}, memory)
    bob = lane_id("bob@example.test")
    waiting = with_token(
        "enqueue", "lead-capture", "--email", "bob@example.test", "--dedupe-key", "b", "--json"
    )
    hand.postpone(bob, "reconciling", {"class": "network"}, delay_ms=0, journal=json.dumps({"x": 1}))
    note_elsewhere(hand.store)

    # When it is moved
    ended = with_token("workspace", "move", "--yes", "--json")

    # Then nothing of the former workspace is left, and Bob's intent waits
    assert (ended.code, ended.json) == (
        0,
        {
            "from": {"id": "trial", "name": "Trial"},
            "to": {"id": "sandbox-0", "name": "Sandbox"},
            "moved": True,
            "intents": 1,
            "dead_letters": 0,
        },
    )
    assert on_record(valkey) == Record(HERE)
    assert {keyspace.word_of(key) for key in valkey.keys("onelane:{*}:*")} & {
        "belief",
        "ext",
        "known",
    } == set()
    view = hand.store.describe(ANN)
    assert (view.belief, view.journal, view.dirty) == (None, None, False)
    kept = json.loads(view.memory or "")
    assert (list(kept), list(kept["consent"])) == (["consent"], ["all"])
    assert valkey.pttl(keyspace.memory(ANN)) > 0
    view = hand.store.describe(bob)
    assert ([one.id for one in view.intents], view.journal, view.dirty) == (
        [waiting.json["id"]],
        None,
        False,
    )
    # And what had ended there may be enqueued again, but what waits is still not doubled
    assert with_token(*SHARED).json["duplicate"] is False
    again = with_token(
        "enqueue", "lead-capture", "--email", "bob@example.test", "--dedupe-key", "b", "--json"
    )
    assert again.json["duplicate"] is True


def note_elsewhere(store: LaneStore) -> None:
    """Somebody knows a contact of another address."""
    store.note_contact("c1", ANN)


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


def test_a_move_that_was_cut_off_is_run_again(with_token: Onelane, valkey: Redis) -> None:
    note(valkey, HERE)
    valkey.hset(keyspace.WORKSPACE, "moving", "1")
    valkey.set(keyspace.belief(ANN), "{}", px=60_000)
    assert "has not ended" in with_token("workspace", "show").out

    assert with_token("workspace", "move", "--yes").code == 0

    assert on_record(valkey) == Record(HERE)
    assert not valkey.exists(keyspace.belief(ANN))


def test_no_worker_starts_in_the_middle_of_a_move(valkey: Redis) -> None:
    """Nor after a move that was cut off: something of the former workspace may still be there."""
    note(valkey, TRIAL)
    valkey.set(keyspace.belief(ANN), "{}", px=60_000)

    def cut_off(_: int) -> None:
        raise KeyboardInterrupt

    workspace_move.begin(valkey, HERE)
    with pytest.raises(KeyboardInterrupt):
        workspace_move.finish(valkey, cut_off)

    for token in (TRIAL, HERE):
        with pytest.raises(OtherWorkspace, match="has not ended"):
            note(valkey, token)


def test_nobody_may_be_at_work_during_a_move(with_token: Onelane, valkey: Redis, hand: Hand) -> None:
    note(valkey, TRIAL)
    worker = Presence(valkey)
    worker.name = "onelane-1@box"
    worker.tell()
    ended = with_token("workspace", "move", "--yes")
    assert (ended.code, "1 worker alive: onelane-1 on box" in ended.err) == (1, True)
    worker.end()

    with_token(*SHARED)
    hand.claim(ANN)
    ended = with_token("workspace", "move", "--yes")
    assert (ended.code, "in 1 lane somebody is at work" in ended.err) == (1, True)
    assert on_record(valkey) == Record(TRIAL)


def test_nothing_is_forgotten_if_a_worker_has_started_while_it_asked(
    with_token: Onelane, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(valkey, TRIAL)
    valkey.set(keyspace.belief(ANN), "{}", px=60_000)
    worker = Presence(valkey)
    worker.name = "onelane-1@box"
    monkeypatch.setattr("onelane_worker.cli.workspace.is_interactive", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: worker.tell())

    ended = with_token("workspace", "move")

    assert (ended.code, "1 worker alive" in ended.err) == (1, True)
    assert valkey.exists(keyspace.belief(ANN))
    with pytest.raises(OtherWorkspace):  # which ends that worker
        note(valkey, TRIAL)
    worker.end()
    assert with_token("workspace", "move", "--yes").code == 0
    assert (on_record(valkey), valkey.exists(keyspace.belief(ANN))) == (Record(HERE), 0)


def test_an_intent_that_is_enqueued_during_a_move_gets_its_turn(
    with_token: Onelane, valkey: Redis, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lane was empty and owed a check, which the move forgets."""
    note(valkey, TRIAL)
    with_token(*SHARED)
    grant, check = hand.claim(ANN), Check("c" * 32, "{}", 600_000)
    told = [(grant.head.id, '{"result":"created"}')]
    hand.store.settle(grant, hand.step(), told, None, None, want_more=False, check=check)
    due_of, enqueued = keyspace.due, []

    def due(partition: str) -> str:
        if not enqueued:
            enqueued.append(True)
            with_token(*SHARED[:4])
        return due_of(partition)

    monkeypatch.setattr("onelane.keyspace.due", due)
    workspace_move.begin(valkey, HERE)
    workspace_move.finish(valkey)

    monkeypatch.undo()
    turns = hand.store.hand_out(keyspace.partition_of(ANN), 10, {})
    view = hand.store.describe(ANN)
    assert (enqueued, len(view.intents)) == ([True], 1)
    assert turns or view.sent


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_where_nobody_can_be_asked_nothing_is_moved(
    words: list[str], with_token: Onelane, valkey: Redis
) -> None:
    note(valkey, TRIAL)
    assert with_token("workspace", "move", *words).code == 2
    assert on_record(valkey) == Record(TRIAL)


def test_nothing_is_moved_while_intercom_does_not_tell_whose_token_it_is(
    with_token: Onelane, onelane_sandbox: SandboxControl, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(valkey, TRIAL)
    onelane_sandbox.fault("unauthorized")
    ended = with_token("workspace", "move", "--yes")
    assert (ended.code, "does not tell whose token this is: unauthorized 401" in ended.err) == (1, True)
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", "")
    assert with_token("workspace", "move", "--yes").code == 2
    assert on_record(valkey) == Record(TRIAL)


@pytest.mark.parametrize("words", [["--dry-run"], ["--yes"]])
def test_repair_leaves_another_workspace_alone(
    words: list[str], with_token: Onelane, onelane_sandbox: SandboxControl, valkey: Redis
) -> None:
    note(valkey, TRIAL)
    ended = with_token("repair", *words)
    assert (ended.code, "belongs to the workspace Trial (trial)" in ended.err) == (1, True)
    assert {one["path"] for one in onelane_sandbox.requests()} == {"/me"}
