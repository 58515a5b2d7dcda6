"""The operators of search, as tables by type, and the reading of the values they compare with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from onelane_sandbox.messages import ApiError

Test = Callable[[Any, Any], bool]

DAY_S = 86_400


def _text(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""


def _is_number(value: Any) -> bool:
    # A custom attribute may have been archived and made again with another type: old values stay.
    return isinstance(value, int | float) and not isinstance(value, bool)


_EQUALITY: dict[str, Test] = {
    "=": lambda held, asked: bool(held == asked),
    "!=": lambda held, asked: bool(held != asked),
    "IN": lambda held, asked: held in asked,
    "NIN": lambda held, asked: held not in asked,
}
# Upper and lower case in ~ !~ ^ $: unverified; here they do not matter.
_STRING: dict[str, Test] = {
    **_EQUALITY,
    "~": lambda held, asked: held is not None and _text(asked) in _text(held),
    "!~": lambda held, asked: held is None or _text(asked) not in _text(held),
    "^": lambda held, asked: held is not None and _text(held).startswith(_text(asked)),
    "$": lambda held, asked: held is not None and _text(held).endswith(_text(asked)),
}
_INTEGER: dict[str, Test] = {
    **_EQUALITY,
    "<": lambda held, asked: _is_number(held) and bool(held < asked),
    ">": lambda held, asked: _is_number(held) and bool(held > asked),
    "<=": lambda held, asked: _is_number(held) and bool(held <= asked),
    ">=": lambda held, asked: _is_number(held) and bool(held >= asked),
}


def _day(seconds: Any) -> int | None:
    return int(seconds) // DAY_S if _is_number(seconds) else None


# `asked` is a day already; a contact's own value is truncated to its day before comparing.
_DATE: dict[str, Test] = {
    "=": lambda held, asked: _day(held) == asked,
    "<": lambda held, asked: (day := _day(held)) is not None and day < asked,
    ">": lambda held, asked: (day := _day(held)) is not None and day > asked,
}
_REFERENCE: dict[str, Test] = {
    "=": lambda held, asked: asked in held,
    "!=": lambda held, asked: asked not in held,
}
OPERATORS: dict[str, dict[str, Test]] = {
    "string": _STRING,
    "email": _STRING,
    "boolean": _EQUALITY,
    "integer": _INTEGER,
    "date": _DATE,
    "reference": _REFERENCE,
}


def read_value(kind: str, name: str, operator: str, raw: Any, *, fold: bool) -> Any:
    """`raw` as `operator` compares it; a value of the wrong type is ApiError 400 (published spec)."""
    if operator in ("IN", "NIN"):
        if not isinstance(raw, list) or not raw:
            raise _mismatch(name, "a list of values for IN and NIN")
        return [_one(kind, name, item, fold=fold) for item in raw]
    if raw is None and operator in ("=", "!=") and kind != "reference":
        return None
    return _one(kind, name, raw, fold=fold)


def _one(kind: str, name: str, raw: Any, *, fold: bool) -> Any:
    if kind in ("string", "email"):
        if not isinstance(raw, str):
            raise _mismatch(name, "a string")
        return raw.lower() if fold else raw
    if kind == "boolean":
        return _boolean(name, raw)
    if kind == "reference":
        return str(raw)
    number = _number(name, raw)
    return int(number) // DAY_S if kind == "date" else number


def _boolean(name: str, raw: Any) -> bool:
    if isinstance(raw, str) and raw in ("true", "false"):
        return raw == "true"
    if not isinstance(raw, bool):
        raise _mismatch(name, "true or false")
    return raw


def _number(name: str, raw: Any) -> int | float:
    if isinstance(raw, str):
        try:
            raw = float(raw) if "." in raw else int(raw)
        except ValueError:
            raise _mismatch(name, "a number") from None
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise _mismatch(name, "a number")
    return raw


def _mismatch(name: str, wanted: str) -> ApiError:
    return ApiError(400, "parameter_invalid", f"{name} is compared with {wanted}", field_name="value")
