"""An existing Celery app with a task that tells Onelane: `celery -A celery_tasks worker`.

The app keeps its own broker, queues and settings. Onelane's queue is in the Redis of ONELANE_REDIS_URL, and
its workers are other processes.
"""

import os

from celery import Celery, Task

from onelane import ContactQueue, ProductSignUp, QueueFull, QueueUnavailable

app = Celery("shop", broker=os.environ.get("SHOP_BROKER_URL", "amqp://localhost"))
contacts = ContactQueue()  # one for the process; made before the fork of a prefork pool, it is safe


@app.task(bind=True, autoretry_for=(QueueFull, QueueUnavailable), retry_backoff=True, max_retries=None)
def tell_of_sign_up(self: Task, user_id: str, email: str, name: str) -> str:
    # A retry has the id of the first try: what the first one has stored is not stored again.
    intent = ProductSignUp(email=email, external_id=user_id, name=name, dedupe_key=self.request.id)
    return contacts.enqueue(intent).id
