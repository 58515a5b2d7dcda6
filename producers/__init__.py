"""Onelane's SDK: say what should be true of a contact, and workers make it true, one address at a time.

    from producers import ContactQueue, NewsletterOptIn

    queue = ContactQueue.from_url("redis://localhost:6379/0")
    receipt = queue.enqueue(NewsletterOptIn(email="ann@example.test", name="Ann"))
    print(queue.wait(receipt.id, timeout=10))

The settings, and their ONELANE_ variables, are those of `QueueSettings`.
"""

from producers.aio import AsyncContactQueue
from producers.client import ContactQueue
from producers.errors import (
    BadSetting,
    DedupeMismatch,
    InvalidIntent,
    OnelaneError,
    QueueFull,
    QueueUnavailable,
    UnknownIntent,
    WaitTimeout,
)
from producers.intents import (
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
from producers.receipts import IntentError, Latest, Outcome, Receipt, Status
from producers.settings import QueueSettings

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
