"""Onelane's SDK: say what should be true of a contact, and workers make it true, one address at a time.

    from onelane import ContactQueue, NewsletterOptIn

    queue = ContactQueue.from_url("redis://localhost:6379/0")
    receipt = queue.enqueue(NewsletterOptIn(email="ann@example.test", name="Ann"))
    print(queue.wait(receipt.id, timeout=10))

The settings, and their ONELANE_ variables, are those of `QueueSettings`.
"""

from typing import TYPE_CHECKING, Any

from onelane.client import ContactQueue
from onelane.errors import (
    BadSetting,
    DedupeMismatch,
    InvalidIntent,
    OnelaneError,
    QueueFull,
    QueueUnavailable,
    UnknownIntent,
    WaitTimeout,
)
from onelane.intents import (
    ContactErasure,
    ContactSync,
    ContactUpsert,
    EmailChange,
    Intent,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
    json_schema,
    parse_intent,
)
from onelane.results import IntentError, Latest, Outcome, Receipt, Status
from onelane.settings import QueueSettings

if TYPE_CHECKING:
    from onelane.aio import AsyncContactQueue

__all__ = [
    "AsyncContactQueue",
    "BadSetting",
    "ContactErasure",
    "ContactQueue",
    "ContactSync",
    "ContactUpsert",
    "DedupeMismatch",
    "EmailChange",
    "Intent",
    "IntentError",
    "InvalidIntent",
    "Latest",
    "LeadCapture",
    "NewsletterOptIn",
    "NewsletterOptOut",
    "OnelaneError",
    "Outcome",
    "ProductSignUp",
    "QueueFull",
    "QueueSettings",
    "QueueUnavailable",
    "Receipt",
    "Status",
    "UnknownIntent",
    "WaitTimeout",
    "json_schema",
    "parse_intent",
]


def __getattr__(name: str) -> Any:
    """Load the asyncio half when it is first asked for."""
    if name != "AsyncContactQueue":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from onelane.aio import AsyncContactQueue

    globals()[name] = AsyncContactQueue
    return AsyncContactQueue


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
