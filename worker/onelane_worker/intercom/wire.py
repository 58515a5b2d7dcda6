"""Operation ⇄ HTTP, both directions pure: the only place that knows how Intercom spells things.

* `to_request(operation) -> Request`, in requests.py
* `to_reply(operation, status, …) -> Reply`, in responses.py, with contacts.py (bodies) and faults.py (errors)
"""

from __future__ import annotations

from onelane_worker.intercom.requests import Request, to_request
from onelane_worker.intercom.responses import to_reply

__all__ = ["Request", "to_reply", "to_request"]
