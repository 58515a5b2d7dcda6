"""What a person sees on a terminal, whatever its width; and a program, without one."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout

import pytest

from onelane_worker.cli import _output as output

ID = "6b472c0e2ffe789cb324b9caa0665910"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """What stands on it, without bold and dim."""
        return re.sub(r"\x1b\[[\d;]*m", "", self.getvalue()).splitlines()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal of 60 columns without colours."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    return Screen()


def test_a_sentence_is_broken_between_words_and_ids_are_never_broken(screen: Screen) -> None:
    with redirect_stdout(screen):
        output.tell(f"`onelane lane {ID}` tells of everything that happened there", indent=4)

    lines = screen.lines
    assert len(lines) == 2
    assert all(line.startswith("    ") and len(line) <= 60 for line in lines)
    assert any(ID in line for line in lines)


def test_a_cell_without_room_goes_to_the_next_line(screen: Screen) -> None:
    with redirect_stdout(screen):
        output.print_entries([([ID, "newsletter-opt-in", "a***@example.test"], f"why {ID} and {ID}")])

    assert screen.lines == [
        f"{ID}  newsletter-opt-in",
        "    a***@example.test",
        f"    why {ID} and",
        f"    {ID}",
    ]


def test_one_long_name_shifts_nothing(screen: Screen) -> None:
    long = f"a***@{'x' * 40}.test"
    with redirect_stdout(screen):
        output.print_entries([([long, "1"], ""), (["b***@y.test", "2"], "")], ("who", "waiting"))

    assert screen.lines == [
        "who                               waiting",
        long,
        "                                  1",
        "b***@y.test                       2",
    ]


def test_a_table_that_is_too_wide_keeps_its_last_column(screen: Screen) -> None:
    medium, long = f"m***@{'x' * 20}.test", f"a***@{'x' * 40}.test"
    heads = ("who", "waiting", "blocked", "tries", "state", "head")
    rest = ["1", "2.0 s", "0", "held", "lead-capture"]
    with redirect_stdout(screen):
        output.print_entries([([who, *rest], "") for who in (long, "b***@y.test", medium)], heads)

    assert screen.lines == [
        "who             waiting  blocked  tries  state  head",
        long,
        "                1        2.0 s    0      held   lead-capture",
        "b***@y.test     1        2.0 s    0      held   lead-capture",
        medium,
        "                1        2.0 s    0      held   lead-capture",
    ]


def test_without_a_terminal_a_wide_cell_keeps_its_row_together(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_entries([(["x" * 40, "1"], "")], ("who", "waiting"))
    assert capsys.readouterr().out.splitlines()[1] == f"{'x' * 40}  1"


def test_facts_stand_in_two_columns(screen: Screen) -> None:
    facts = [output.Fact("a", "word " * 12, "ok"), output.Fact("long", "one", "BAD", "red")]
    with redirect_stdout(screen):
        output.print_facts([*facts, output.Fact("", "two"), output.Fact("", "x")])

    assert screen.lines == [
        "ok   a     word word word word word word word word word word",
        "           word word",
        "BAD  long  one",
        "           two",
        "           x",
    ]


def test_without_a_terminal_nothing_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    output.tell("word " * 60)
    output.print_entries([(["cell"] * 40, "detail " * 40)])

    assert [len(line) > 150 for line in capsys.readouterr().out.splitlines()] == [True] * 3
