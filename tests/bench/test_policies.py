"""Every policy of the comparison runs, and the comparison sees what it does wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench.compare import BROWSER, compare, judge, shown
from bench.mix import STORIES, Event, Mix, Person, make_mix
from bench.policies import POLICIES
from rich.console import Console

from onelane import LeadCapture

ANN = "ann@bench.test"


def test_every_policy_writes_contacts_and_onelane_breaks_no_promise() -> None:
    mix = make_mix(len(STORIES), 0.5, seed=7)
    scores = {one.policy: one for one in compare(list(POLICIES), mix, lambda text: None)}
    assert scores.keys() == POLICIES.keys()
    for score in scores.values():
        assert score.intents == len(mix.events)
        assert score.calls_per_intent > 0
        assert score.never < score.intents / 2
    assert scores["Onelane"].is_clean
    assert not scores["find-then-create"].is_clean
    console = Console(width=120, record=True)
    console.print(shown(list(scores.values())))
    text = console.export_text()
    assert all(name in text for name in POLICIES)


def test_a_seed_is_the_same_mix_every_time() -> None:
    assert make_mix(50, 5.0, seed=3) == make_mix(50, 5.0, seed=3)
    assert make_mix(50, 5.0, seed=3) != make_mix(50, 5.0, seed=4)


def test_every_story_is_told_as_often_as_the_others() -> None:
    people = make_mix(10 * len(STORIES), 5.0, seed=0).people
    stories = [person.story for person in people]
    assert {stories.count(story) for story in stories} == {10}


def contact(**values: Any) -> dict[str, Any]:
    there = {"archived": False, "deleted": False, "merged_into": None, "unsubscribed_from_emails": False}
    return {"id": "c1", "email": ANN, "role": "user", "name": "Ann", **there, **values}


def written(**values: Any) -> dict[str, Any]:
    return {"method": "PUT", "path": "/contacts/c1", "committed": True, "duration_ms": 100.0, **values}


PERSON = Person(ANN, "a story", {"role": "user", "name": "Ann"}, unsubscribed=False)
EVENT = Event(1.0, "shop", LeadCapture(email=ANN, name="Ann"), ("name", "Ann"))
MIX = Mix([EVENT], [PERSON])


@pytest.mark.parametrize(
    ("contacts", "wrong"),
    [
        ([contact()], (0, 0, 0, 0)),
        ([contact(), contact(id="c2", role="lead")], (1, 0, 0, 0)),
        ([contact(), contact(id="c2")], (0, 1, 0, 0)),
        ([contact(name="Old")], (0, 0, 1, 0)),
        ([contact(unsubscribed_from_emails=True)], (0, 0, 0, 1)),
        ([contact(), contact(id="c2", archived=True)], (0, 0, 0, 0)),
        ([], (0, 0, 2, 1)),
    ],
)
def test_the_true_state_is_judged(contacts: list[dict[str, Any]], wrong: tuple[int, ...]) -> None:
    score = judge("any", MIX, 100.0, 0, contacts, [])
    found = (score.duplicate_leads, score.duplicate_users, score.lost_updates, score.wrong_consent)
    assert found == wrong
    assert score.is_clean is (sum(wrong) == 0)


def test_the_time_until_a_write_counts_in_real_seconds() -> None:
    log = [
        written(at=101.2, body={"name": "Other"}),
        written(at=101.4, body={"name": "Ann"}),
        written(at=109.0, body={"name": "Ann"}),
    ]
    score = judge("any", MIX, 100.0, 0, [contact()], log)
    assert score.p99_s == pytest.approx((101.5 - 101.0) * 20)
    assert (score.never, score.calls_per_intent) == (0, 3.0)


def test_what_the_browser_does_is_nobodys_call() -> None:
    log = [written(at=101.0, body={"name": BROWSER}), written(at=101.4, body={"name": "Ann"})]
    assert judge("any", MIX, 100.0, 0, [contact()], log).calls_per_intent == 1.0


def test_a_value_that_was_never_written_is_told() -> None:
    assert judge("any", MIX, 100.0, 0, [contact()], []).never == 1


def test_every_policy_says_where_it_is_seen() -> None:
    folder = Path(__file__).parents[2] / "bench" / "policies"
    apart = {"__init__.py", "setting.py", "onelane_queue.py"}
    files = [one for one in folder.glob("*.py") if one.name not in apart]
    assert len(files) == len(POLICIES) - 1
    assert all("Seen " in one.read_text("utf-8").split('"""')[1] for one in files)
