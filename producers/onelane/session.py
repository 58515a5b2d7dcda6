"""A queue's dealings with its workspace, as exchanges that both clients drive: no I/O here.

A queue opens its workspace when it first needs the secret, and keeps it. It opens it again when a script says
that the workspace is gone (Redis was emptied) or has another secret; the digests are computed anew then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from onelane.errors import QueueUnavailable
from onelane.keys import Keys
from onelane.workspace import META, Command, Workspace, as_text, checked, open_calls, opened

T = TypeVar("T")
Exchange = Generator[Sequence[Command], Sequence[Any], T]
"""Yields the commands of one round trip, is sent their replies, and returns a result. An error reply is sent
as an exception. Starting an exchange over after a lost reply changes nothing more."""
Arguments = Sequence[str | int]
"""Of one call of a script, after the fingerprint."""

_REFUSALS: Final = ("no_workspace", "rekeyed")
_MOST_OPENINGS: Final = 3


class Session:
    """The workspace of one queue. Threads and event loops may share it: they find the same secret."""

    def __init__(self, name: str) -> None:
        self.keys = Keys(name)
        self._workspace: Workspace | None = None

    def open(self) -> Exchange[Workspace]:
        """The workspace; one round trip the first time. Raises redis-py's errors and `OnelaneError`."""
        if self._workspace is None:
            self._workspace = opened(self.keys.workspace, (yield open_calls(self.keys)))
        return self._workspace

    def run(self, script: str, lay_out: Callable[[Workspace], Sequence[Arguments]]) -> Exchange[list[Any]]:
        """The answers of a script to all the calls that `lay_out` makes with the workspace's digests.

        Calls are made in order and may be repeated. Raises redis-py's errors and `OnelaneError`.
        """
        for _ in range(_MOST_OPENINGS):
            workspace = yield from self.open()
            answers = yield from _answers(script, workspace, lay_out(workspace))
            if not any(as_text(answer[0]) in _REFUSALS for answer in answers):
                return answers
            self._forget(workspace)
        raise self._unsettled()

    def read(self, commands_of: Callable[[Workspace], Sequence[Command]]) -> Exchange[list[Any]]:
        """The replies to commands whose keys hold digests of the workspace, if its secret still stands.

        Raises redis-py's errors and `OnelaneError`.
        """
        for _ in range(_MOST_OPENINGS):
            workspace = yield from self.open()
            secret = ("HGET", self.keys.key(META), "secret")
            stands, *replies = checked((yield [secret, *commands_of(workspace)]))
            if stands is not None and as_text(stands) == workspace.secret:
                return replies
            self._forget(workspace)
        raise self._unsettled()

    def _forget(self, workspace: Workspace) -> None:
        if self._workspace is workspace:  # else another thread has opened it again
            self._workspace = None

    def _unsettled(self) -> QueueUnavailable:
        return QueueUnavailable(f"the workspace {self.keys.workspace!r} was deleted again and again")


def _answers(script: str, workspace: Workspace, calls: Sequence[Arguments]) -> Exchange[list[Any]]:
    """The first of several calls brings the script's text, so that Redis has it for those behind.

    A single call does so when Redis lacks it. Where a call found no script, it is made again with the text,
    and so is every call behind it, so that none overtakes another in its lane.
    """
    from redis.exceptions import NoScriptError  # late: who imports the intents alone needs no redis

    text, sha = _text_and_sha(script)
    head = 1, workspace.keys.prefix, workspace.fingerprint
    answers: list[Any] = []
    with_text = len(calls) > 1
    while True:
        commands: list[Command] = [("EVALSHA", sha, *head, *args) for args in calls[len(answers) :]]
        if with_text:
            commands[0] = ("EVAL", text, *commands[0][2:])
        replies = yield commands
        missing = next((n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)), None)
        if missing is None or (missing == 0 and with_text):
            return answers + checked(replies)
        answers += checked(replies[:missing])
        with_text = True


@cache
def _text_and_sha(script: str) -> tuple[str, str]:
    from onelane import scripts  # late: it reads files

    text = scripts.script(script)
    return text, scripts.sha1(text)
