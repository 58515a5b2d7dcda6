"""What a queue says to Redis, round trip by round trip, without a Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
from redis.exceptions import NoScriptError, OutOfMemoryError

from onelane import QueueUnavailable
from onelane import session as session_module
from onelane.session import Exchange, Session
from onelane.workspace import Command, Workspace

T = TypeVar("T")
SECRET, OTHER = "a" * 32, "b" * 32
NOSCRIPT = NoScriptError("No matching script.")


class Server:
    """Plays Redis: gives the replies that were prepared, and keeps what it was asked."""

    def __init__(self, *replies: Any, secret: str = SECRET) -> None:
        self.secret = secret
        self.replies = list(replies)
        """Of scripts, one after the other."""
        self.asked: list[Sequence[Command]] = []

    def serve(self, exchange: Exchange[T]) -> T:
        try:
            commands = next(exchange)
            while True:
                self.asked.append(commands)
                commands = exchange.send([self._reply(command) for command in commands])
        except StopIteration as end:
            result: T = end.value
            return result

    def _reply(self, command: Command) -> Any:
        match command[0]:
            case "HGETALL":
                return {"format": "2", "secret": self.secret}
            case "HGET":
                return self.secret
            case "EVAL" | "EVALSHA":
                return self.replies.pop(0)
        return 0

    @property
    def scripts(self) -> list[list[tuple[Any, Any]]]:
        """Of each round trip with scripts: the commands, and their first argument after the fingerprint."""
        trips = [[(one[0], one[5]) for one in trip if "EVAL" in str(one[0])] for trip in self.asked]
        return [trip for trip in trips if trip]


def run(session: Session, *calls: str) -> Exchange[list[Any]]:
    return session.run("submit", lambda _: [(call,) for call in calls])


@pytest.fixture(autouse=True)
def text_of_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_text_and_sha", lambda name: (f"text of {name}", "sha"))


def test_the_workspace_is_opened_once_and_then_a_call_is_one_round_trip() -> None:
    server, session = Server(["accepted"], ["accepted"]), Session("main")
    for call in "ab":
        assert server.serve(run(session, call)) == [["accepted"]]
    assert len(server.asked) == 3
    assert server.scripts == [[("EVALSHA", "a")], [("EVALSHA", "b")]]
    [command] = server.asked[-1]
    assert command[2:5] == (1, "{ol:main}:", SECRET[:8])


def test_a_call_that_finds_no_script_brings_its_text() -> None:
    server = Server(NOSCRIPT, ["accepted"])
    assert server.serve(run(Session("main"), "a")) == [["accepted"]]
    assert server.scripts == [[("EVALSHA", "a")], [("EVAL", "a")]]
    assert server.asked[-1][0][1] == "text of submit"


def test_of_several_calls_the_first_brings_the_text() -> None:
    server = Server(["1"], ["2"], ["3"])
    assert server.serve(run(Session("main"), "a", "b", "c")) == [["1"], ["2"], ["3"]]
    assert server.scripts == [[("EVAL", "a"), ("EVALSHA", "b"), ("EVALSHA", "c")]]


def test_behind_a_call_that_found_no_script_all_are_made_again_in_order() -> None:
    server = Server(["1"], NOSCRIPT, NOSCRIPT, ["again 2"], ["again 3"])
    assert server.serve(run(Session("main"), "a", "b", "c")) == [["1"], ["again 2"], ["again 3"]]
    assert server.scripts[1] == [("EVAL", "b"), ("EVALSHA", "c")]


def test_a_server_that_takes_no_script_at_all_is_told() -> None:
    with pytest.raises(NoScriptError):
        Server(NOSCRIPT, NOSCRIPT).serve(run(Session("main"), "a"))


def test_an_error_reply_to_one_of_several_calls_is_raised() -> None:
    with pytest.raises(OutOfMemoryError):
        Server(["1"], OutOfMemoryError("full")).serve(run(Session("main"), "a", "b"))


@pytest.mark.parametrize("refusal", ["no_workspace", "rekeyed"])
def test_what_was_refused_is_made_again_with_new_digests(refusal: str) -> None:
    seen: list[str] = []
    server, session = Server(["1"], [refusal], ["1"], ["2"]), Session("main")

    def lay_out(workspace: Workspace) -> list[tuple[str]]:
        seen.append(workspace.secret)
        server.secret = OTHER
        return [("a",), ("b",)]

    assert server.serve(session.run("submit", lay_out)) == [["1"], ["2"]]
    assert seen == [SECRET, OTHER]


def test_a_workspace_that_is_gone_again_and_again_is_given_up() -> None:
    server = Server(*[["no_workspace"]] * 9)
    with pytest.raises(QueueUnavailable, match="'main' was deleted again and again"):
        server.serve(run(Session("main"), "a"))
    assert len(server.scripts) == 3


def test_a_read_notices_that_the_secret_is_another() -> None:
    server, session = Server(), Session("main")
    server.serve(session.open())
    server.secret, seen = OTHER, []

    def commands(workspace: Workspace) -> list[Command]:
        seen.append(workspace.secret)
        return [("GET", "x")]

    assert server.serve(session.read(commands)) == [0]
    assert seen == [SECRET, OTHER]


def test_who_is_refused_late_leaves_a_workspace_alone_that_others_have_opened_again() -> None:
    session = Session("main")
    late = run(session, "a")
    next(late)
    late.send([0, 0, 0, 0, {"format": "2", "secret": SECRET}])
    other = Server(["rekeyed"], ["accepted"], secret=OTHER)
    other.serve(run(session, "b"))
    again = late.send([["rekeyed"]])  # no opening: it goes on with the secret that the other has read
    assert again[0][4] == OTHER[:8]
