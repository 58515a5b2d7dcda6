"""`onelane repair` without a worker: what it finds and refuses, and whom it asks."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from onelane.keys import Keys
from onelane.results import Outcome
from onelane_sandbox.client import SandboxControl

from .helpers import Hand, Onelane

ANN, BOB = "ann@example.test", "bob@example.test"


@pytest.fixture
def workspace(onelane_sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch) -> SandboxControl:
    """A lead beside a user, and two leads of one address."""
    monkeypatch.setenv("ONELANE_INTERCOM_URL", onelane_sandbox.url)
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", onelane_sandbox.token)
    for body in (
        {"role": "lead", "email": ANN},
        {"role": "user", "email": ANN, "external_id": "u1"},
        {"role": "lead", "email": BOB},
        {"role": "lead", "email": BOB},
        {"role": "lead", "email": "cleo@example.test"},
    ):
        assert onelane_sandbox.call("POST", "/contacts", body)[0] == 200
    onelane_sandbox.catch_up()
    return onelane_sandbox


def living(workspace: SandboxControl, email: str) -> list[str]:
    gone = ("deleted", "archived", "merged_into")
    people = [one for one in workspace.contacts() if one["email"] == email]
    return [one["role"] for one in people if not any(one[name] for name in gone)]


def test_a_dry_run_needs_no_worker_and_changes_nothing(
    onelane: Onelane, workspace: SandboxControl, hand: Hand
) -> None:
    ended = onelane("repair", "--dry-run")

    assert ended.code == 1
    assert f"a***@example.test  mergeable  lane {hand.lane(ANN)}\n" in ended.out
    assert f"b***@example.test  leads      lane {hand.lane(BOB)}\n" in ended.out
    assert "5 contacts looked at, 2 addresses with more than one" in ended.out
    assert "    1  leads beside a user: can be merged\n" in ended.out
    assert "    1  several leads: Intercom cannot merge those\n" in ended.out
    assert ended.out.endswith(
        "Nothing was changed. `onelane repair` merges what can be merged, and asks first.\n"
    )
    assert len(living(workspace, ANN)) == 2
    assert ANN not in ended.out + ended.err


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_where_nobody_can_be_asked_nothing_is_merged(
    words: list[str], onelane: Onelane, workspace: SandboxControl
) -> None:
    ended = onelane("repair", *words, given="y\n")

    assert ended.code == 2
    assert (
        "onelane: merging cannot be undone, and there is nobody to ask: say --yes or --dry-run" in ended.err
    )
    assert "--dry-run only looks and reports" in ended.err
    assert [one["failed"]["exit_code"] for one in ended.lines] == ([2] if words else [])
    assert not [one for one in workspace.requests() if one["path"] != "/contacts"]


@pytest.mark.parametrize(
    ("words", "terminal"),
    [
        (["--json"], "onelane_worker.cli.repair._can_be_asked"),
        ([], "onelane_worker.cli.repair.is_interactive"),
    ],
)
def test_who_does_not_see_whom_is_not_asked(
    words: list[str],
    terminal: str,
    onelane: Onelane,
    workspace: SandboxControl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program on a terminal; a person whose standard output goes into a file."""
    monkeypatch.setattr(terminal, lambda: True)
    assert onelane("repair", *words, given="y\n").code == 2


def test_without_a_worker_it_says_so(onelane: Onelane, workspace: SandboxControl) -> None:
    ended = onelane("repair", "--yes")
    assert (ended.code, ended.out) == (1, "")
    assert "onelane: no worker is alive: nobody would merge\n  Start one: `onelane worker`." in ended.err
    assert {one["path"] for one in workspace.requests()} <= {"/me", "/contacts"}


def test_a_tidy_workspace_is_told_so(onelane: Onelane, workspace: SandboxControl, hand: Hand) -> None:
    workspace.reset()
    hand.alive()
    ended = onelane("repair", "--yes")
    assert (ended.code, ended.out) == (0, "0 contacts looked at, 0 addresses with more than one\n")


