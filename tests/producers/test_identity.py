"""One person, one lane: every spelling of an address is the same address."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelane.identity import InvalidAddress, lane_id, mask, normalise_email

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
    "ann@exam\u200bple.test": "white space or a control character",
    "ann\ud800@example.test": "control character",
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


ascii_atoms = st.text(string.ascii_letters + string.digits + "+-_.", min_size=1, max_size=12)


@given(ascii_atoms, labels, st.data())
def test_every_spelling_has_the_same_lane(local: str, domain: str, data: st.DataObject) -> None:
    address = f"{local}@{domain}.test"
    swapped = "".join(c.swapcase() if c.isascii() and data.draw(st.booleans()) else c for c in address)
    padded = data.draw(st.sampled_from(["{}", " {}", "{}\n", "\t{} "])).format(swapped)
    assert lane_id(normalise_email(padded)) == lane_id(normalise_email(address))


@given(st.text(string.ascii_lowercase, min_size=2, max_size=12), labels)
def test_mask_hides_the_person(local: str, domain: str) -> None:
    hidden = mask(f"{local}@{domain}")
    assert hidden == f"{local[0]}***@{domain}"
    assert len(lane_id(hidden)) == 32


def test_the_lane_of_an_address_never_changes() -> None:
    assert lane_id("ann@example.test") == "eff90234b5c0d7bb3000e7e2faa01214"
