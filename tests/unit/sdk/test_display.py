"""What people may see: no address that the door takes, in whatever text; nothing that steers a terminal."""

from __future__ import annotations

import json
import time
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onelane import display
from onelane.errors import InvalidIntent
from onelane.intents import LeadCapture

ANN = "ann@example.test"
ODD = 'o\'watson={x}(y)"z"!#$%&*+/?^_`|~-.b'
"""A legal local part with nearly every sign that a local part may hold."""

local_parts = (
    st.text(st.sampled_from("ab'={}()\"[]\\!#$%&*+-/?^_`|~.é漢"), min_size=1, max_size=20)
    | st.text(min_size=1, max_size=20)
    | st.text(st.sampled_from("ab .@,:;<>&"), max_size=12).map('"{}"'.format)
)
addresses = st.emails() | st.builds(
    "{}@{}".format, local_parts, st.sampled_from(["x.test", "bücher.example"])
)


def accepted(address: str) -> LeadCapture:
    """The intent about it, if the door takes the address."""
    try:
        return LeadCapture(email=address)
    except InvalidIntent:
        assume(False)
        raise


def spellings(address: str) -> dict[str, str]:
    """An address as Intercom, a URL, JSON or HTML may quote it."""
    return {
        "plain": address,
        "url": quote(address, safe=""),
        "url, its @ alone": address.replace("@", "%40"),
        "url, twice": quote(quote(address, safe=""), safe=""),
        "json": json.dumps(address),
        "json, its @ too": address.replace("@", r"\u0040"),
        "html": address.replace("&", "&amp;").replace("'", "&#39;").replace('"', "&quot;"),
        "html, its @ too": address.replace("@", "&#64;"),
        "repr": repr(address),
    }


@given(addresses, st.text(max_size=20), st.sampled_from(" \n\"'([{<=:,;/"), st.text(max_size=20))
def test_no_address_that_the_door_takes_stays_readable(
    address: str, before: str, sign: str, after: str
) -> None:
    intent = accepted(address)
    for spelling in {address.strip(), intent.email, intent.address}:
        local, _, domain = spelling.rpartition("@")
        # else it is there without the address, too
        assume(local not in f"{before}{sign}{after}{quote(domain)}{domain} %2540 \\u0040 &#64;")
        assume("*" not in local)
        for name, told in spellings(spelling).items():
            shown = display.mask(f"{before}{sign}{told} {after}")
            assert told not in shown, name
            assert local not in shown, name


@pytest.mark.parametrize(
    "text",
    [
        f"{ODD}@example.test",
        f"mail of {ODD}@example.test is taken",
        f"email='{ODD}@example.test'",
        f'{{"email": "{ODD}@example.test"}}',
        f"/contacts/{quote(ODD)}%40example.test?x=1",
        '"ann b. watson"@example.test',
        'email "x, watson \\"y\\" z"@example.test',
        '"watson of, <b@k> \\"st\\"; x"@example.test',
        'see "watson@baker st", "watson@baker.test st"@example.test',
        "&quot;ann b. watson&quot;@example.test",
        "&amp;quot;ann b. watson&amp;quot;@example.test",
        "&#x22;ann watson b.&#x22;@example.test",
        r"\u0022ann watson b.\u0022@example.test",
        "o&#39;watson&#64;example.test",
        r"o'watson\u0040example.test",
        "ＡＮＮ.watson＠example.test",
    ],
)
def test_odd_local_parts_and_spellings_are_hidden_whole(text: str) -> None:
    shown = display.mask(text)
    assert "watson" not in shown
    assert "***" in shown
    assert "example.test" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (ANN, "a***@example.test"),
        (
            "Invalid email 'ann@example.test', (bob@example.test)",
            "Invalid email 'a***@example.test', (b***@example.test)",
        ),
        ("<Ann.B@Example.Test>", "<A***@Example.Test>"),
        ("email=ann@example.test", "e***@example.test"),
        ("/contacts/ann%40example.test", "/c***%40example.test"),
        ("a@b@c.test", "***@***@c.test"),
        ("x@y.test", "***@y.test"),
        ("ü@example.test, @example", "***@example.test, @example"),
        ("at 12 @ noon; %40", "at 12 @ noon; %40"),
        ("no address", "no address"),
    ],
)
def test_what_is_left_of_an_address(text: str, shown: str) -> None:
    assert display.mask(text) == shown


@given(st.text())
def test_what_is_masked_stays_as_it_is(text: str) -> None:
    once = display.mask(text)
    assert display.mask(once) == once


def test_documents_are_masked_in_every_depth() -> None:
    told = display.masked({"a": [{ANN: (ANN, 1, None)}], "b": {"c": ANN}})
    assert told == {
        "a": [{"a***@example.test": ["a***@example.test", 1, None]}],
        "b": {"c": "a***@example.test"},
    }


@pytest.mark.parametrize("distance", range(0, 8_000, 97))
def test_an_address_at_the_cut_is_not_told_by_half(distance: int) -> None:
    text = "x " * (distance // 2) + "watson.of.long.name" * 3 + "@example.test" + " y" * 20_000
    assert "watson" not in display.excerpt(text, 300)


def test_many_addresses_in_front_do_not_draw_the_cut_nearer() -> None:
    crowd = "".join(f"{'w' * 200}{n:03}@x.test " for n in range(100))
    assert "ww" not in display.excerpt(crowd, 300)


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
def test_the_time_grows_in_proportion_to_the_length(piece: str) -> None:
    """A quadratic search takes a hundred times as long for ten times the length."""

    def least_s(length: int) -> float:
        text, took = piece * (length // len(piece)), []
        for _ in range(5):
            began = time.process_time()
            display.visible(display.mask(text))
            took.append(time.process_time() - began)
        return min(took)

    assert least_s(100_000) <= 40 * max(least_s(10_000), 0.0001)


# ── nothing steers the terminal ───────────────────────────────────────────────────────────────────────────


@given(st.text())
def test_visible_text_is_one_line_that_steers_nothing(text: str) -> None:
    told = display.visible(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in told)
    assert not any(unicodedata.category(c) == "Cf" and c not in "\u200c\u200d" for c in told)
    assert len(told.splitlines()) <= 1
    assert display.visible(told) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\x1b[2J\x1b[31mred", r"\x1b[2J\x1b[31mred"),
        ("\x9b2J", r"\x9b2J"),
        ("a\r\nb\tc\x7f\x00", r"a\r\nb\tc\x7f\x00"),
        ("\u202eabc\u2066\u200f", r"\u202eabc\u2066\u200f"),
        ("a\u2028b\u2029\x85", r"a\u2028b\u2029\x85"),
        ("\ud800 \ufeff \U000e0041", r"\ud800 \ufeff \U000e0041"),
        (
            "Ünïcödé 漢字 👩\u200d🚀 می\u200cخواهم 1\u00a0000",
            "Ünïcödé 漢字 👩\u200d🚀 می\u200cخواهم 1\u00a0000",
        ),
        ("[red]not red[/]", "[red]not red[/]"),
    ],
)
def test_what_steers_is_spelled_out_and_what_is_read_stays(text: str, told: str) -> None:
    assert display.visible(text) == told
