"""What the care costs: newcomers per second, through Onelane and by a bare client that makes the same calls.

The bare client is at its best: as many threads as the worker has, connections kept alive, no lock, no record,
no registry. It makes the two calls that Onelane makes for a newcomer. Both run against the same sandbox. Of
Onelane's time about half is Celery's: a turn that has nothing to do costs it as much.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from bench.stage import Stage
from onelane import LeadCapture

_local = threading.local()


def measure(stage: Stage, count: int = 1_000, threads: int = 8) -> dict[str, float]:
    """Newcomers per second by each side, and their ratio."""
    bare = _bare(stage, count, threads)
    onelane = _onelane(stage, count)
    return {"bare_per_s": bare, "onelane_per_s": onelane, "ratio": onelane / bare}


def _onelane(stage: Stage, count: int) -> float:
    intents = [LeadCapture(email=f"through{n}@example.test", name="Ann") for n in range(count)]
    began = time.perf_counter()
    receipts = stage.queue.enqueue_many(intents)
    for receipt in receipts:
        stage.queue.wait(receipt.id, timeout=120)
    return count / (time.perf_counter() - began)


def _bare(stage: Stage, count: int, threads: int) -> float:
    host = urlsplit(stage.sandbox.url).netloc
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda n: _find_then_create(host, f"bare{n}@example.test"), range(count)))
    return count / (time.perf_counter() - began)


def _find_then_create(host: str, email: str) -> None:
    found = _call(host, "/contacts/search", {"query": {"field": "email", "operator": "=", "value": email}})
    if not found["data"]:
        _call(host, "/contacts", {"role": "lead", "email": email, "name": "Ann"})


def _call(host: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    if not hasattr(_local, "connection"):
        _local.connection = http.client.HTTPConnection(host)
    headers = {
        "Authorization": "Bearer bench",
        "Content-Type": "application/json",
        "Accept": "application/json",
    }
    _local.connection.request("POST", path, json.dumps(body), headers)
    answer: dict[str, Any] = json.loads(_local.connection.getresponse().read())
    return answer
