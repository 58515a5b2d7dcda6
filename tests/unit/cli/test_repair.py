"""`onelane repair`: over HTTP, as its user runs it."""

from __future__ import annotations

import pytest
from onelane.identity import lane_id

from onelane_sandbox.client import SandboxControl

from .helpers import Onelane

ANN, BOB = "ann@example.test", "bob@example.test"


@pytest.fixture
def workspace(onelane_sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch) -> SandboxControl:
    """A lead beside a user, and two leads of one address."""
    onelane_sandbox.reset()
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


def test_a_dry_run_changes_nothing(onelane: Onelane, workspace: SandboxControl) -> None:
    ended = onelane("repair", "--dry-run")

    assert ended.code == 1
    assert f"a***@example.test  mergeable  lane {lane_id(ANN)}\n" in ended.out
    assert f"b***@example.test  leads      lane {lane_id(BOB)}\n" in ended.out
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
    assert living(workspace, ANN) == ["lead", "user"]
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
    assert living(workspace, ANN) == ["lead", "user"]


def test_leads_are_merged_and_the_rest_is_reported(onelane: Onelane, workspace: SandboxControl) -> None:
    ended = onelane("repair", "--yes", "--json")

    assert (ended.code, ended.json["contacts"]) == (1, 5)
    assert {one["lane"] for one in ended.json["people"]} == {lane_id(ANN), lane_id(BOB)}
    assert ended.json["counts"] == {"merged": 1, "leads": 1}
    assert living(workspace, ANN) == ["user"]
    assert living(workspace, BOB) == ["lead", "lead"]
    assert onelane("lane", lane_id(ANN)).code == 0


def test_a_tidy_workspace_is_told_so(
    onelane: Onelane, workspace: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.reset()
    ended = onelane("repair", "--yes")
    assert (ended.code, ended.out) == (0, "0 contacts looked at, 0 addresses with more than one\n")


@pytest.mark.parametrize(("answer", "left"), [("n\n", ["lead", "user"]), ("y\n", ["user"])])
def test_a_person_sees_whom_before_they_are_asked(
    answer: str,
    left: list[str],
    onelane: Onelane,
    workspace: SandboxControl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onelane_worker.cli.repair._can_be_asked", lambda: True)

    ended = onelane("repair", given=answer)

    assert ended.out.startswith(f"a***@example.test  mergeable  lane {lane_id(ANN)}\n    lead ")
    assert "Merge the leads of 1 person into the user? It cannot be undone. [y/N]" in ended.err
    assert living(workspace, ANN) == left


def test_a_paused_line_is_respected(onelane: Onelane, workspace: SandboxControl) -> None:
    onelane("pause", "--reason", "upgrade")

    ended = onelane("repair", "--yes")

    assert (ended.code, ended.out) == (1, "")
    assert "onelane: the line is paused since " in ended.err
    assert " ago): upgrade; repair writes nothing\n" in ended.err
    assert "`onelane resume`" in ended.err
    assert living(workspace, ANN) == ["lead", "user"]
    assert onelane("repair", "--dry-run", "--json").json["counts"] == {"mergeable": 1, "leads": 1}
    onelane("resume")
    assert onelane("repair", "--yes", "--json").json["counts"]["merged"] == 1


def test_a_pause_in_between_stops_it(
    onelane: Onelane, workspace: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pauses(*_: object) -> None:
        onelane("pause")

    monkeypatch.setattr("onelane_worker.cli.repair._ask_first", pauses)

    told = onelane("repair", "--yes", "--json").json

    assert told["counts"] == {"stopped": 1, "leads": 1}
    assert [len(one["contacts"]) for one in told["people"]] == [2, 2]
    assert living(workspace, ANN) == ["lead", "user"]


def test_a_passing_failure_is_borne(onelane: Onelane, workspace: SandboxControl) -> None:
    workspace.fault("status_503", path="^/contacts", times=2)
    assert onelane("repair", "--yes", "--json").json["counts"]["merged"] == 1


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


@pytest.mark.parametrize("words", ["--dry-run", "--yes"])
def test_a_refused_token_ends_it(words: str, onelane: Onelane, workspace: SandboxControl) -> None:
    workspace.fault("unauthorized", times=10)
    ended = onelane("repair", words)
    workspace.clear_faults()
    assert (ended.code, ended.out) == (1, "")
    assert "Intercom did not give the list of contacts: unauthorized 401" in ended.err


def test_without_a_token_nothing_is_tried(onelane: Onelane) -> None:
    assert onelane("repair").code == 2
