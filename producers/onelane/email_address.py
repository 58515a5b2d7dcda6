"""One address, one lane: every spelling of an address is normalised the same way.

What an address may look like is decided by two libraries, on demand: `email-validator` (the part before the
@: RFC 5321, 6531) and `idna` (the domain: UTS 46, IDNA 2008). Nobody is asked whether the domain exists.
"""

from __future__ import annotations

import re
import unicodedata

MAX_ADDRESS_LENGTH = 254
"""In bytes as UTF-8."""
_UNSEEN = ("Cc", "Cf", "Cs")  # control and format characters, surrogates
# Unicode's Default_Ignorable_Code_Point, which Python does not know, and the empty Braille pattern.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_PUNCTUATION = frozenset("<>,;:")  # signs of a pasted "Ann <ann@example.test>", a list, or mailto:
_ATOM = r"[a-z0-9_!#$%&'*+\-/=?^`{|}~]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LABELS = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# What nearly every address looks like; the libraries neither change nor refuse such a one.
_PLAIN = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?!..--){_LABEL}(?:\.(?!..--){_LABEL})*")


class InvalidAddress(ValueError):
    """The text is no email address. The message says why and never repeats the text."""


def normalise_email(raw: str) -> str:
    """The canonical spelling of an address: stripped, NFC, lower case, domain in IDNA (ASCII) form.

    Plus tags and dots are kept: folding them would merge people that Intercom keeps apart. Quotes that the
    part before the @ does not need are dropped.
    Raises `InvalidAddress` for anything that is not one address.
    """
    text = unicodedata.normalize("NFC", raw.strip())
    plain = text.lower()
    if len(plain) <= MAX_ADDRESS_LENGTH and _PLAIN.fullmatch(plain):
        return plain
    _check(text)
    local, _, domain = text.rpartition("@")
    address = f"{_local_part(local)}@{_ascii_domain(domain)}"
    _check_length(address)
    return address


def spellings(address: str) -> tuple[str, ...]:
    """A normalised address, and the other forms in which somebody else may have stored it: the domain in
    native letters, letters and their accents as separate characters (NFD). Most addresses have one form."""
    local, _, domain = address.rpartition("@")
    domains = [domain]
    if "xn--" in domain:
        import idna

        native = idna.decode(domain)
        domains += [native, unicodedata.normalize("NFD", native)]
    locals_ = (local, unicodedata.normalize("NFD", local))
    return tuple(dict.fromkeys(f"{before}@{after}" for after in domains for before in locals_))


def _check(text: str) -> None:
    if not text:
        raise InvalidAddress("is empty")
    if any(unicodedata.category(c) in _UNSEEN for c in text) or _IGNORABLE.search(text):
        raise InvalidAddress("contains a control character or an invisible one")
    _check_length(text)
    local, at, domain = text.rpartition("@")
    if not at:
        raise InvalidAddress("has no @")
    if not local or not domain:
        raise InvalidAddress("lacks the part before or after the @")
    unquoted = domain if local.startswith('"') else text
    if any(c.isspace() for c in unquoted):
        raise InvalidAddress("contains white space")
    if not _PUNCTUATION.isdisjoint(unquoted):
        raise InvalidAddress("contains one of " + " ".join(sorted(_PUNCTUATION)))
    if unquoted.count("@") > 1:
        raise InvalidAddress("has more than one @")


def _check_length(text: str) -> None:
    if len(text.encode()) > MAX_ADDRESS_LENGTH:
        raise InvalidAddress(f"is longer than {MAX_ADDRESS_LENGTH} bytes")


def _local_part(local: str) -> str:
    from email_validator import EmailNotValidError, validate_email

    lower = unicodedata.normalize("NFC", local.lower())
    if not lower.startswith('"') and "" in lower.split("."):
        raise InvalidAddress("has a dot first or last before the @, or two dots in a row")
    try:
        valid = validate_email(  # each option is named: the host program may have changed the defaults
            f"{lower}@a",
            allow_smtputf8=True,
            allow_empty_local=False,
            allow_quoted_local=True,
            allow_domain_literal=False,
            allow_display_name=False,
            strict=False,
            check_deliverability=False,
            test_environment=False,
            globally_deliverable=False,
        )
    except EmailNotValidError:  # its message repeats characters of the address
        raise InvalidAddress("contains a character that is not allowed before the @") from None
    return valid.local_part


def _ascii_domain(domain: str) -> str:
    import idna

    # Older tables map the capital sharp s to ss, and so to a domain of somebody else.
    domain = domain.replace("\u1e9e", "\u00df")
    try:
        ascii_domain = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError:  # its message repeats the domain
        ascii_domain = ""
    if not _LABELS.fullmatch(ascii_domain):
        raise InvalidAddress(
            "has an impossible domain: between dots stand 1 to 63 letters, digits and inner hyphens"
        )
    return ascii_domain
