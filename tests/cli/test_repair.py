"""`onelane repair`: over HTTP, as its user runs it."""

from __future__ import annotations

import pytest

from worker.sandbox.client import SandboxControl

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
    assert "a***@example.test  mergeable\n" in ended.out
    assert "b***@example.test  leads\n" in ended.out
    assert "5 contacts looked at, 2 addresses with more than one" in ended.out
    assert "    1  leads beside a user: can be merged\n" in ended.out
    assert "    1  several leads: Intercom cannot merge those\n" in ended.out
    assert ended.out.endswith(
        "Nothing was changed. `onelane repair` merges what can be merged, and asks first.\n"
    )
    assert len(living(workspace, ANN)) == 2
    assert ANN not in ended.out + ended.err


def test_leads_are_merged_and_the_rest_is_reported(onelane: Onelane, workspace: SandboxControl) -> None:
    ended = onelane("repair", "--json")

    assert (ended.code, ended.json["contacts"]) == (1, 5)
    assert ended.json["counts"] == {"merged": 1, "leads": 1}
    assert living(workspace, ANN) == ["user"]
    assert living(workspace, BOB) == ["lead", "lead"]
    assert onelane("lane", ANN).code == 0


def test_a_tidy_workspace_is_told_so(
    onelane: Onelane, workspace: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.reset()
    ended = onelane("repair")
    assert (ended.code, ended.out) == (0, "0 contacts looked at, 0 addresses with more than one\n")


@pytest.mark.parametrize(("answer", "left"), [("n\n", ["lead", "user"]), ("y\n", ["user"])])
def test_a_person_sees_whom_before_they_are_asked(
    answer: str,
    left: list[str],
    onelane: Onelane,
    workspace: SandboxControl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.cli.repair.is_interactive", lambda: True)

    ended = onelane("repair", given=answer)

    assert ended.out.startswith("a***@example.test  mergeable\n    lead ")
    assert "Merge the leads of 1 person into the user? It cannot be undone. [y/N]" in ended.err
    assert living(workspace, ANN) == left


def test_a_paused_line_is_respected(onelane: Onelane, workspace: SandboxControl) -> None:
    onelane("pause", "--reason", "upgrade")

    ended = onelane("repair", "--yes")

    assert (ended.code, ended.out) == (1, "")
    assert "onelane: the line is paused for " in ended.err
    assert ": upgrade; repair writes nothing\n" in ended.err
    assert "`onelane resume`" in ended.err
    assert living(workspace, ANN) == ["lead", "user"]
    assert onelane("repair", "--dry-run", "--json").json["counts"] == {"mergeable": 1, "leads": 1}
    onelane("resume")
    assert onelane("repair", "--json").json["counts"]["merged"] == 1


def test_a_pause_in_between_stops_it(
    onelane: Onelane, workspace: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pauses(*_: object) -> None:
        onelane("pause")

    monkeypatch.setattr("worker.cli.repair._ask_first", pauses)

    told = onelane("repair", "--json").json

    assert told["counts"] == {"stopped": 1, "leads": 1}
    assert [len(one["contacts"]) for one in told["people"]] == [2, 2]
    assert living(workspace, ANN) == ["lead", "user"]


def test_a_passing_failure_is_borne(onelane: Onelane, workspace: SandboxControl) -> None:
    workspace.fault("status_503", path="^/contacts", times=2)
    assert onelane("repair", "--json").json["counts"]["merged"] == 1


def test_a_refused_token_ends_it(onelane: Onelane, workspace: SandboxControl) -> None:
    workspace.fault("unauthorized", times=10)
    ended = onelane("repair")
    workspace.clear_faults()
    assert (ended.code, ended.out) == (4, "")
    assert "Intercom did not give the list of contacts: unauthorized 401" in ended.err


def test_without_a_token_nothing_is_tried(onelane: Onelane) -> None:
    assert onelane("repair").code == 2
