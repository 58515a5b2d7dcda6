"""`onelane status`: every state a person may meet."""

from __future__ import annotations

import pytest

from .helpers import Hand, Onelane

EMAIL = "ann@example.test"
MASKED = "a***@example.test"
REFUSED = {
    "class": "refused",
    "http_status": 400,
    "code": "parameter_invalid",
    "message": f"[{EMAIL}] is odd",
}


@pytest.fixture
def intent(onelane: Onelane) -> str:
    """The id of one waiting intent."""
    receipt: str = onelane("enqueue", "lead-capture", "--email", EMAIL, "--name", "Ann", "--json").json["id"]
    return receipt


def test_status_of_a_waiting_intent(onelane: Onelane, intent: str) -> None:
    ended = onelane("status", intent)

    assert ended.code == 0
    assert ended.out.splitlines()[:2] == [f"lead-capture  {intent}", "  state     waiting"]
    assert onelane("status", intent, "--json").json["state"] == "waiting"


def test_status_of_one_that_is_tried_again(onelane: Onelane, intent: str, hand: Hand) -> None:
    hand.postpone(EMAIL, "retrying", REFUSED)

    lines = onelane("status", intent).out.splitlines()

    assert lines[1] == "  state     retrying, 1 attempt"
    assert lines[2] == f"  error     refused 400 parameter_invalid: [{MASKED}] is odd"
    assert lines[3].startswith(("  next      in 60 s (", "  next      in 59 s ("))


def test_status_of_one_that_is_done(onelane: Onelane, intent: str, hand: Hand) -> None:
    hand.settle(EMAIL, {"result": "superseded", "superseded_by": "ff", "calls": 0})

    ended = onelane("status", intent)

    assert ended.code == 0
    assert "  outcome   superseded, by ff, 0 calls\n" in ended.out


def test_a_dead_one_is_a_negative_result(onelane: Onelane, intent: str, hand: Hand) -> None:
    hand.bury(EMAIL, REFUSED)

    ended = onelane("status", intent)

    assert ended.code == 1
    assert f"  outcome   rejected, refused, 1 call: [{MASKED}] is odd\n" in ended.out
    assert EMAIL not in onelane("status", intent, "--json").out


def test_an_address_instead_of_an_id_is_masked(onelane: Onelane) -> None:
    for words in ([], ["--json"]):
        ended = onelane("status", EMAIL, *words)
        assert ended.code == 3
        assert f"onelane: no intent has the id '{MASKED}'" in ended.err
        assert EMAIL not in ended.out + ended.err


@pytest.mark.parametrize("intent_id", ["0" * 32, "nonsense"])
def test_an_unknown_id_is_not_found(intent_id: str, onelane: Onelane) -> None:
    ended = onelane("status", intent_id)

    assert (ended.code, ended.out) == (3, "")
    assert "no intent has the id" in ended.err
    told = onelane("status", intent_id, "--json")
    assert (told.code, told.json["failed"]["exit_code"]) == (3, 3)
    assert "no intent has the id" in told.json["failed"]["message"]
