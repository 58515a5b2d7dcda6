"""What is told of an error: never an address; and how long a 429 asks us to wait."""

from __future__ import annotations

import json
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelane_worker.intercom.errors import MAX_MESSAGE, Fault, faults_of, problem, retry_in_s

NOW = "Thu, 01 Jan 2026 00:00:00 GMT"
NOW_S = 1_767_225_600


def envelope(*entries: dict[str, object]) -> bytes:
    return json.dumps({"type": "error.list", "errors": entries}).encode()


@given(st.text(), st.from_regex(r"[a-z0-9.'+_-]{3,20}@[a-z]{1,10}\.test", fullmatch=True), st.text())
def test_what_intercom_says_is_told_short_and_without_addresses(
    before: str, address: str, after: str
) -> None:
    told = problem("refused", 400, (Fault("x", f"{before} {address} {after}"),)).message or ""
    assert len(told) <= MAX_MESSAGE
    assert address not in told


class Watched(str):
    """Text that remembers how far it was read."""

    __slots__ = ()
    read: list[int] = []  # noqa: RUF012

    def __getitem__(self, key: object) -> str:
        assert isinstance(key, slice)
        Watched.read.append(key.stop)
        return super().__getitem__(key)

    def _refused(self, *_: object, **__: object) -> object:
        raise AssertionError("the whole of it was looked at")

    __iter__ = find = rfind = split = strip = _refused  # type: ignore[assignment]


MEGABYTE = 10**6
HOSTILE = (
    "a",
    "a.",
    "@",
    '"',
    "a@",
    '"@',
    "&",
    "&#39;",
    "%",
    "%25",
    "\\",
    "(",
    "x=",
    r"\u0040",
    "<",
    " ",
    "é",
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_of_a_megabyte_only_the_beginning_is_looked_at(piece: str) -> None:
    Watched.read.clear()
    text = Watched(piece * (MEGABYTE // len(piece)))
    told = problem("refused", 400, (Fault("x", text),)).message or ""
    assert len(told) <= MAX_MESSAGE
    assert len(Watched.read) == 1
    assert Watched.read[0] < 10_000


def test_a_problem_shows_status_code_and_masked_text() -> None:
    faults = faults_of(envelope({"code": "conflict", "message": "ann@x.test"}))
    shown = problem("refused", 422, faults)
    assert (shown.kind, shown.http_status, shown.code) == ("refused", 422, "conflict")
    assert shown.message == "a***@x.test"


@pytest.mark.parametrize("code", ["ann@x.test", "two words", "x" * 65, "", 3, None, ["conflict"]])
def test_a_code_that_is_no_code_is_not_shown(code: object) -> None:
    (fault,) = faults_of(envelope({"code": code}))
    assert fault.code is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"type":"error.list","errors":null}',
        b'{"type":"error.list","errors":{"code":"x"}}',
        b'{"type":"error.list","errors":["x",null,1]}',
        b'{"type":"error.list","errors":[]}',
        b'{"type":"error","errors":[{"code":"x"}]}',
        b'{"errors":[{"code":"x"}]}',
        b"<!doctype html>",
        b"\x80",
        b'{"type":"error.list","errors":[{"code":"x"}]',
        b"[" * 100_000,
        b'{"type":"error.list","errors":[NaN]}',
    ],
)
def test_no_envelope_no_faults(body: bytes) -> None:
    assert faults_of(body) == ()


def test_a_huge_envelope_is_cut() -> None:
    faults = faults_of(envelope(*[{"code": "x", "message": "y" * 1000}] * 10_000))
    assert len(faults) == 20
    assert len(problem("refused", 400, faults).message or "") == 300


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, 10, id="nothing said: a whole window"),
        pytest.param({"date": NOW, "x-ratelimit-reset": str(NOW_S + 7)}, 7, id="reset by the answer's clock"),
        pytest.param({"x-ratelimit-reset": str(NOW_S + 14)}, 9, id="reset by ours, which is 5 s ahead"),
        pytest.param({"retry-after": "42"}, 42, id="retry-after in seconds"),
        pytest.param(
            {"date": NOW, "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30, id="retry-after as date"
        ),
        pytest.param(
            {"date": NOW, "x-ratelimit-reset": str(NOW_S + 3), "retry-after": "20"}, 20, id="longer"
        ),
        pytest.param({"date": NOW, "x-ratelimit-reset": str(NOW_S)}, 1, id="now: not at once"),
        pytest.param({"date": NOW, "x-ratelimit-reset": str(NOW_S - 50)}, 1, id="past"),
        pytest.param({"date": NOW, "x-ratelimit-reset": str(NOW_S + 9_999)}, 10, id="two clocks: left out"),
        pytest.param({"retry-after": "86400"}, 120, id="at most two minutes"),
        pytest.param({"date": NOW, "x-ratelimit-reset": "soon", "retry-after": "-1"}, 10, id="nonsense"),
        pytest.param({"date": "today", "x-ratelimit-reset": str(NOW_S + 14)}, 9, id="a date that is none"),
    ],
)
def test_wait(headers: dict[str, str], seconds: float) -> None:
    assert retry_in_s(headers, wall_s=NOW_S + 5) == seconds


def test_without_any_clock_a_reset_says_nothing() -> None:
    assert retry_in_s({"x-ratelimit-reset": str(NOW_S + 7)}, wall_s=None) == 10


@given(
    st.dictionaries(
        st.sampled_from(["date", "x-ratelimit-reset", "retry-after"]),
        st.text() | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(format_datetime),
    ),
    st.none() | st.floats(0, 4e9),
)
def test_every_wait_is_bounded(headers: dict[str, str], wall_s: float | None) -> None:
    assert 1 <= retry_in_s(headers, wall_s) <= 120
