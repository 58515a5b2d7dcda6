"""`onelane dead`: list, show, replay, discard."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from onelane.keys import Keys
from onelane_worker.cli._letter_page import LISTED
from onelane_worker.engine.codec import memory_of, to_store
from onelane_worker.operate import dead_letters
from onelane_worker.operate.dead_letters import PAGE, DeadLetter
from onelane_worker.operate.open_workspace import OpenWorkspace
from onelane_worker.planner import replay
from onelane_worker.planner.registry import Burials, ConsentMemory, ConsentWord

from .helpers import Hand, Onelane

ANN, BOB = "ann@example.test", "bob@example.test"
REFUSED = {"class": "refused", "http_status": 400, "code": "parameter_invalid", "message": "odd"}
ODD = REFUSED | {"message": f"[{ANN}] is odd"}
FORBIDDEN = {"class": "forbidden", "http_status": 403}
Bury = Callable[..., str]
KEYS = Keys()


@pytest.fixture
def bury(onelane: Onelane, hand: Hand, valkey: Redis) -> Bury:
    """Makes a dead letter, as a worker would, with what its lane remembers of it."""

    def do(
        email: str = ANN, kind: str = "lead-capture", error: object = REFUSED, *, known: bool = True
    ) -> str:
        name = [] if kind == "newsletter-opt-out" else ["--name", "Ann"]
        id_: str = onelane("enqueue", kind, "--email", email, *name, "--json").json["id"]
        hand.bury(email, error)
        if known:
            before = memory_of(valkey.get(KEYS.key("consent", hand.lane(email))))
            remember(hand, replay.buried(before, id_), email)
        return id_

    return do


def remember(hand: Hand, memory: ConsentMemory, email: str = ANN) -> None:
    """What the lane of the address remembers from now on."""
    hand.redis.set(KEYS.key("consent", hand.lane(email)), to_store(memory) or "{}")


def remembered(hand: Hand, **written: int) -> ConsentMemory:
    """What Ann's lane remembers, with these fields written after so many burials."""
    memory = memory_of(hand.redis.get(KEYS.key("consent", hand.lane(ANN))))
    burials: Burials = replace(memory.burials, written=written)
    return replace(memory, burials=burials)


def state(onelane: Onelane, id_: str) -> str:
    found: str = onelane("status", id_, "--json").json["state"]
    return found


# ── list and show ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def intent(onelane: Onelane) -> str:
    """The id of one waiting intent."""
    receipt: str = onelane("enqueue", "lead-capture", "--email", ANN, "--name", "Ann", "--json").json["id"]
    return receipt


@pytest.fixture
def buried(onelane: Onelane, hand: Hand) -> list[str]:
    """Three dead letters, the oldest first."""
    ids = []
    for name in ("ann", "bob", "cleo"):
        email = f"{name}@example.test"
        ids.append(onelane("enqueue", "lead-capture", "--email", email, "--json").json["id"])
        hand.bury(email, ODD)
    return ids


def test_no_dead_letters(onelane: Onelane) -> None:
    assert onelane("dead", "list").out == "No dead letters.\n"
    told = onelane("dead", "list", "--json")
    assert (told.code, told.lines, told.err) == (0, [], "")  # JSON lines, as of every list: none for none
    for verb in (["replay"], ["discard", "--reason", "x"]):
        told = onelane("dead", *verb, "--all", "--dry-run", "--json")
        assert (told.code, told.lines) == (0, [])
    assert "no line if there is none" in " ".join(onelane("dead", "list", "--help").out.split())


def test_dead_letters_are_listed_newest_first(onelane: Onelane, buried: list[str]) -> None:
    ended = onelane("dead", "list", "--json")

    assert [line["id"] for line in ended.lines] == buried[::-1]
    assert [line["who"] for line in ended.lines] == [f"{letter}***@example.test" for letter in "cba"]
    assert ended.err == ""


