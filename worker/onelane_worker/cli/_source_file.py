"""The file of `enqueue --from`: JSON lines, or one JSON array. Read within bounds, entry by entry."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from onelane_worker.cli._errors import USAGE, fail

MAX_LINE_BYTES: Final = 2**20
"""An intent has 64 KiB at most; this leaves room for escapes and blanks."""
MAX_ARRAY_BYTES: Final = 64 * 2**20
"""An array is read as a whole, lines one by one."""
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_AT: Final = re.compile(r" at line (\d+) column (\d+)\Z")


def entries(source: str) -> Iterator[tuple[str, Any]]:
    """(where it stands, value) for each line that is not blank, or for each element of the array.

    `source` is a path, or - for standard input. Ends the command if it cannot be read or is no JSON.
    """
    with _opened(source) as stream:
        first = True
        for number, line in _lines(stream):
            if first and line.lstrip().startswith(b"["):
                yield from _elements(line + stream.read(MAX_ARRAY_BYTES + 1 - len(line)), number)
                return
            if len(line) > MAX_LINE_BYTES:
                _refuse(f"line {number}", f"is longer than {MAX_LINE_BYTES >> 20} MiB")
            if not line.isspace():
                first = False
                yield f"line {number}", _parsed(line, f"line {number}")


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    try:
        if source == "-":
            yield sys.stdin.buffer
        else:
            with Path(source).open("rb") as stream:
                yield stream
    except OSError as error:
        fail(USAGE, f"cannot read {source}: {error.strerror}")


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Each with its number. Of one that is too long, one byte too many."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            if line.startswith(_UTF_16):
                _refuse("the file", "is UTF-16 text; save it as UTF-8")
            line = line.removeprefix(codecs.BOM_UTF8) or b"\n"
        yield number, line


def _elements(document: bytes, number: int) -> Iterator[tuple[str, Any]]:
    """Of an array that begins in this line."""
    if len(document) > MAX_ARRAY_BYTES:
        _refuse("the array", f"is longer than {MAX_ARRAY_BYTES >> 20} MiB: give one object a line")
    for index, element in enumerate(_parsed(document, "the array", number), 1):
        yield f"element {index}", element


def _parsed(text: bytes, place: str, number: int | None = None) -> Any:
    """The value. `number`: the line where a text of several lines begins."""
    from pydantic_core import from_json

    if b"\0" in text:
        _refuse(place, "holds a NUL byte: is this UTF-16? Save it as UTF-8")
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        _refuse(place, f"not JSON ({_reason(str(error), number)})")


def _reason(words: str, number: int | None) -> str:
    at = _AT.search(words)
    said = _AT.sub("", words).replace("recursion limit exceeded", "nested too deeply")
    if at is None:
        return said
    return f"{said} at {'' if number is None else f'line {number + int(at[1]) - 1}, '}character {at[2]}"


def _refuse(place: str, message: str) -> NoReturn:
    fail(USAGE, f"{place}: {message}; nothing was sent")
