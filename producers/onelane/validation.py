"""The fields of intents: what each may hold, and in what words a bad one is refused.

The checks are strict where a lenient reading would hide a mistake: `True` is no number, `"yes"` no boolean, a
float no text. No complaint repeats a value: an address may be in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from onelane.email_address import InvalidAddress, normalise_email
from onelane.errors import InvalidIntent

Scalar = str | int | float | bool
T = TypeVar("T")

MAX_TEXT_LENGTH = 255  # Intercom refuses longer custom strings; API 4
MAX_URL_LENGTH = 2048
MAX_INTEGER = 2**63 - 1  # signed 64 bit: what JSON readers on the way can be trusted with
MAX_VERSION = 2**53 - 1  # versions are also compared where numbers are doubles
MAX_SECONDS = 253_402_300_799  # the last second of the year 9999

CLEARABLE = ("name", "phone", "avatar", "owner_id", "signed_up_at", "last_seen_at")
ATTRIBUTE_PREFIX = "custom_attributes."

_AWARE = "must be an aware datetime (one with a time zone) or its ISO 8601 form"
_TOO_LATE = "lies beyond the year 9999: are these milliseconds?"
# C0, DEL, C1, the line and paragraph separators, and the bidirectional controls.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SECONDS = "must be unix seconds or an aware datetime (one with a time zone)"


def refuse(message: str, field: str = "") -> PydanticCustomError:
    """A complaint about the value at hand, or about its part `field`."""
    return PydanticCustomError("onelane", "{message}", {"message": message, "field": field})


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise refuse("must be a string")
    plain = str.__str__(value)  # the text itself, also of an enum member
    if not plain.isascii() and any("\ud800" <= c <= "\udfff" for c in plain):
        raise refuse("is no Unicode text: it holds half of a surrogate pair")
    return plain


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse("must be a whole number")
    return int(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise refuse("must be true or false")
    return value


def _address(value: str) -> str:
    try:
        normalise_email(value)
    except InvalidAddress as error:
        raise refuse(f"is no email address: it {error}") from None
    return value.strip()


def _not_blank(value: str) -> str:
    if not value.strip():
        raise refuse("is empty; to clear a field, name it in unset")
    return value


def _visible(value: str) -> str:
    """Identifiers are shown where people read: a terminal obeys control characters, and with bidirectional
    ones a name looks like another. Values of fields, such as a person's name, are kept as they are."""
    if _CONTROLS.search(value):
        raise refuse("contains a control character")
    return value


def _identifier(value: str) -> str:
    if not value.strip():
        raise refuse("is empty")
    return _visible(value)


def _of_digits(text: str) -> int:
    """Of a number that is too long for any field the first digits: too large, and quickly read."""
    return int(text.lstrip("0")[:20] or "0")


def _owner(value: Any) -> int:
    """An admin id; Intercom itself writes it as a number or as digits, depending on the version."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return _of_digits(value)
    return _whole(value)


def _type_id(value: Any) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not (isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 20):
        raise refuse("must be the id of a subscription type (digits)")
    return text


def _contact_id(value: str) -> str:
    if len(value) != 24 or set(value) - set("0123456789abcdef"):
        raise refuse("must be a contact id of Intercom (24 hex digits)")
    return value


def _is_aware(moment: datetime) -> bool:
    return moment.utcoffset() is not None


def _seconds(value: Any) -> int:
    """A time as unix seconds, rounded down."""
    if isinstance(value, str):
        digits = value.isascii() and value.isdecimal()
        value = _of_digits(value) if digits else _moment_of(value, _SECONDS)
    if isinstance(value, datetime):
        if not _is_aware(value):
            raise refuse(_SECONDS)
        value = value.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(_SECONDS)
    if isinstance(value, float) and not math.isfinite(value):  # an int may be too large for isfinite
        raise refuse(_SECONDS)
    if value < 0:
        raise refuse("lies before 1970")
    if value > MAX_SECONDS:
        raise refuse(_TOO_LATE)
    return math.floor(value)


def _moment_of(text: str, message: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise refuse(message) from None


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        value = _moment_of(value, _AWARE)
    if not isinstance(value, datetime) or not _is_aware(value):
        raise refuse(_AWARE)
    if value.timestamp() < 0:
        raise refuse("lies before 1970")
    try:
        return value.astimezone(UTC)
    except OverflowError:  # west of Greenwich, the last hours of 9999 belong to the year after
        raise refuse("lies beyond the year 9999") from None


def _scalar(value: Any) -> Scalar:
    if value is None:
        raise refuse("is None; to clear an attribute, name it in unset")
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _limited(_string(value))
    if isinstance(value, int):
        return _in_range(int(value))
    if isinstance(value, float):
        return _finite(float(value))
    if isinstance(value, datetime):
        return _seconds(value)
    raise refuse("must be a string, a number or a boolean (Intercom stores scalars only)")


def _limited(value: str) -> str:
    if len(value) > MAX_TEXT_LENGTH:
        raise refuse(f"is longer than {MAX_TEXT_LENGTH} characters")
    return value


def _in_range(value: int) -> int:
    if abs(value) > MAX_INTEGER:
        raise refuse("does not fit into 64 bits")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise refuse("must be a finite number")
    return value


def _attribute_name(name: str) -> str:
    if not name.strip() or "." in name or "$" in name or len(name) > MAX_TEXT_LENGTH:
        raise refuse("is no attribute name: it is empty, too long, or contains . or $")
    return _visible(name)


def _dates_in_seconds(attributes: dict[str, Any]) -> dict[str, Any]:
    """By Intercom's convention the name of a date ends in `_at`. Other numbers are never judged."""
    for name, value in attributes.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name.endswith("_at") and number and abs(value) > MAX_SECONDS:
            raise refuse(f"{_TOO_LATE} A date is written in unix seconds", name)
    return attributes


