"""What people see in Flower: one row per intent, whoever served it, and never an address."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from onelane import ContactSync, LeadCapture, NewsletterOptIn, ProductSignUp, Receipt
from onelane.keys import wake_queue
from onelane_worker.cli._local_stack import free_port

from .processes import python, valkey, wait_until
from .story import Story
from .world import SHORT_LAG_S, STRICT, World, opened

Row = dict[str, Any]


class Flower:
    """Flower's HTTP interface."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str) -> Any:
        with urlopen(self._url + path, timeout=30) as response:
            return json.load(response)

    def is_up(self) -> bool:
        try:
            return bool(self.get("/api/workers"))
        except (URLError, ConnectionError):
            return False

    def row(self, receipt: Receipt, *states: str) -> Row:
        """The row of an intent, as soon as it shows one of these states."""

        def look() -> Row | None:
            row: Row | None = self.get("/api/tasks").get(receipt.id)
            return row if row and row["state"] in states else None

        return wait_until(look, what=f"{states} in Flower")


@pytest.fixture(scope="module")
def world(logs: Path) -> Iterator[World]:
    """A world with a Redis server to itself, all of which may be searched."""
    with valkey() as url, opened("shown", f"{url}/0", logs, settings=STRICT, lag_s=SHORT_LAG_S) as world:
        yield world


