"""The Intercom-Version header: which versions exist, and what differs between them for contacts.

Evidence: published spec 2.7 to 2.16. Version 2.17 is served by now, but its changes to contacts are
unverified, so the sandbox does not pretend to know it.
"""

from __future__ import annotations

from onelane_sandbox.messages import ApiError

ApiVersion = tuple[int, int]

DEFAULT_LABEL = "2.15"
_PREVIEW: ApiVersion = (2, 99)
_KNOWN: dict[str, ApiVersion] = {f"2.{minor}": (2, minor) for minor in range(17)}
_KNOWN |= {"Preview": _PREVIEW, "Unstable": _PREVIEW}

FIRST: ApiVersion = (2, 0)
HAS_FIND_AND_BLOCK: ApiVersion = (2, 13)
MERGED_IS_GONE: ApiVersion = (2, 16)  # reading a merged contact: 410 with a pointer, instead of 404
MERGE_NEEDS_DUPLICATES: ApiVersion = (2, 16)  # unless skip_duplicate_validation is true
OWNER_ID_IS_STRING: ApiVersion = (2, 16)
HAS_EMAIL_VERIFIED: ApiVersion = (2, 16)


def echoed(label: str | None) -> str:
    """The version to name in the answer: the one asked for if there is such a one, else the app's own."""
    return label if label in _KNOWN else DEFAULT_LABEL


def read_version(label: str | None) -> ApiVersion:
    """The version asked for; without a header the app's own version holds.

    Raises ApiError 400 intercom_version_invalid. Evidence: third-party tests (the text).
    """
    version = _KNOWN.get(label or DEFAULT_LABEL)
    if version is None:
        raise ApiError(400, "intercom_version_invalid", "The requested version could not be found")
    return version


def require(version: ApiVersion, since: ApiVersion) -> None:
    """Refuse an endpoint that this version does not have yet. Evidence: published spec."""
    if version < since:
        message = "Requested resource is not available in current API version."
        raise ApiError(400, "intercom_version_invalid", message)
