"""Everything the SDK raises, and whose fault each one is.

    OnelaneError
    ├── InvalidIntent      the caller's input; also a ValueError; names the field
    ├── DedupeMismatch     the caller reused a dedupe key for something else
    ├── QueueFull          Onelane's limits: the workers are behind
    ├── QueueUnavailable   Redis did not answer in time; nothing was promised
    ├── UnknownIntent      nothing is known of this id; also a LookupError
    ├── WaitTimeout        the outcome is not there yet; the intent goes on
    └── BadSetting         an ONELANE_ variable cannot be used; also a ValueError

No message carries an email address. Each can be made again from its `args`: so all of them survive pickling,
copying, and Celery's JSON result back end (which carries nothing but the `args`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from onelane.results import Receipt


class OnelaneError(Exception):
    """Base of every error the SDK raises."""

    index: int | None = None
    """From `enqueue_many`: the position of the first intent without a receipt. None otherwise."""
    receipts: tuple[Receipt | None, ...] = ()
    """From `enqueue_many`: one entry per intent; None where there is no receipt. To finish the batch, enqueue
    those again."""

    def in_batch(self, index: int, receipts: tuple[Receipt | None, ...]) -> Self:
        """The same error, told about the batch it happened in."""
        self.index = index
        self.receipts = receipts
        return self


class InvalidIntent(OnelaneError, ValueError):
    """The intent was refused at the door: nothing was sent.

    `field` names the offending field (dotted for nested ones), `message` says what is wrong with it, and
    `index` is the position in the batch when raised by `enqueue_many`.
    """

    def __init__(self, field: str, message: str, index: int | None = None) -> None:
        self.field = field
        self.message = message
        self.index = index
        super().__init__(field, message, index)

    def __str__(self) -> str:
        place = "" if self.index is None else f"intent {self.index}: "
        return f"{place}{self.field}: {self.message}"

    def at(self, index: int) -> InvalidIntent:
        """The same complaint, placed in a batch."""
        return InvalidIntent(self.field, self.message, index)


class DedupeMismatch(OnelaneError):
    """This dedupe key already stands for an intent of the same kind with other content. It was not stored."""

    def __init__(self, receipt_id: str) -> None:
        self.receipt_id = receipt_id
        super().__init__(receipt_id)

    def __str__(self) -> str:
        return (
            f"the dedupe key already belongs to intent {self.receipt_id}, whose content differs; "
            "use a new key for a new request"
        )


class QueueFull(OnelaneError):
    """A limit on waiting intents is reached: slow down and try again. The intent was not stored."""

    def __init__(self, what: str, limit: int) -> None:
        self.what = what
        self.limit = limit
        super().__init__(what, limit)

    def __str__(self) -> str:
        return f"{self.what} already holds {self.limit} waiting intents; retry later or add workers"


class QueueUnavailable(OnelaneError):
    """Redis could not be reached in the allowed time: the intent may be stored or not.

    Enqueue it again: with a dedupe key that is always safe.
    """


class UnknownIntent(OnelaneError, LookupError):
    """No intent has this id: it was never accepted here, or it ended longer ago than statuses are kept."""

    def __init__(self, intent_id: str) -> None:
        self.intent_id = intent_id
        super().__init__(intent_id)

    def __str__(self) -> str:
        return (
            f"no intent has the id {self.intent_id[:64]!r}: it was never accepted here, "
            "or it ended longer ago than ONELANE_STATUS_TTL_S"
        )


class WaitTimeout(OnelaneError):
    """The intent has not ended within the given time. It goes on; ask `status` or wait again."""


class BadSetting(OnelaneError, ValueError):
    """A setting cannot be used. `variable` names it; the message never repeats its value."""

    def __init__(self, variable: str, message: str) -> None:
        self.variable = variable
        self.message = message
        super().__init__(variable, message)

    def __str__(self) -> str:
        return f"{self.variable}: {self.message}"
