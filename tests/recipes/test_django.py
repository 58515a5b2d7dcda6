"""Django: told after the commit, and with an outbox from which an unreachable Redis takes nothing."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from typing import Any

import django
import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import Client
from django.test.utils import setup_test_environment, teardown_test_environment

from onelane import ContactQueue, LeadCapture, NewsletterOptIn, QueueUnavailable, Receipt
from onelane.testing import FakeContactQueue

from .conftest import AWAY, EXAMPLES, Ledger

ANN = {"email": "ann@example.test", "name": "Ann"}


def capture(n: int) -> LeadCapture:
    """One of several intents for the same person."""
    return LeadCapture(email=ANN["email"], name=str(n))


class Shop:
    """The recipe's modules, and the site as a browser sees it."""

    def __init__(self) -> None:
        self.models = importlib.import_module("django_shop.models")
        self.outbox = importlib.import_module("django_shop.outbox")
        self.browser = Client()

    def sign_up(self, **changes: str) -> int:
        """Status of the answer."""
        status: int = self.browser.post("/accounts", {**ANN, **changes}).status_code
        return status

    def waiting(self) -> list[str]:
        """Kinds of the intents in the outbox, oldest first."""
        return [entry.intent["kind"] for entry in self.models.OutboxEntry.objects.filter(problem="")]

    def put(self, *intents: Any) -> None:
        """Into the outbox only."""
        for intent in intents:
            with transaction.atomic():
                self.outbox.send(intent)
                transaction.get_connection().run_on_commit.clear()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Django is set up once in a process; its database is a file, as threads need it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        patch.setenv("DJANGO_SETTINGS_MODULE", "django_shop.settings")
        patch.setenv("SHOP_DB", str(tmp_path_factory.mktemp("shop") / "shop.sqlite3"))
        django.setup()
        setup_test_environment()
        call_command("migrate", verbosity=0)
        yield
        teardown_test_environment()
        connections.close_all()


@pytest.fixture
def shop(project: None) -> Iterator[Shop]:
    call_command("flush", verbosity=0, interactive=False)
    shop = Shop()
    shop.outbox.contact_queue.cache_clear()
    yield shop
    shop.outbox.contact_queue().close()


@pytest.fixture
def fake(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> FakeContactQueue:
    """A queue in place of the recipe's."""
    fake = FakeContactQueue()
    monkeypatch.setattr(shop.outbox, "contact_queue", lambda: fake)
    return fake


def test_what_was_committed_is_enqueued(ledger: Ledger, shop: Shop) -> None:
    assert shop.sign_up() == 201
    assert ledger.kinds() == ["product_sign_up"]
    assert shop.waiting() == []
    account = shop.models.Account.objects.get()
    assert shop.browser.post(f"/accounts/{account.pk}/name", {"name": "Anna"}).status_code == 200
    assert ledger.kinds() == ["product_sign_up", "contact_sync"]


def test_what_was_rolled_back_is_not(shop: Shop, fake: FakeContactQueue) -> None:
    assert shop.sign_up() == 201
    with transaction.atomic():
        shop.outbox.send(LeadCapture(**ANN))
        transaction.set_rollback(True)
    assert shop.waiting() == []
    assert [intent.kind for intent in fake.intents] == ["product_sign_up"]


def test_a_bad_intent_refuses_the_request_and_rolls_the_account_back(
    shop: Shop, fake: FakeContactQueue
) -> None:
    assert shop.sign_up(email="ann") == 422
    assert not shop.models.Account.objects.exists()
    assert fake.intents == []


def test_an_unreachable_redis_loses_nothing(
    shop: Shop, ledger: Ledger, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", AWAY)
    monkeypatch.setenv("ONELANE_ENQUEUE_TIMEOUT_S", "0.2")
    assert [shop.sign_up(email=f"{n}@example.test") for n in range(2)] == [201, 201]
    with pytest.raises(CommandError, match="what is left stays in the outbox"):
        call_command("drain_outbox")
    assert shop.waiting() == ["product_sign_up"] * 2

    monkeypatch.setenv("ONELANE_REDIS_URL", redis_url)
    shop.outbox.contact_queue.cache_clear()
    call_command("drain_outbox")
    assert shop.waiting() == []
    assert ledger.kinds() == ["product_sign_up"] * 2


def test_a_person_is_told_of_in_order_also_after_an_outage(shop: Shop, ledger: Ledger) -> None:
    shop.put(*(capture(n) for n in range(30)))
    with transaction.atomic():
        shop.outbox.send(NewsletterOptIn(email=ANN["email"]))
    # The request has sent the oldest; the rest, with its own, is the command's.
    assert [intent["name"] for intent in ledger.waiting()] == [str(n) for n in range(20)]
    call_command("drain_outbox")
    assert [intent.get("name") for intent in ledger.waiting()] == [*(str(n) for n in range(30)), None]


class Held(ContactQueue):
    """A queue that lets a drainer stand still at its first enqueue, before or after Redis has the intent."""

    def hold(self, where: str) -> None:
        self.where, self.reached, self.go_on = where, threading.Event(), threading.Event()

    def enqueue(self, intent: Any) -> Receipt:
        if self.reached.is_set():
            return super().enqueue(intent)
        self.reached.set()
        if self.where == "before":
            assert self.go_on.wait(60)
        receipt = super().enqueue(intent)
        if self.where == "after":
            assert self.go_on.wait(60)
        return receipt


@pytest.mark.parametrize("where", ["before", "after"])
def test_two_drainers_send_everything_once_and_in_order(
    shop: Shop, ledger: Ledger, redis_url: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    shop.put(*(capture(n) for n in range(5)))
    queue = Held.from_url(redis_url)
    queue.hold(where)
    monkeypatch.setattr(shop.outbox, "contact_queue", lambda: queue)
    slow = threading.Thread(target=drain_and_close, args=[shop])
    slow.start()
    assert queue.reached.wait(60)
    assert shop.outbox.drain() == 5
    queue.go_on.set()
    slow.join()
    queue.close()
    assert [intent["name"] for intent in ledger.waiting()] == ["0", "1", "2", "3", "4"]
    assert shop.waiting() == []


def drain_and_close(shop: Shop) -> None:
    shop.outbox.drain()
    connections.close_all()


def test_what_is_refused_for_good_waits_for_a_person_and_holds_up_nobody(
    shop: Shop, fake: FakeContactQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.enqueue(LeadCapture(**ANN, dedupe_key="7"))
    shop.put(LeadCapture(email=ANN["email"], name="Anna", dedupe_key="7"), capture(1))
    call_command("drain_outbox")
    assert capsys.readouterr().out == "The outbox is empty but for 1 that were refused.\n"
    assert [intent.name for intent in fake.intents_of(LeadCapture)] == ["Ann", "1"]
    [left] = shop.models.OutboxEntry.objects.all()
    assert "the dedupe key already belongs to intent" in left.problem


def test_a_failing_redis_leaves_the_rest_in_the_outbox(shop: Shop, fake: FakeContactQueue) -> None:
    shop.put(capture(1), capture(2))
    fake.fail_with(QueueUnavailable("Redis is away"))
    with pytest.raises(QueueUnavailable):
        shop.outbox.drain()
    assert shop.outbox.drain() == 2
