"""One person, one lane: every spelling of an address is the same address."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelane import email_address
from onelane.email_address import InvalidAddress, normalise_email, spellings

SPELLINGS = {
    "as it is": ("ann@example.test", "ann@example.test"),
    "upper case": ("Ann@EXAMPLE.Test", "ann@example.test"),
    "white space around": (" \tann@example.test\n", "ann@example.test"),
    "plus tag kept": ("ann+news@example.test", "ann+news@example.test"),
    "dots kept": ("a.n.n@example.test", "a.n.n@example.test"),
    "decomposed letter": ("rene\u0301@example.test", "ren\u00e9@example.test"),
    "unicode domain": ("ann@Bücher.example", "ann@xn--bcher-kva.example"),
    "domain already ASCII": ("ann@XN--bcher-kva.example", "ann@xn--bcher-kva.example"),
    "full-width domain": ("ann@ｅxample.test", "ann@example.test"),
    "ideographic full stop": ("ann@example。test", "ann@example.test"),
    "sharp s is no ss": ("ann@Straße.example", "ann@xn--strae-oqa.example"),
    "sharp s beside another sign to fold": ("ann@ＳtraßE.example", "ann@xn--strae-oqa.example"),
    "capital sharp s": ("ann@STRA\u1e9eE.example", "ann@xn--strae-oqa.example"),
    "sharp s already ASCII": ("ann@XN--STRAE-OQA.example", "ann@xn--strae-oqa.example"),
    "capital sigma last": ("ann@ΝΗΣΟΣ", "ann@xn--sxalhpb"),
    "decomposed domain": ("ann@bu\u0308cher.example", "ann@xn--bcher-kva.example"),
    "special-use domains": ("ann@printer.local", "ann@printer.local"),
    "quotes that are not needed": ('"Ann.B"@example.test', "ann.b@example.test"),
    "quotes that are needed": ('"Ann @ B, C"@example.test', '"ann @ b, c"@example.test'),
    "every sign that is allowed": (
        "o'b!#$%&*+-/=?^_`{|}~@example.test",
        "o'b!#$%&*+-/=?^_`{|}~@example.test",
    ),
    "no dot in the domain": ("ann@localhost", "ann@localhost"),
    "longest": ("a" * 242 + "@example.org", "a" * 242 + "@example.org"),
}

REFUSED = {
    "": "is empty",
    "  ": "is empty",
    "ann": "has no @",
    "@example.test": "lacks the part",
    "ann@": "lacks the part",
    "ann@x@example.test": "more than one @",
    "an n@example.test": "white space",
    "ann@exam\u200bple.test": "an invisible one",
    "ann\ud800@example.test": "control character",
    "ann\x00@example.test": "control character",
    "ann\u3164@example.test": "an invisible one",
    "ann\u034f@example.test": "an invisible one",
    "ann\ufe0f@example.test": "an invisible one",
    "ann@exam\u00adple.test": "an invisible one",
    '"a\u3164"@example.test': "an invisible one",
    ".ann@example.test": "dot first or last",
    "ann.@example.test": "dot first or last",
    "a..b@example.test": "two dots in a row",
    "a\ue000b@example.test": "not allowed before the @",
    "(ann)@example.test": "not allowed before the @",
    '"ann"b@example.test': "not allowed before the @",
    "\u0301ann@example.test": "not allowed before the @",
    "ann@-x-.test": "impossible domain",
    "ann@my_host.test": "impossible domain",
    "ann@ab--cd.test": "impossible domain",
    "ann@xn--a.test": "impossible domain",
    "ann@\u2764.test": "impossible domain",
    "Ann<ann@example.test>": "contains one of",
    "mailto:ann@example.test": "contains one of",
    "ann@example.test,bob": "contains one of",
    "ann@example..test": "impossible domain",
    "ann@.test": "impossible domain",
    "ann@example.test.": "impossible domain",
    "ann@[127.0.0.1]": "impossible domain",
    "ann@" + "x" * 64 + ".test": "impossible domain",
    "ann@" + "ß" * 70 + ".test": "impossible domain",
    "a" * 243 + "@example.org": "longer than 254",
    "ann@" + "üxüxüxü." * 25 + "test": "longer than 254",
}


@pytest.mark.parametrize(("written", "address"), SPELLINGS.values(), ids=SPELLINGS)
def test_normalised_R60(written: str, address: str) -> None:
    assert normalise_email(written) == address


def test_every_character_that_unicode_lets_be_ignored_is_refused_B11() -> None:
    ignorable = [
        *range(0xFE00, 0xFE10),
        *range(0xE0000, 0xE1000, 64),
        0xAD,
        0x34F,
        0x115F,
        0x17B4,
        0x180B,
        0x3164,
        0xFFA0,
    ]
    for point in [*ignorable, 0x2800]:
        for text in (f"a{chr(point)}b@example.test", f"ab@exam{chr(point)}ple.test"):
            with pytest.raises(InvalidAddress):
                normalise_email(text)


@pytest.mark.parametrize(
    ("written", "complaint"), REFUSED.items(), ids=[ascii(text)[:30] for text in REFUSED]
)
def test_refused_R61_without_repeating_the_text(written: str, complaint: str) -> None:
    with pytest.raises(InvalidAddress, match=complaint) as caught:
        normalise_email(written)
    assert len(written) < 5 or written not in str(caught.value)


anything = st.text(max_size=30)
atoms = st.text(string.ascii_letters + string.digits + "+-_.éßΣİ\u212a", min_size=1, max_size=12)
labels = st.text(string.ascii_letters + string.digits + "üßς", min_size=1, max_size=8)
addresses = st.builds("{}@{}.{}".format, atoms, labels, labels)


@given(addresses | st.builds("{}@{}".format, anything, anything))
def test_normalising_again_changes_nothing(written: str) -> None:
    try:
        address = normalise_email(written)
    except InvalidAddress:
        return
    assert normalise_email(address) == address


ascii_atoms = st.lists(
    st.text(string.ascii_letters + string.digits + "+-_'{}", min_size=1, max_size=6), min_size=1, max_size=3
).map(".".join)


@given(ascii_atoms, labels, st.data())
def test_every_spelling_is_the_same_address(local: str, domain: str, data: st.DataObject) -> None:
    address = f"{local}@{domain}.test"
    swapped = "".join(c.swapcase() if c.isascii() and data.draw(st.booleans()) else c for c in address)
    padded = data.draw(st.sampled_from(["{}", " {}", "{}\n", "\t{} "])).format(swapped)
    assert normalise_email(padded) == normalise_email(address)


def test_the_short_way_for_plain_addresses_ends_where_the_libraries_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never = re.compile("(?!)")
    for written in ("ann@example.test", "O'B+x=1@Mail.Example.test", "a@b", "1@2.3", "a.b.c@x-y.test"):
        short = normalise_email(written)
        with monkeypatch.context() as patch:
            patch.setattr(email_address, "_PLAIN", never)
            assert normalise_email(written) == short


SPELT = {
    "ann@example.test": ("ann@example.test",),
    "cy@xn--bcher-kva.example": (
        "cy@xn--bcher-kva.example",
        "cy@b\u00fccher.example",
        "cy@bu\u0308cher.example",
    ),
    "ren\u00e9@example.test": ("ren\u00e9@example.test", "rene\u0301@example.test"),
}


@pytest.mark.parametrize(("address", "forms"), SPELT.items())
def test_the_forms_in_which_others_may_have_stored_an_address(address: str, forms: tuple[str, ...]) -> None:
    assert spellings(address) == forms


@given(addresses)
def test_every_form_of_an_address_is_the_same_address(written: str) -> None:
    try:
        address = normalise_email(written)
    except InvalidAddress:
        return
    forms = spellings(address)
    assert forms[0] == address
    assert {normalise_email(form) for form in forms} == {address}
    assert len(forms) <= 6
