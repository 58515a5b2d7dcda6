"""How a command ends: its exit code, and one human sentence that says what to do next.

| code | meaning                                         |
|------|-------------------------------------------------|
| 0    | done                                            |
| 1    | negative result: rejected, duplicates, unfit    |
| 2    | bad input or usage                              |
| 3    | not found                                       |
| 4    | Redis or the broker is unreachable              |
| 5    | the wait timed out                              |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from onelane_worker.cli import _output as output
from onelane_worker.cli._extras import MissingExtra

DONE: Final = 0
NEGATIVE: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
UNREACHABLE: Final = 4
TIMED_OUT: Final = 5


def fail(code: int, message: str, hint: str | None = None, lines: Sequence[str] = ()) -> NoReturn:
    """Say what is wrong, and what to do about it, on standard error; end the command with this code.

    `lines` stand below the hint. A program that asked for JSON and has got none yet is told message and hint
    in `{"failed": …}`. Addresses are masked in both: what was typed by mistake may be one.
    """
    output.tell(f"onelane: {message}", err=True)
    for line in [*([] if hint is None else [hint]), *lines]:
        output.tell(line, indent=2, err=True)
    output.print_failure(code, message, hint)
    raise typer.Exit(code)


_UsageError: Final[Any] = typer.BadParameter.__base__
"""Click's own class, in the copy of click that this typer uses: newer ones bring one of their own."""


class Commands(TyperGroup):
    """A command line whose expected errors end in a sentence and a code, never in a traceback."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        with _ending(wants_json="--json" in args) if parent is None else nullcontext():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _ending(wants_json="--json" in ctx.args) if ctx.parent is None else nullcontext():
            return super().invoke(ctx)


@contextmanager
def _ending(*, wants_json: bool) -> Iterator[None]:
    """Ends a command line that fails. What typer shows by itself on standard error is told as JSON, too."""
    with output.answering(wants_json=wants_json):
        try:
            yield
        except typer.Exit:
            raise
        except typer.Abort:
            output.print_failure(NEGATIVE, "not confirmed: nothing was done", None)
            raise
        except _UsageError as error:
            error.message = output.shown(error.message)  # what was typed by mistake may be an address
            output.print_failure(USAGE, error.format_message(), "`--help` lists what can be said.")
            raise
        except Exception as error:
            told = explain(error)
            if told is None:
                raise
            fail(*told)


def explain(error: Exception) -> tuple[int, str, str | None] | None:
    """Code, sentence and advice for an error that may be expected; None for a fault of our own."""
    from redis.exceptions import RedisError  # late: most commands end well

    from onelane import errors
    from onelane_worker.lanes.types import LaneError
    from onelane_worker.redis_errors import refusal

    match error:
        case MissingExtra():
            return USAGE, str(error), None
        case errors.InvalidIntent():
            return USAGE, str(error), None
        case errors.DedupeMismatch():
            return USAGE, str(error), f"`onelane status {error.receipt_id}` shows what became of that one."
        case errors.BadSetting():
            return USAGE, str(error), "Correct the environment variable and try again."
        case errors.QueueFull():
            return NEGATIVE, str(error), "`onelane lanes` shows the longest queues, and why they wait."
        case errors.UnknownIntent():
            return NOT_FOUND, str(error), "`onelane lane EMAIL` shows what is known of an address."
        case LaneError():
            return NEGATIVE, "the workspace was deleted or made anew meanwhile", "Try again."
        case errors.WaitTimeout():
            return TIMED_OUT, str(error), "It goes on; look again with `onelane status`."
        case errors.QueueUnavailable() | RedisError() if (known := refusal(error)) is not None:
            return UNREACHABLE, str(known), known.todo
        case errors.QueueUnavailable():
            return UNREACHABLE, str(error), _where_redis_is()
        case RedisError():
            from onelane import link

            of_a_cluster = link.is_of_a_cluster(error)
            hint = f"{link.NEEDS_ONE_SERVER}." if of_a_cluster else _where_redis_is()
            return UNREACHABLE, f"Redis did not answer: {error}", hint
    return None


def _where_redis_is() -> str:
    from onelane_worker.cli._config import where_redis_is

    return where_redis_is()