def test_of_many_the_newest_are_shown_and_the_rest_is_counted(onelane: Onelane, buried: list[str]) -> None:
    page = onelane("dead", "list", "--limit", "1")
    assert buried[2] in page.out
    assert buried[0] not in page.out
    assert "\n… and 2 older: --limit 3 shows them all.\n" in page.out

    told = onelane("dead", "list", "--limit", "1", "--json")
    assert [line["id"] for line in told.lines] == buried[2:]
    assert told.err == "… and 2 older: --limit 3 shows them all.\n"


def test_a_list_of_some(onelane: Onelane, buried: list[str]) -> None:
    listed = onelane("dead", "list", buried[0], buried[1], "--error", "400", "--json")
    assert [line["id"] for line in listed.lines] == [buried[1], buried[0]]
    none = onelane("dead", "list", "--kind", "contact-sync")
    assert none.out == "No dead letter matches. `onelane dead list` shows all.\n"
    assert onelane("dead", "list", "nonsense").code == 2


def test_a_dead_letter_is_shown_whole(onelane: Onelane, intent: str, hand: Hand) -> None:
    hand.bury(ANN, ODD)

    told = onelane("dead", "show", intent, "--json").json
    assert told["payload"] == {"kind": "lead_capture", "email": "a***@example.test", "name": "Ann"}
    assert told["error"]["message"] == "[a***@example.test] is odd"
    assert told["left_out"] is None

    page = onelane("dead", "show", intent).out
    for words in (
        f"lead-capture  {intent}  a***@example.test\n",
        "  why       refused 400 parameter_invalid: [a***@example.test] is odd\n",
        '  wanted    name = "Ann"\n',
        "  replay    what was written since is not remembered any more: --as-is applies it whole\n",
        f"  onelane dead replay {intent}\n",
    ):
        assert words in page
    assert ANN not in page


def test_what_is_not_dead_is_not_found(onelane: Onelane, intent: str) -> None:
    assert onelane("dead", "show", intent).code == 3
    assert onelane("dead", "show", "0" * 32).code == 3
    assert onelane("dead", "show", "nonsense").code == 2


# ── replay and discard ───────────────────────────────────────────────────────────────────────────────────


def test_replay_by_id(onelane: Onelane, bury: Bury, valkey: Redis) -> None:
    id_, other = bury(), bury(BOB)

    ended = onelane("dead", "replay", id_)

    assert (ended.code, ended.out.splitlines()[0]) == (0, "1 dead letter replayed.")
    assert (state(onelane, id_), state(onelane, other)) == ("waiting", "dead")
    assert valkey.llen("onelane.main") == 2 + 1  # two accepted, one replayed
    shown = onelane("lane", ANN).out
    assert "replayed" in shown
    assert "whatever was written since stands" in shown


@pytest.mark.parametrize(
    ("which", "meant"),
    [
        (["--kind", "newsletter-opt-in"], {"b"}),
        (["--kind", "newsletter_opt_in", "--kind", "lead-capture"], {"a", "b"}),
        (["--error", "forbidden"], {"b"}),
        (["--error", "parameter_invalid"], {"a"}),
        (["--error", "400", "--kind", "newsletter-opt-in"], set()),
        (["--newer-than", "1h"], {"b"}),
        (["--older-than", "30m"], {"a"}),
        (["--all"], {"a", "b"}),
    ],
)
def test_replay_by_what_they_are(
    which: list[str], meant: set[str], onelane: Onelane, bury: Bury, valkey: Redis
) -> None:
    ids = {"a": bury(), "b": bury(BOB, "newsletter-opt-in", FORBIDDEN)}
    valkey.hincrby(KEYS.key("intent", ids["a"]), "ended", -7_200_000)
    valkey.zincrby(KEYS.key("dead"), -7_200_000, ids["a"])

    told = onelane("dead", "replay", *which, "--json").json

    assert (told["replayed"], told["failed"]) == (len(meant), 0)
    assert {one["id"] for one in told["letters"]} == {ids[name] for name in meant}
    assert {name for name, id_ in ids.items() if state(onelane, id_) == "waiting"} == meant
    listed = onelane("dead", "list", *(word for word in which if word != "--all"), "--json").lines
    assert not {one["id"] for one in listed} & {ids[name] for name in meant}


