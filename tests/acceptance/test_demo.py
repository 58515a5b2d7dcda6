"""`onelane demo`: the judge, the opponent, and the whole of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from onelane import ContactSync, LeadCapture, NewsletterOptIn, NewsletterOptOut, ProductSignUp
from onelane_sandbox.client import SandboxControl
from onelane_sandbox.serve import RunningSandbox
from onelane_worker.cli.demo import report
from onelane_worker.cli.demo.find_then_create import FindThenCreate
from onelane_worker.cli.demo.judge import Verdict, judge
from onelane_worker.cli.demo.report import Row
from onelane_worker.cli.demo.stories import Person, all_stories

from .commands import Terminal, is_alive, sessions_of

ANN = "ann@example.test"

# ── the judge ─────────────────────────────────────────────────────────────────────────────────────────────


def contact(email: str = ANN, **fields: Any) -> dict[str, Any]:
    return {"email": email, "archived": False, "deleted": False, "merged_into": None, **fields}


def test_a_person_who_is_there_once_with_everything_is_right() -> None:
    verdict = judge([contact(role="user", name="Ann")], [Person(ANN, {"role": "user", "name": "Ann"})])

    assert (verdict.contacts, verdict.duplicates, verdict.lost) == (1, 0, ())


def test_of_duplicates_the_best_one_is_asked_for_what_is_lost() -> None:
    contacts = [contact(role="user", name="Ann"), contact(role="lead", phone="+1")]

    verdict = judge(contacts, [Person(ANN, {"role": "user", "name": "Ann", "phone": "+1"})])

    assert (verdict.contacts, verdict.duplicates, verdict.lost) == (2, 1, ("phone",))


def test_who_is_not_there_has_lost_everything() -> None:
    gone = [
        contact(archived=True),
        contact(deleted=True),
        contact(merged_into="1"),
        contact("bob@example.test"),
    ]

    verdict = judge(gone, [Person(ANN, {"role": "user", "name": "Ann"})])

    assert (verdict.contacts, verdict.duplicates, verdict.lost) == (1, 0, ("role", "name"))


@pytest.mark.parametrize(
    ("wrong", "passes"), [({}, True), ({"duplicates": 1}, False), ({"lost": ("name",)}, False)]
)
def test_only_onelane_has_to_be_right(wrong: dict[str, Any], passes: bool) -> None:
    story = all_stories()[0]
    bad = Verdict(people=1, contacts=2, duplicates=1, lost=("name",))
    after = Verdict(**{"people": 1, "contacts": 1, "duplicates": 0, "lost": (), **wrong})

    assert report.passed([Row(story, bad, after)]) is passes


# ── the opponent ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def server() -> Iterator[RunningSandbox]:
    with RunningSandbox() as running:
        yield running


@pytest.fixture
def sandbox(server: RunningSandbox) -> SandboxControl:
    """Its index does not lag: find-then-create has a fair chance."""
    control = server.control
    control.reset()
    control.lag(0)
    return control


def test_without_a_lag_find_then_create_is_right(sandbox: SandboxControl) -> None:
    client = FindThenCreate(sandbox)

    client.apply(LeadCapture(email=ANN, name="Ann"))
    client.apply(ProductSignUp(email=ANN, external_id="u1", phone="+15550100"))
    client.apply(NewsletterOptOut(email=ANN))
    client.apply(ContactSync(email=ANN, name="Ann Lee"))

    [ann] = sandbox.contacts()
    assert (ann["role"], ann["external_id"], ann["name"], ann["phone"]) == (
        "user",
        "u1",
        "Ann Lee",
        "+15550100",
    )
    assert ann["unsubscribed_from_emails"] is True


def test_it_saves_the_call_when_nothing_has_changed(sandbox: SandboxControl) -> None:
    client = FindThenCreate(sandbox)

    client.apply(NewsletterOptIn(email=ANN, name="Ann"))
    client.apply(NewsletterOptIn(email=ANN, name="Ann"))

    assert [one["path"] for one in sandbox.requests()] == [
        "/contacts/search",
        "/contacts",
        "/contacts/search",
    ]


def test_it_updates_whom_a_conflict_names(sandbox: SandboxControl) -> None:
    sandbox.lag(60)
    sandbox.call("POST", "/contacts", {"role": "user", "external_id": "u1", "email": ANN})

    FindThenCreate(sandbox).apply(ProductSignUp(email=ANN, external_id="u1", name="Ann"))

    assert [one["name"] for one in sandbox.contacts()] == ["Ann"]


@pytest.mark.parametrize("fault", ["lose_response", "status_503", "rate_limited"])
def test_it_tries_again_from_the_search(
    fault: str, sandbox: SandboxControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    sandbox.fault(fault, method="POST", path="^/contacts$")

    FindThenCreate(sandbox).apply(LeadCapture(email=ANN, name="Ann"))

    assert [one["name"] for one in sandbox.contacts()] == ["Ann"]


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_demo_shows_duplicates_and_none_of_onelane(terminal: Terminal) -> None:
    ended = terminal.run("demo", "--json", env={"ONELANE_LEASE_S": "nonsense"})  # not its user's settings

    assert (ended.code, ended.err) == (0, "")
    found = ended.json
    onelane, before = found["total"]["onelane"], found["total"]["find_then_create"]
    assert (onelane["duplicates"], onelane["lost"], onelane["contacts"]) == (0, 0, onelane["people"])
    assert before["duplicates"] > 0
    assert before["lost"] > 0
    assert all(story["onelane"]["visible_s"] is not None for story in found["stories"])


def test_ctrl_c_ends_the_demo_and_all_it_started(terminal: Terminal) -> None:
    with terminal.start("demo") as demo:
        assert demo.stderr is not None
        next(line for line in demo.stderr if line.startswith("Onelane: "))
        started = sessions_of(demo.pid)
        demo.send_signal(signal.SIGINT)
        out, _ = demo.communicate(timeout=40)

    assert (demo.returncode, out) == (130, "")
    assert len(started) == 2
    assert not [one for one in started if is_alive(one)]
