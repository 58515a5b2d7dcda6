"""Faults on demand: rules that say what goes wrong with which request, as data.

The oldest fault that is still live and matches is the one that acts; only `slow` passes the request on to
the next one after its delay. Which fault meets a request is decided when it arrives; what the socket does
about it is the server's part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from onelane_sandbox.dice import Dice
from onelane_sandbox.messages import ApiError, JsonObject

Ending = Literal["answer", "close", "reset"]
"""What the client sees: an answer; the connection closed without one; the connection reset without one."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a fault does: whether the request is executed, how it ends, and a status instead of its own."""

    executes: bool
    ending: Ending = "answer"
    status: int | None = None


_ERRORS = {
    401: ("unauthorized", "Access Token Invalid"),
    403: ("forbidden", "The token does not have the permission for this"),
    500: ("server_error", "Server Error"),
    502: ("server_error", "Bad Gateway"),
    503: ("service_unavailable", "Service Unavailable"),
    504: ("server_error", "Gateway Timeout"),
}
EFFECTS: dict[str, Effect] = {
    "lose_response": Effect(executes=True, ending="reset"),
    "drop_request": Effect(executes=False, ending="close"),
    **{f"status_{status}": Effect(executes=False, status=status) for status in _ERRORS if status >= 500},
    **{
        f"status_{status}_after_commit": Effect(executes=True, status=status)
        for status in _ERRORS
        if status >= 500
    },
    "rate_limited": Effect(executes=False, status=429),
    "unauthorized": Effect(executes=False, status=401),
    "forbidden": Effect(executes=False, status=403),
}
SLOW = "slow"
NAMES = (*EFFECTS, SLOW)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What awaits one request: first `delay_s` seconds of waiting, then the effect of `fault`, if any."""

    delay_s: float = 0.0
    fault: str | None = None
    seconds: float | None = None  # the option of that name of the fault that acts

    @property
    def effect(self) -> Effect | None:
        """The acting fault's effect; None if the request is executed and answered as usual."""
        return EFFECTS.get(self.fault or "")

    @property
    def label(self) -> str | None:
        """The name for the request log."""
        return self.fault or (SLOW if self.delay_s else None)


def error_of(status: int) -> ApiError:
    """The answer of a fault with a status of its own. Evidence: official documentation (the codes); the texts
    of 401 and 5xx are recorded, that of 403 is ours."""
    code, message = _ERRORS[status]
    return ApiError(status, code, message)


@dataclass(slots=True)
class Fault:
    """One registered fault. `left` None: until cleared. `after`: matches still to be let through."""

    name: str
    left: int | None
    method: str
    path: re.Pattern[str]
    seconds: float | None
    after: int
    probability: float

    def matches(self, method: str, path: str) -> bool:
        """Is this request one of those the fault is for?"""
        return self.method in ("any", method.lower()) and self.path.search(path) is not None

    def listing(self) -> JsonObject:
        """The fault for the control interface, with what is left of it."""
        return {
            "fault": self.name,
            "times": self.left,
            "method": self.method,
            "path": self.path.pattern,
            "seconds": self.seconds,
            "after": self.after,
            "probability": self.probability,
        }


class Faults:
    """The live faults, in order of registration."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._live: list[Fault] = []

    def add(self, options: JsonObject) -> Fault:
        """Register a fault. Raises ValueError naming the option that is wrong."""
        fault = read_fault(options)
        self._live.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all faults."""
        self._live.clear()

    def listing(self) -> list[JsonObject]:
        """What is left of every fault."""
        return [fault.listing() for fault in self._live]

    def decide(self, method: str, path: str) -> Verdict:
        """The fate of a request that arrives now; uses up what acts on it."""
        delay_s = 0.0
        for fault in list(self._live):
            if not fault.matches(method, path) or not self._acts(fault):
                continue
            if fault.name != SLOW:
                return Verdict(delay_s, fault.name, fault.seconds)
            delay_s += fault.seconds or 0.0
        return Verdict(delay_s)

    def _acts(self, fault: Fault) -> bool:
        if fault.after > 0:
            fault.after -= 1
            return False
        if not self._dice.happens(fault.probability):
            return False
        if fault.left is not None:
            fault.left -= 1
            if fault.left == 0:
                self._live.remove(fault)
        return True


def read_fault(options: JsonObject) -> Fault:
    """A fault from its JSON form; ValueError names the wrong option and what would be right."""
    unknown = set(options) - {"fault", "times", "method", "path", "seconds", "after", "probability"}
    if unknown:
        raise ValueError(f"{min(unknown)}: unknown option")
    name = options.get("fault")
    if name not in NAMES:
        raise ValueError(f"fault: must be one of {', '.join(NAMES)}")
    seconds = options.get("seconds")
    if seconds is not None or name == SLOW:
        seconds = _number(options, "seconds", "a number of seconds, 0 or more", None)
    probability = _number(options, "probability", "a number from 0 to 1", 1)
    if probability > 1:
        raise ValueError("probability: must be a number from 0 to 1")
    times = options.get("times", 1)
    return Fault(
        name=name,
        left=None if times is None else _count(times, "times", least=1),
        method=_method(options.get("method") or "any"),
        path=_pattern(options.get("path") or ""),
        seconds=seconds,
        after=_count(options.get("after") or 0, "after", least=0),
        probability=probability,
    )


def _number(options: JsonObject, name: str, wanted: str, default: float | None) -> float:
    value: Any = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"{name}: must be {wanted}")
    return float(value)


def _count(value: Any, name: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: must be a whole number, {least} or more")
    return value


def _method(value: Any) -> str:
    if not isinstance(value, str) or not value.isalpha():
        raise ValueError('method: must be an HTTP method or "any"')
    return value.lower()


def _pattern(value: Any) -> re.Pattern[str]:
    if not isinstance(value, str):
        raise ValueError("path: must be a regular expression")
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"path: is not a regular expression: {error}") from None
