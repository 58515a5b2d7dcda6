"""What people may see of text from elsewhere: email addresses masked, and nothing that steers a terminal.

Every page, log line, error text and row of Flower goes through here.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

_SIGN: Final = re.compile(
    r"[@＠﹫]|%(?:25){0,3}40|\\u0040|\\x40|&(?:amp;)?(?:#0{0,4}64|#x0{0,4}40|commat);", re.IGNORECASE
)
"""The @ of an address, also as URLs, JSON, Python and HTML spell it."""
_ENTITY: Final = re.compile(r"&(?:amp;)?#?\w{1,8};")
_LONGEST_ENTITY: Final = 15
_NOT_IN_LOCAL_PARTS: Final = frozenset("<>,;:")
_OPENING: Final = "'\"`([{/\\"
"""What often stands before an address and does not belong to it; a local part may begin so, too."""
_QUOTES: Final = ('"', "&quot;", "&#34;", "&#x22;", "&amp;quot;", "&amp;#34;", r"\u0022")
_LONGEST: Final = 254 * len(r"\u0000")
"""An address with each of its characters escaped."""
_WINDOW: Final = 4096

_STEERING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories: control and format characters (bidi among them), surrogates, line and paragraph separators."""
_JOINERS: Final = "\u200c\u200d"
"""Format characters that Persian, Hindi and emoji are written with; they steer nothing."""


def mask(text: str) -> str:
    """`text` with every address in it masked: `ann@example.test` becomes `a***@example.test`.

    Whatever stands before an @ counts as a local part, back to a character that cannot be in one. So it may
    hide more than an address (`email=ann@…` becomes `e***@…`), never less. Takes time in proportion to the
    length.
    """
    signs = [sign.span() for sign in _SIGN.finditer(text)]
    told, begun = [], len(text)  # from the end: a quoted local part may hold an @, too
    while signs:
        at, _ = signs.pop()
        start = _start_of_local_part(text, signs[-1][1] if signs else 0, at)
        if start < at:
            told += [text[at:begun], _masked_local_part(text[start:at])]
            begun = start
        while signs and signs[-1][1] > start:
            signs.pop()
    return "".join([text[:begun], *reversed(told)])


def _start_of_local_part(text: str, floor: int, end: int) -> int:
    for quote in _QUOTES:
        if text.endswith(quote, floor, end):  # between quotes anything may stand, quotes and @ too
            first = text.find(quote, max(0, end - _LONGEST), end - 1)
            if 0 <= first < end - len(quote):
                floor, end = (floor if first >= floor else first), first
            break
    while end > floor:
        last = text[end - 1]
        if last == ";" and (at := _start_of_entity(text, floor, end)) is not None:
            end = at
        elif last in _NOT_IN_LOCAL_PARTS or last.isspace():
            break
        else:
            end -= 1
    return end


def _start_of_entity(text: str, floor: int, end: int) -> int | None:
    at = text.rfind("&", max(floor, end - _LONGEST_ENTITY), end)
    return at if at >= 0 and _ENTITY.fullmatch(text, at, end) else None


def _masked_local_part(local: str) -> str:
    """The first letter, if more follow; of what stands before it, what may be no part of the address."""
    rest = local.lstrip(_OPENING)
    if rest == "***":  # it is masked already
        return local
    if len(rest) < 2:
        return "***"
    before = "" if local.endswith(_QUOTES) else local[: len(local) - len(rest)]
    return f"{before}{rest[0]}***"


def masked(value: Any) -> Any:
    """JSON-like data with every address in it masked, in keys and values."""
    match value:
        case str():
            return mask(value)
        case dict():
            return {masked(key): masked(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [masked(inner) for inner in value]
    return value


def excerpt(text: str, most: int) -> str:
    """The first `most` characters of a text of any length, masked. The rest of it is not looked at."""
    seen = text[: most + _WINDOW]
    told = mask(seen)
    if len(seen) < len(text):  # the last address may be cut before its @
        told = told[: max(0, len(told) - _LONGEST)]
    return told[:most]


def shown(text: str) -> str:
    """`text` as a person may read it: addresses masked, on one line, steering nothing."""
    return visible(mask(text))


def visible(text: str) -> str:
    r"""`text` on one line, with every character that steers a terminal spelled out: ESC becomes `\x1b`."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii") if steers(character) else character


def steers(character: str) -> bool:
    """Whether it does something to a terminal other than to stand there."""
    return unicodedata.category(character) in _STEERING and character not in _JOINERS
