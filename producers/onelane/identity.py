"""Who an intent is about: one address, one lane.

An address is normalised the same way everywhere, so that every spelling of it finds the same lane. The lane
id is a digest: keys, task arguments, logs and metrics carry it instead of the address.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_ADDRESS_LENGTH = 254
_DIGEST_LENGTH = 32  # hex digits: 128 bits
_UNSEEN = ("Cc", "Cf", "Cs")  # control and format characters, surrogates
_PUNCTUATION = frozenset("<>,;:")  # signs of a pasted "Ann <ann@example.test>", a list, or mailto:
_OWN_LETTERS = frozenset("ßς")  # letters that IDNA 2003, Python's codec, would fold into others
_DOTS = str.maketrans("。．｡", "...")  # what IDNA reads as a dot
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")


class InvalidAddress(ValueError):
    """The text is no email address. The message says why and never repeats the text."""


def normalise_email(raw: str) -> str:
    """The canonical spelling of an address: stripped, NFC, lower case, domain in IDNA (ASCII) form.

    Plus tags and dots are kept: folding them would merge people that Intercom keeps apart.
    Raises `InvalidAddress` for anything that is not one address.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", raw.strip()).lower())
    _check(text)
    local, _, domain = text.rpartition("@")
    address = f"{local}@{_ascii_domain(domain)}"
    if len(address) > MAX_ADDRESS_LENGTH:
        raise InvalidAddress(f"is longer than {MAX_ADDRESS_LENGTH} characters")
    return address


def _check(text: str) -> None:
    if not text:
        raise InvalidAddress("is empty")
    if len(text) > MAX_ADDRESS_LENGTH:
        raise InvalidAddress(f"is longer than {MAX_ADDRESS_LENGTH} characters")
    if any(c.isspace() or unicodedata.category(c) in _UNSEEN for c in text):
        raise InvalidAddress("contains white space or a control character")
    if text.count("@") != 1:
        raise InvalidAddress("has more than one @" if "@" in text else "has no @")
    if text.startswith("@") or text.endswith("@"):
        raise InvalidAddress("lacks the part before or after the @")
    if not _PUNCTUATION.isdisjoint(text):
        raise InvalidAddress("contains one of " + " ".join(sorted(_PUNCTUATION)))


def _ascii_domain(domain: str) -> str:
    return ".".join(_ascii_label(label) for label in domain.translate(_DOTS).split("."))


def _ascii_label(label: str) -> str:
    try:
        if _OWN_LETTERS.isdisjoint(label):
            ascii_label = label.encode("idna").decode("ascii").lower()
        else:  # straße.example and strasse.example have different owners
            ascii_label = "xn--" + label.encode("punycode").decode("ascii")
    except UnicodeError:
        raise InvalidAddress("has an impossible domain") from None
    if not _LABEL.fullmatch(ascii_label):
        raise InvalidAddress("has an impossible domain")
    return ascii_label


def lane_id(address: str) -> str:
    """The lane of a normalised address: 32 hex digits; the first one is its partition."""
    return digest(address)


def digest(text: str) -> str:
    """A stable 128-bit digest (32 hex digits), used wherever the text itself must not be seen."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]


def mask(address: str) -> str:
    """What people may see of an address: `ann@example.test` becomes `a***@example.test`."""
    local, _, domain = address.strip().rpartition("@")
    return f"{local[:1]}***@{domain}"