def test_they_go_back_in_the_order_in_which_they_were_accepted(
    onelane: Onelane, bury: Bury, hand: Hand
) -> None:
    ids = [bury() for _ in range(4)]

    onelane("dead", "replay", *reversed(ids))

    assert hand.redis.lrange(KEYS.key("queue", hand.lane(ANN)), 0, -1) == ids


def test_a_dry_run_tells_what_would_be_left_out(onelane: Onelane, bury: Bury, hand: Hand) -> None:
    id_ = bury()
    forgotten = bury(BOB, known=False)
    remember(hand, remembered(hand, name=1))

    shown = onelane("dead", "replay", "--all", "--dry-run").out
    lines = onelane("dead", "replay", "--all", "--dry-run", "--json").lines

    assert "    without name\n" in shown
    assert "what was written since is not remembered any more" in shown
    assert "2 dead letters; nothing was changed." in shown
    assert {line["id"]: line["left_out"] for line in lines} == {id_: ["name"], forgotten: None}
    assert state(onelane, id_) == "dead"


def test_only_what_the_letter_names_is_forecast_and_a_newer_word_too(
    onelane: Onelane, bury: Bury, hand: Hand
) -> None:
    id_ = bury(kind="newsletter-opt-out")
    memory = remembered(hand, name=1, phone=1)
    remember(hand, memory)
    assert onelane("dead", "show", id_, "--json").json["left_out"] == []
    assert "  replay    whole: nothing was written since\n" in onelane("dead", "show", id_).out

    newer = ConsentWord(opted_in=True, at_ms=10**14, by="f" * 32)
    remember(hand, replace(memory, consent={"all": newer}))
    assert onelane("dead", "show", id_, "--json").json["left_out"] == ["consent"]


def test_the_reason_of_a_replay_is_told_by_the_timeline(onelane: Onelane, bury: Bury) -> None:
    id_ = bury()

    assert onelane("dead", "replay", id_, "--reason", f"{BOB} made the attribute").code == 0

    assert (
        "whatever was written since stands: b***@example.test made the attribute" in onelane("lane", ANN).out
    )
    [event] = [one for one in onelane("lane", ANN, "--json").json["timeline"] if one["what"] == "replayed"]
    assert event["reason"] == "b***@example.test made the attribute"


def test_what_is_not_remembered_is_replayed_only_as_it_is(onelane: Onelane, bury: Bury) -> None:
    id_ = bury(known=False)

    ended = onelane("dead", "replay", id_)
    assert ended.code == 1
    assert (
        f"  {id_}  what was written since is not remembered any more: --as-is applies it whole" in ended.out
    )
    assert state(onelane, id_) == "dead"

    assert onelane("dead", "replay", id_, "--as-is").code == 0
    assert state(onelane, id_) == "waiting"
    assert "whole" in onelane("lane", ANN).out