@pytest.fixture(scope="module")
def flower(world: World, logs: Path) -> Iterator[Flower]:
    port = free_port()
    command = ["-m", "celery", "-A", "onelane_worker.app", "flower", f"--port={port}", "--address=127.0.0.1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
        program = python(logs / "flower.log", *command, settings=world.settings)
    with program:
        flower = Flower(f"http://127.0.0.1:{port}")
        wait_until(flower.is_up, what="Flower to know the worker")
        yield flower


@pytest.fixture
def story(world: World) -> Story:
    world.renew()
    return Story(world)


def test_a_row_tells_what_became_of_an_intent(story: Story, flower: Flower) -> None:
    email = story.email()
    receipt = story.queue.enqueue(ProductSignUp(email=email, external_id=story.external_id()))
    outcome = story.end(receipt)
    row = flower.row(receipt, "SUCCESS")
    assert row["name"] == "contacts.product_sign_up"
    assert row["args"] == f"['{receipt.lane}']"
    assert row["kwargs"] == "{'who': 'a***@example.test'}"
    assert row["result"] == str(outcome) == f"result=created contact_id={outcome.contact_id} calls=2"
    assert row["retries"] == 0


def test_03_a_lost_answer_is_seen_as_a_retry(story: Story, flower: Flower) -> None:
    """The create that got no answer counts; looking for what became of it does not."""
    email = story.email()
    with story.struck("lose_response"):
        receipt = story.queue.enqueue(NewsletterOptIn(email=email))
    row = flower.row(receipt, "RETRY", "SUCCESS")
    assert row["retried"]
    assert re.fullmatch(r"Waiting: reconciling network \S.*; again in \d\.\d s", row["exception"])
    outcome = story.end(receipt)
    row = flower.row(receipt, "SUCCESS")
    assert row["result"] == f"result=created contact_id={outcome.contact_id} calls=4 adopted"
    assert row["retries"] == 1


def test_05_a_failed_attempt_is_counted(story: Story, flower: Flower) -> None:
    story.sandbox.fault("status_503", path="/contacts/search")
    receipt = story.queue.enqueue(LeadCapture(email=story.email()))
    assert story.end(receipt).result == "created"
    row = flower.row(receipt, "SUCCESS")
    assert row["retries"] == story.status(receipt).attempts - 1 == 1
    assert re.match(r"Waiting: retrying server_error 503 service_unavailable", row["exception"])


def test_giving_up_is_a_failure(story: Story, flower: Flower) -> None:
    story.sandbox.fault("status_503", path="/contacts/search", times=None)
    receipt = story.queue.enqueue(LeadCapture(email=story.email()))
    assert story.end(receipt).reason == "upstream_error"
    row = flower.row(receipt, "FAILURE")
    assert row["exception"] == "Rejected: upstream_error 503 service_unavailable"
    assert row["retries"] == story.status(receipt).attempts - 1


def test_21_a_refused_intent_is_a_failure(story: Story, flower: Flower) -> None:
    receipt = story.queue.enqueue(LeadCapture(email=story.email(), custom_attributes={"no_such_thing": 1}))
    story.end(receipt)
    assert flower.row(receipt, "FAILURE")["exception"] == "Rejected: refused 400 parameter_invalid"


def test_every_intent_of_a_lane_has_a_row(story: Story, flower: Flower) -> None:
    """Folded into one write, served in another's turn, or refused: each has its row, and of one worker."""
    email = story.email()
    story.do(LeadCapture(email=email))
    receipts = story.queue.enqueue_many(
        [
            LeadCapture(email=email, name="Ann"),
            LeadCapture(email=email, phone="+4930123456"),
            ContactSync(email=email, custom_attributes={"seats": 5}),
            LeadCapture(email=email, custom_attributes={"no_such_thing": 1}),
            NewsletterOptIn(email=email),
        ]
    )
    for receipt in receipts:
        outcome = story.end(receipt)
        row = flower.row(receipt, "SUCCESS", "FAILURE")
        assert row["name"] == f"contacts.{story.status(receipt).kind}"
        assert row["args"] == f"['{receipt.lane}']"
        assert row["kwargs"] == "{'who': 'a***@example.test'}"
        if outcome.result == "rejected":
            assert row["exception"] == "Rejected: refused 400 parameter_invalid"
        else:
            assert (row["state"], row["result"]) == ("SUCCESS", str(outcome))
    workers = {row["worker"] for row in flower.get("/api/tasks").values()}
    assert workers == set(flower.get("/api/workers"))


def test_no_address_leaves_the_lane(story: Story, flower: Flower, world: World) -> None:
    """Law: keys, messages, rows and logs carry a digest or a masked address."""
    # Given people with whom all kinds of things happen
    secret = "giveaway"
    emails = [story.email(secret) for _ in range(4)]
    external_id = story.external_id()
    story.do(ProductSignUp(email=emails[0], external_id=external_id, name="Ann"))
    story.do(ContactSync(email=emails[1], external_id=external_id))
    story.do(LeadCapture(email=emails[2], custom_attributes={"no_such_thing": 1}))
    with story.struck("lose_response"):
        lost = story.queue.enqueue(NewsletterOptIn(email=emails[3]))
    seen = list(_messages(world))
    story.end(lost)
    flower.row(lost, "SUCCESS")

    # When the workers are gone, intents are waiting
    for worker in world.workers:
        worker.stop()
    story.queue.enqueue_many([LeadCapture(email=email) for email in emails])
    seen += _messages(world)
    assert [text.partition(" ")[2] for text in seen] == ['[["main"],{},{}]'] * len(emails)

    # Then their addresses are nowhere but in the lanes
    places: dict[str, Callable[[], str]] = {
        "keys": lambda: "\n".join(key.decode() for key in world.redis.scan_iter("*")),
        "messages": lambda: "\n".join(seen),
        "rows": lambda: json.dumps(flower.get("/api/tasks")),
        "logs": world.log,
    }
    for place, read in places.items():
        text = read().lower()
        assert text.strip(), place
        assert secret not in text, place
        assert not re.search(r"[\w.+-]{2,}(@|%40)example\.test", text), place


def _messages(world: World) -> Iterator[str]:
    """Every message that waits in the broker: its headers, a space, its body."""
    for raw in world.redis.lrange(wake_queue("main"), 0, -1):
        message = json.loads(raw)
        yield f"{json.dumps(message, separators=(',', ':'))} {base64.b64decode(message['body']).decode()}"
