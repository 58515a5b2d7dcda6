"""The same calls as plain Celery tasks with httpx, and no guarantee at all: what Onelane is measured against.

One client per thread, with one connection: httpx's shared pool would cost more.
"""

from __future__ import annotations

import os
import threading

import httpx
from celery import Celery

app = Celery("plain", broker=os.environ["BENCH_REDIS_URL"])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    task_default_queue="plain",
)
_local = threading.local()
HEADERS = {"Authorization": "Bearer bench", "Intercom-Version": "2.15", "Accept": "application/json"}


def client() -> httpx.Client:
    if not hasattr(_local, "client"):
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        _local.client = httpx.Client(
            base_url=os.environ["BENCH_STUB_URL"], headers=HEADERS, timeout=15, limits=limits, trust_env=False
        )
    return _local.client


@app.task
def update(contact_id: str, fields: dict[str, object]) -> None:
    client().put(f"/contacts/{contact_id}", json=fields).raise_for_status().json()


@app.task
def newcomer(email: str, fields: dict[str, object]) -> None:
    query = {"query": {"field": "email", "operator": "=", "value": email}}
    found = client().post("/contacts/search", json=query).raise_for_status().json()
    if not found["data"]:
        client().post("/contacts", json={"role": "user", "email": email, **fields}).raise_for_status().json()