def test_a_full_lane_takes_no_replay(onelane: Onelane, bury: Bury, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = bury()
    onelane("enqueue", "lead-capture", "--email", ANN)
    monkeypatch.setenv("ONELANE_LANE_MAX", "1")

    ended = onelane("dead", "replay", id_, "--json")

    assert (ended.code, ended.json["letters"]) == (1, [{"id": id_, "result": "lane_full"}])


def test_discard_keeps_the_reason_and_nothing_of_the_person(
    onelane: Onelane, bury: Bury, valkey: Redis
) -> None:
    id_ = bury()

    ended = onelane("dead", "discard", id_, "--reason", f"{BOB} says it is a test")

    assert (ended.code, ended.out) == (0, "1 dead letter discarded.\n")
    status = onelane("status", id_)
    assert status.code == 1
    assert (
        "rejected, refused, 1 call: odd; discarded by hand: b***@example.test says it is a test" in status.out
    )
    assert onelane("dead", "list").out == "No dead letters.\n"
    assert onelane("dead", "show", id_).code == 3
    record = json.dumps(valkey.hgetall(KEYS.key("intent", id_)))
    assert not [word for word in (ANN, BOB) if word in record]
    assert "b***@example.test says it is a test" in onelane("lane", ANN).out


def test_discard_wants_a_reason(onelane: Onelane, bury: Bury) -> None:
    id_ = bury()
    assert onelane("dead", "discard", id_).code == 2
    assert onelane("dead", "discard", id_, "--reason", " ").code == 2
    assert onelane("dead", "discard", id_, "--reason", "x", "--dry-run").code == 0
    assert state(onelane, id_) == "dead"


@pytest.mark.parametrize("verb", [["replay"], ["discard", "--reason", "x"]])
def test_which_ones_must_be_said(verb: list[str], onelane: Onelane, bury: Bury) -> None:
    id_ = bury()
    for words in ([], [id_, "--all"], ["nonsense"], ["--older-than", "soon"]):
        assert onelane("dead", *verb, *words).code == 2
    assert "`onelane dead list` shows them." in onelane("dead", *verb).err
    assert "'b***@example.test' is no id: it must be 32 hex digits" in onelane("dead", *verb, BOB).err
    unknown = onelane("dead", *verb, "0" * 32)
    assert (unknown.code, "no dead letter has the id" in unknown.err) == (3, True)
    none = onelane("dead", *verb, "--kind", "contact-sync")
    assert (none.code, none.out.startswith("0 dead letters ")) == (0, True)
    assert state(onelane, id_) == "dead"


@pytest.mark.parametrize(("answer", "becomes"), [("n\n", "dead"), ("y\n", "waiting")])
def test_a_person_is_asked(
    answer: str, becomes: str, onelane: Onelane, bury: Bury, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onelane_worker.cli import dead

    id_ = bury()
    monkeypatch.setattr(dead, "is_interactive", lambda: True)

    ended = onelane("dead", "replay", id_, given=answer)

    assert "Replay 1 dead letter? [y/N]" in ended.err
    assert ended.code == (0 if becomes == "waiting" else 1)
    assert state(onelane, id_) == becomes
    if becomes == "waiting":
        return
    assert onelane("dead", "replay", id_, "--yes").code == 0


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("verb", [["replay"], ["discard", "--reason", "x"]], ids=["replay", "discard"])
def test_before_a_person_is_asked_the_letters_are_named(
    verb: list[str], as_json: list[str], onelane: Onelane, bury: Bury, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [bury(f"p{n}@x.test") for n in range(LISTED)]
    unnamed = [bury(BOB, "newsletter-opt-in", FORBIDDEN), bury(ANN)]
    monkeypatch.setattr("onelane_worker.cli.dead.is_interactive", lambda: True)

    ended = onelane("dead", *verb, "--all", *as_json, given="n\n")

    asked = ended.err.splitlines()
    assert asked[0].split() == ["id", "kind", "who", "dead", "for"]
    assert asked[1].split()[:3] == [ids[0], "lead-capture", "p***@x.test"]
    assert asked[2] == "    refused 400 parameter_invalid: odd"
    assert all(any(line.startswith(id_) for line in asked) for id_ in ids)
    assert not any(id_ in ended.err for id_ in unnamed)
    assert "… and 2 more; all together:" in asked
    assert ["21", "lead-capture", "refused", "400", "parameter_invalid"] in [line.split() for line in asked]
    assert ["1", "newsletter-opt-in", "forbidden", "403"] in [line.split() for line in asked]
    assert "22 dead letters" in ended.err
    assert ended.code == 1
    assert {state(onelane, id_) for id_ in ids} == {"dead"}


class Reads:
    """Counts what is read of Redis while it is looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.letters = 0
        self.most_at_once = 0
        real = dead_letters.letters_of

        async def counted(opened: OpenWorkspace, ids: Sequence[str]) -> list[DeadLetter]:
            self.letters += len(ids)
            self.most_at_once = max(self.most_at_once, len(ids))
            return await real(opened, ids)

        monkeypatch.setattr(dead_letters, "letters_of", counted)


@pytest.fixture
def crowd(onelane: Onelane, bury: Bury, valkey: Redis) -> list[str]:
    """Ids of 450 dead letters, the oldest first."""
    one = bury()
    record = valkey.hgetall(KEYS.key("intent", one))
    valkey.delete(KEYS.key("dead"), KEYS.key("intent", one))
    ids = [f"{n:032x}" for n in range(450)]
    pipe = valkey.pipeline(transaction=False)
    for n, id_ in enumerate(ids):
        told = {"ended": 1_000 + n // 3, "at": 900 + n, "lane": id_}
        pipe.hset(KEYS.key("intent", id_), mapping=record | told)
        pipe.zadd(KEYS.key("dead"), {id_: 1_000 + n // 3})
    pipe.execute()
    return ids


def test_a_list_reads_no_more_letters_than_it_shows(
    crowd: list[str], onelane: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)

    listed = onelane("dead", "list", "--limit", "6", "--json")

    assert {one["id"] for one in listed.lines} == set(crowd[-6:])
    assert listed.err == "… and 444 older: --limit 450 shows them all.\n"
    assert reads.letters <= PAGE

    listed = onelane("dead", "list", "--limit", "6", "--kind", "lead-capture", "--json")
    assert (len(listed.lines), listed.err) == (6, "… and older ones: a higher --limit shows more.\n")
    assert reads.letters <= 2 * PAGE


def test_a_list_of_all_has_each_once_newest_first(crowd: list[str], onelane: Onelane) -> None:
    listed = onelane("dead", "list", "--limit", "1000", "--json")
    at = [one["buried_at_ms"] for one in listed.lines]
    assert (sorted(one["id"] for one in listed.lines), listed.err) == (sorted(crowd), "")
    assert at == sorted(at, reverse=True)


def test_a_list_of_the_newer_ones_does_not_read_the_others(
    crowd: list[str], onelane: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)
    assert onelane("dead", "list", "--newer-than", "1h").out.startswith("No dead letter matches.")
    assert reads.letters == 0


def test_a_discard_of_many_holds_a_page_at_a_time(
    crowd: list[str], onelane: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)

    told = onelane("dead", "discard", "--all", "--reason", "x", "--json").json

    assert (told["discarded"], told["failed"]) == (450, 0)
    assert [one["id"] for one in told["letters"]] == crowd  # in the order in which they were accepted
    assert reads.most_at_once <= PAGE


def test_what_ended_while_a_person_was_asked_is_told_as_gone(
    onelane: Onelane, bury: Bury, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [bury(), bury(BOB)]

    async def confirm(opened: OpenWorkspace, *_: Any) -> None:
        await opened.read(("HSET", KEYS.key("intent", ids[0]), "state", "done"))

    monkeypatch.setattr("onelane_worker.cli.dead._confirm", confirm)
    ended = onelane("dead", "replay", *ids, "--json")

    assert ended.code == 1
    assert [one["result"] for one in ended.lines[-1]["letters"]] == ["gone", "replayed"]


def test_an_unreadable_letter_can_only_be_discarded(onelane: Onelane, bury: Bury, valkey: Redis) -> None:
    id_ = bury()
    valkey.hset(KEYS.key("intent", id_), "payload", "{")

    assert onelane("dead", "replay", id_, "--json").json["letters"][0]["result"] == "unreadable"
    assert onelane("dead", "list").code == 0
    assert onelane("dead", "discard", id_, "--reason", "broken").code == 0
