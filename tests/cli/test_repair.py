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
    assert "a***@example.test  leads beside a user: can be merged" in ended.out
    assert "b***@example.test  several leads: Intercom cannot merge those" in ended.out
    assert "5 contacts looked at, 2 addresses with more than one" in ended.out
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