def _clearable(path: str) -> str:
    if path.startswith(ATTRIBUTE_PREFIX):
        _attribute_name(path.removeprefix(ATTRIBUTE_PREFIX))
    elif path not in CLEARABLE:
        raise refuse(f"cannot be unset; possible are {', '.join(CLEARABLE)} and custom_attributes.<name>")
    return path


def _as_set(values: tuple[str, ...]) -> tuple[str, ...]:
    """Sorted and without repeats: the order means nothing and must not change the digest of the content."""
    return tuple(sorted(set(values)))


def _kept(check: Callable[[Any], T], schema: Any) -> BeforeValidator:
    return BeforeValidator(check, json_schema_input_type=schema)


Str = Annotated[str, _kept(_string, str)]
Flag = Annotated[bool, _kept(_boolean, bool)]
Email = Annotated[Str, AfterValidator(_address)]
Text = Annotated[Str, Field(max_length=MAX_TEXT_LENGTH), AfterValidator(_not_blank)]
Url = Annotated[Str, Field(max_length=MAX_URL_LENGTH), AfterValidator(_not_blank)]
Identifier = Annotated[Str, Field(min_length=1, max_length=MAX_TEXT_LENGTH), AfterValidator(_identifier)]
DedupeKey = Annotated[Str, Field(min_length=1, max_length=200), AfterValidator(_visible)]
Source = Annotated[Str, Field(min_length=1, max_length=100), AfterValidator(_identifier)]
Moment = Annotated[datetime, _kept(_moment, datetime)]
Seconds = Annotated[int, _kept(_seconds, int | datetime)]
OwnerId = Annotated[int, Field(ge=0, le=MAX_INTEGER), _kept(_owner, int | str)]
Version = Annotated[int, Field(ge=-MAX_VERSION, le=MAX_VERSION), _kept(_whole, int)]
TypeIds = Annotated[tuple[Annotated[str, _kept(_type_id, str | int)], ...], AfterValidator(_as_set)]
ContactId = Annotated[Str, AfterValidator(_contact_id)]
Attributes = Annotated[
    dict[Annotated[Str, AfterValidator(_attribute_name)], Annotated[Any, _kept(_scalar, Scalar)]],
    AfterValidator(_dates_in_seconds),
]
Unset = Annotated[tuple[Annotated[Str, AfterValidator(_clearable)], ...], AfterValidator(_as_set)]


_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this intent",
    "too_short": "is empty",
    "too_long": "is longer than {max_length} characters",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "tuple_type": "must be a list",
    "dict_type": "must be an object of names and values",
    "model_type": "must be an object of names and values",
}


def first_complaint(error: ValidationError) -> InvalidIntent:
    """The first thing that is wrong, in our words, with the field's dotted name."""
    first = error.errors(include_url=False, include_input=False)[0]
    context = first.get("ctx", {})
    words = (*first["loc"], context.get("field", ""))
    field = ".".join(_shown(str(word)) for word in words if word not in ("", "[key]"))
    return InvalidIntent(field or "intent", _message(first, context))


def _message(first: ErrorDetails, context: dict[str, Any]) -> str:
    template = _MESSAGES.get(first["type"])
    return template.format(**context) if template else first["msg"]


def _shown(word: str) -> str:
    """A name from the caller's data, unless it might be an address, a flood, or an order to a terminal."""
    return "…" if "@" in word or len(word) > 64 or _CONTROLS.search(word) else word
