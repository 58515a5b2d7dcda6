"""The command itself: the stage is set, both sides play, the table is printed, and the verdict decides."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onelane_worker.cli import _extras as extras
from onelane_worker.cli import _output as output
from onelane_worker.cli._errors import NEGATIVE, fail
from onelane_worker.cli._local_stack import ChildFailed, Interrupted, LocalStack, stop_on_signals

if TYPE_CHECKING:
    from onelane_sandbox.client import SandboxControl
    from onelane_worker.cli.demo.judge import Verdict
    from onelane_worker.cli.demo.report import Row

INTERRUPTED = 130


def demo(
    index_lag: Annotated[
        float,
        typer.Option(min=0, max=300, metavar="S", help="How far the sandbox's search lags, in seconds."),
    ] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """See find-then-create fail, and Onelane not: 15 seconds, nothing to set up.

    Everyday stories, played twice against a sandbox of Intercom whose search lags; then
    the contacts that are truly there are counted. Exit code 1 if Onelane's are not right.
    """
    extras.require("sandbox", "`onelane demo`")
    from onelane_worker.cli.demo import report

    with tempfile.TemporaryDirectory(prefix="onelane-demo-") as directory:
        rows = _play(Path(directory), index_lag, quiet=as_json)
    if as_json:
        output.print_json(report.document(rows, index_lag))
    else:
        report.show(rows, index_lag)
    if not report.passed(rows):
        raise typer.Exit(NEGATIVE)


def _play(directory: Path, index_lag_s: float, *, quiet: bool) -> list[Row]:
    stack = LocalStack(directory)
    with stop_on_signals(stack), stack:
        try:
            return _both_sides(stack, directory, index_lag_s, quiet)
        except Interrupted:
            raise typer.Exit(INTERRUPTED) from None
        except ChildFailed as failed:
            fail(NEGATIVE, str(failed), "The end of its log:", failed.tail.splitlines())


def _both_sides(stack: LocalStack, directory: Path, index_lag_s: float, quiet: bool) -> list[Row]:
    from onelane_sandbox.serve import RunningSandbox
    from onelane_worker.cli._local_stack import is_ready
    from onelane_worker.cli.demo import play
    from onelane_worker.cli.demo.report import Row
    from onelane_worker.cli.demo.stories import all_stories

    stories = all_stories()
    with RunningSandbox() as theirs, RunningSandbox() as ours, _steps(2 * len(stories), quiet) as tell:

        def run(side: play.Side, sandbox: SandboxControl, name: str) -> list[Verdict]:
            verdicts = []
            for story in stories:
                stack.check()
                tell(f"{name}: {story.title}")
                verdicts.append(play.play(story, sandbox, side, index_lag_s))
            return verdicts

        worker, redis_url = play.start_worker(stack, directory, ours.url)  # gets ready meanwhile
        with play.find_then_create(theirs.control) as side:
            before = run(side, theirs.control, "find-then-create")
        stack.wait_until(partial(is_ready, worker), worker)
        with play.onelane(redis_url, stack, worker) as side:
            after = run(side, ours.control, "Onelane")
    return [Row(*row) for row in zip(stories, before, after, strict=True)]


@contextmanager
def _steps(total: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Tells on standard error which story is being played: a bar on a terminal, else lines."""
    notes = output.notes()
    if quiet:
        yield lambda what: None
        return
    if not notes.is_terminal:
        yield notes.print
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=notes, transient=True) as progress:
        task = progress.add_task("setting the stage", total=total)
        begun = False

        def tell(what: str) -> None:
            nonlocal begun
            progress.update(task, description=what, advance=int(begun))
            begun = True

        yield tell
