"""Fill in what the docs show of the code: settings, what is done about an error, the examples, and with
`--demo` the output of a real run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from onelane_worker.engine.circuit_breaker import said_of_all
from onelane_worker.intercom.responses import to_reply
from onelane_worker.planner import operations as op
from onelane_worker.planner import retry_policy as hd
from onelane_worker.settings import Settings

README = Path(__file__).parent.parent / "README.md"
GUARANTEES = Path(__file__).with_name("guarantees.md")
RECIPES = Path(__file__).with_name("recipes.md")


def settings_table() -> str:
    """Every setting with its default and meaning, in the order of the code."""
    rows = ["| setting | default | meaning |", "| ------- | ------- | ------- |"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{name.upper()}` | {_default(field)} | {_meaning(field)} |")
    return "\n".join(rows)


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr) or value in (None, "", ()):
        return "–"
    return f"`{value:g}`" if isinstance(value, float) else f"`{str(value).lower()}`"


def _meaning(field: FieldInfo) -> str:
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    return f"{field.description}" + (f": {', '.join(choices)}" if choices else "")


# ── what is done about an error ───────────────────────────────────────────────────────────────────────────

READ, CREATE, UPDATE, UNARCHIVE = op.Read("c"), op.Create({}), op.Update("c", {}), op.Unarchive("c")
ATTACH = op.Attach("c", "1", "opt_in")
NOT_SENT, LOST = op.NotSent(op.Problem("network")), op.Unknown(op.Problem("network"))
LATE = op.Unknown(op.Problem("timeout"))


def _answer(status: int, code: str = "any", message: str = "") -> Iterator[tuple[op.Operation, op.Reply]]:
    """What such an answer means to calls of every sort."""
    body = json.dumps({"type": "error.list", "errors": [{"code": code, "message": message}]}).encode()
    for operation in (READ, CREATE, UPDATE):
        yield operation, to_reply(operation, status, {}, body, 0)


def _a_page() -> Iterator[tuple[op.Operation, op.Reply]]:
    return ((operation, to_reply(operation, 403, {}, b"<html>", 0)) for operation in (READ, CREATE, UPDATE))


def _no_answer(reply: op.Reply) -> Iterator[tuple[op.Operation, op.Reply]]:
    return ((operation, reply) for operation in (READ, CREATE, UPDATE))


def _only(operation: op.Operation, status: int, message: str) -> Iterator[tuple[op.Operation, op.Reply]]:
    body = json.dumps({"type": "error.list", "errors": [{"code": "any", "message": message}]}).encode()
    yield operation, to_reply(operation, status, {}, body, 0)


Told = tuple[op.Operation, op.Reply, hd.Handling]
ERRORS = (
    ("no connection", lambda: _no_answer(NOT_SENT)),
    ("connection lost", lambda: _no_answer(LOST)),
    ("no answer in time", lambda: _no_answer(LATE)),
    ("408", lambda: _answer(408)),
    ("5xx", lambda: _answer(503)),
    ("429", lambda: _answer(429)),
    ("any status without Intercom's own envelope (a page of a proxy or firewall)", _a_page),
    ("401", lambda: _answer(401)),
    ("406, 415, unknown API version", lambda: _answer(406)),
    ("redirect", lambda: _answer(302)),
    ("403", lambda: _answer(403)),
    ("400, 422", lambda: (one for one in _answer(422) if one[0] is not READ)),
    ("409", lambda: (one for one in _answer(409, "conflict") if one[0] is not READ)),
    ("404, 410: the contact", lambda: (one for one in _answer(404) if one[0] is not CREATE)),
    ("404: a subscription type", lambda: _only(ATTACH, 404, "Resource Not Found")),
    ("400: not restorable", lambda: _only(UNARCHIVE, 400, "User is not restorable")),
)
_PAUSE_S = Settings.model_fields["parked_retry_s"].default
_WHO: dict[type, str] = {op.Read: "a read", op.Create: "a create", op.Update: "another write"}


def errors_table() -> str:
    """What comes back from Intercom, and what is done about it: asked of the code itself."""
    merged: dict[tuple[str, ...], tuple[list[str], dict[str, None]]] = {}
    for said, cases in ERRORS:
        told = [(operation, reply, hd.handle(operation, reply)) for operation, reply in cases()]
        labels, classes = merged.setdefault(_treatment(told), ([], {}))
        labels.append(said)
        classes |= dict.fromkeys(f"`{word}`" for _, reply, done in told if (word := _class(reply, done)))
    rows = [
        "| Intercom says | class | what is done | an attempt | stops the line |",
        "| ------------- | ----- | ------------ | ---------- | -------------- |",
    ]
    for treatment, (labels, classes) in merged.items():
        rows.append("| " + " | ".join([", ".join(labels), ", ".join(classes) or "–", *treatment]) + " |")
    return "\n".join(rows)


def _treatment(told: list[Told]) -> tuple[str, str, str]:
    """What is done, whether it counts as an attempt, and whether it stops the line."""
    done = _grouped([(operation, _words(reply, handling)) for operation, reply, handling in told])
    if any(isinstance(handling, hd.StopTheLine) for *_, handling in told):
        return done, "–", "at once"
    if any(isinstance(handling, hd.ProbeFirst) for *_, handling in told):
        return done, "–", "at once"
    counted = any(isinstance(handling, hd.TryAgain) for *_, handling in told)
    failures = counted and any(said_of_all(reply) == "failed" for _, reply, _ in told)
    return done, "yes" if counted else "–", "several in a row" if failures else "–"


def _class(reply: op.Reply, handling: hd.Handling) -> str | None:
    if isinstance(handling, hd.GiveUp):
        return handling.reason
    problem: op.Problem | None = getattr(reply, "problem", None)
    return None if problem is None else problem.kind


def _grouped(said: list[tuple[op.Operation, str]]) -> str:
    """One sentence if it is the same for every call, else one for each sort."""
    if len({words for _, words in said}) == 1:
        return said[0][1]
    return "; ".join(f"{_WHO[type(operation)]}: {words}" for operation, words in said)


def _words(reply: op.Reply, handling: hd.Handling) -> str:
    match handling:
        case hd.TryAgain(may_commit=True):
            return "try again when it can no longer commit"
        case hd.TryAgain():
            return "try again, with backoff"
        case hd.WaitFor():
            return "all workers wait for the end of the window"
        case hd.StopTheLine():
            return f"all wait; one call in {_PAUSE_S:g} s finds out whether it works again"
        case hd.ProbeFirst():
            return (
                "ask `/me`: if that is refused, too, as for 401; else the token lacks a permission: all "
                "wait, and one call of the same sort in 15 s finds out whether it was granted; a dead letter "
                "only if the workspace's plan does not have it (`api_plan_restricted`)"
            )
        case hd.Blame():
            return "the guilty intent alone is a dead letter"
        case hd.GiveUp():
            return "a dead letter"
        case hd.Absorb():
            return _LEARNT[type(reply)]


_LEARNT: dict[type, str] = {
    op.Unknown: "find out whether it was made, before anything else",
    op.Conflict: "the contact that it names is the person",
    op.Gone: "find out who the person is now",
    op.NotRestorable: "a dead letter, unless the person lives in another contact",
}


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────────────


def filled(text: str, marker: str, content: str) -> str:
    """`text` with what stands between the markers replaced."""
    name = re.escape(marker)
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def examples_in(text: str) -> list[str]:
    """The files whose content a page shows."""
    return re.findall(r"<!-- (examples/\S+) -->", text)


def with_examples(text: str) -> str:
    """A page with those files as they are now."""
    for name in examples_in(text):
        content = (README.parent / name).read_text().rstrip()
        text = filled(text, name, f"```python\n{content}\n```")
    return text


def demo_output() -> str:
    """What `onelane demo` prints into 100 columns."""
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "onelane_worker", "demo"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "```text\n" + "\n".join(lines).strip("\n") + "\n```"


def main() -> None:
    text = filled(README.read_text(), "settings", settings_table())
    if "--demo" in sys.argv:
        text = filled(text, "demo", demo_output())
    README.write_text(text)
    RECIPES.write_text(with_examples(RECIPES.read_text()))
    GUARANTEES.write_text(filled(GUARANTEES.read_text(), "errors", errors_table()))


if __name__ == "__main__":
    main()