def test_a_person_sees_whom_before_they_are_asked(
    onelane: Onelane, workspace: SandboxControl, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.alive()
    monkeypatch.setattr("onelane_worker.cli.repair._can_be_asked", lambda: True)

    ended = onelane("repair", given="n\n")

    assert ended.out.startswith(f"a***@example.test  mergeable  lane {hand.lane(ANN)}\n    lead ")
    assert "Merge the leads of 1 person into the user? It cannot be undone. [y/N]" in ended.err
    assert hand.redis.llen(Keys().key("queue", hand.lane(ANN))) == 0


def test_a_check_that_waits_is_told_and_stays(
    onelane: Onelane, workspace: SandboxControl, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.alive()
    monkeypatch.setattr("onelane_worker.cli.repair._PATIENCE_S", 0.1)

    told = onelane("repair", "--yes", "--json").json

    assert told["counts"] == {"waiting": 1, "leads": 1}
    [id_] = hand.redis.lrange(Keys().key("queue", hand.lane(ANN)), 0, -1)
    payload: Any = hand.redis.hget(Keys().key("intent", id_), "payload")
    assert '"kind":"duplicate_check"' in payload


def test_what_the_workers_did_is_reported(
    onelane: Onelane, workspace: SandboxControl, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.alive()
    [lead] = [one["id"] for one in workspace.contacts() if (one["email"], one["role"]) == (ANN, "lead")]

    async def ended(*_: object) -> Outcome:
        return Outcome(result="updated", contact_id="u", merged=(lead,))

    monkeypatch.setattr("onelane_worker.operate.duplicates.outcome_of", ended)
    told = onelane("repair", "--yes", "--json")

    assert (told.code, told.json["counts"]) == (1, {"merged": 1, "leads": 1})
    assert {one["lane"] for one in told.json["people"]} == {hand.lane(ANN), hand.lane(BOB)}
    assert [one["merged"] for one in told.json["people"]] == [[lead], []]


def test_a_pause_is_respected(onelane: Onelane, workspace: SandboxControl, hand: Hand) -> None:
    hand.alive()
    onelane("pause", "--reason", "upgrade")

    ended = onelane("repair", "--yes")

    assert (ended.code, ended.out) == (1, "")
    assert "onelane: the workspace is paused since " in ended.err
    assert " ago): upgrade; repair writes nothing\n" in ended.err
    assert "`onelane resume`" in ended.err
    assert onelane("repair", "--dry-run", "--json").json["counts"] == {"mergeable": 1, "leads": 1}


def test_a_pause_in_between_is_told(
    onelane: Onelane, workspace: SandboxControl, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.alive()
    monkeypatch.setattr("onelane_worker.cli.repair._PATIENCE_S", 0.1)
    paused = {"state": "paused", "since": "1"}
    pause = lambda *_: hand.redis.hset(Keys().key("breaker"), mapping=paused)  # noqa: E731
    monkeypatch.setattr("onelane_worker.cli.repair._ask_first", pause)

    told = onelane("repair", "--yes", "--json").json

    assert told["counts"] == {"stopped": 1, "leads": 1}
    assert [len(one["contacts"]) for one in told["people"]] == [2, 2]


def test_a_passing_failure_is_borne(onelane: Onelane, workspace: SandboxControl) -> None:
    workspace.fault("status_503", path="^/contacts", times=2)
    assert onelane("repair", "--dry-run", "--json").json["counts"] == {"mergeable": 1, "leads": 1}


@pytest.mark.parametrize("words", [["--dry-run", "--json"], ["--yes", "--json"]])
def test_without_redis_the_workspace_is_not_read(
    words: list[str], anywhere: Onelane, workspace: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ONELANE_ENQUEUE_TIMEOUT_S", "0.1")
    before = len(workspace.requests())

    ended = anywhere("repair", *words)

    assert (ended.code, ended.json["failed"]["exit_code"]) == (4, 4)
    assert "onelane: Redis did not answer" in ended.err
    assert len(workspace.requests()) == before


def test_a_refused_token_ends_it(onelane: Onelane, workspace: SandboxControl) -> None:
    workspace.fault("unauthorized", times=10)
    ended = onelane("repair", "--dry-run")
    workspace.clear_faults()
    assert (ended.code, ended.out) == (1, "")
    assert "Intercom did not give the list of contacts: unauthorized 401" in ended.err


def test_without_a_token_nothing_is_tried(onelane: Onelane) -> None:
    assert onelane("repair").code == 2


@pytest.mark.parametrize("words", [["--dry-run"], ["--yes"]])
def test_contacts_of_another_workspace_are_not_looked_at(
    words: list[str], onelane: Onelane, workspace: SandboxControl, valkey: Redis, hand: Hand
) -> None:
    hand.alive()
    valkey.hset(Keys().key("meta"), mapping={"intercom_id": "trial", "intercom_name": "Trial"})
    before = len(workspace.requests())
    ended = onelane("repair", *words)
    assert (ended.code, "belongs to the workspace Trial (trial)" in ended.err) == (1, True)
    assert {one["path"] for one in workspace.requests()[before:]} == {"/me"}
