"""FastAPI and Flask: one story for both, each told through the framework's own test client."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient

from onelane import LeadCapture, QueueFull, QueueUnavailable
from onelane.testing import FakeAsyncContactQueue, FakeContactQueue

from .conftest import Ledger

ANN = {"email": "ann@example.test", "name": "Ann"}


class Site:
    """A running service."""

    def __init__(self, post: Callable[..., Any], read: Callable[[Any], Any]) -> None:
        self._post, self._read = post, read

    def ask(self, form: dict[str, str], key: str | None = None) -> tuple[int, Any]:
        """Send the form; status and body of the answer."""
        answer = self._post(form, {"Idempotency-Key": key} if key else {})
        self.headers = answer.headers
        return answer.status_code, self._read(answer)


@contextmanager
def fastapi_site(fake: FakeAsyncContactQueue | None = None) -> Iterator[Site]:
    recipe = importlib.import_module("fastapi_app")
    if fake is not None:
        recipe.app.dependency_overrides[recipe.contact_queue] = lambda: fake
    with TestClient(recipe.app) as client:
        yield Site(
            lambda form, headers: client.post("/quotes", json=form, headers=headers), lambda it: it.json()
        )
    recipe.app.dependency_overrides.clear()


@contextmanager
def flask_site(fake: FakeContactQueue | None = None) -> Iterator[Site]:
    app = importlib.import_module("flask_app").create_app(fake)
    client = app.test_client()
    yield Site(
        lambda form, headers: client.post("/quotes", data=form, headers=headers), lambda it: it.get_json()
    )
    app.extensions["contacts"].close()


SITES = {"fastapi": (fastapi_site, FakeAsyncContactQueue), "flask": (flask_site, FakeContactQueue)}
Open = Callable[..., Any]
sites = pytest.mark.parametrize("name", SITES)


@pytest.fixture
def open_site(name: str) -> Open:
    return SITES[name][0]


@pytest.fixture
def fake(name: str) -> Any:
    return SITES[name][1]()


@sites
def test_a_form_becomes_an_intent(open_site: Open, ledger: Ledger) -> None:
    with open_site() as site:
        status, body = site.ask(ANN)
    assert (status, body["duplicate"]) == (202, False)
    assert (ledger.status(body["id"]).kind, ledger.kinds()) == ("lead_capture", ["lead_capture"])


@sites
def test_a_repeated_request_is_one_intent(open_site: Open, ledger: Ledger) -> None:
    with open_site() as site:
        first, again = site.ask(ANN, key="k-1"), site.ask(ANN, key="k-1")
    assert again == (202, {"id": first[1]["id"], "duplicate": True})
    assert ledger.kinds() == ["lead_capture"]


@sites
def test_another_request_with_the_same_key_is_a_conflict(open_site: Open, ledger: Ledger) -> None:
    with open_site() as site:
        site.ask(ANN, key="k-1")
        status, _ = site.ask({**ANN, "name": "Anna"}, key="k-1")
    assert status == 409
    assert ledger.kinds() == ["lead_capture"]


@sites
@pytest.mark.parametrize(
    ("form", "key", "field"),
    [
        ({"email": "ann"}, None, "email"),
        ({**ANN, "name": "a" * 300}, None, "name"),
        (ANN, "k" * 201, "dedupe_key"),
    ],
)
def test_bad_input_is_refused_by_field(
    open_site: Open, ledger: Ledger, form: dict[str, str], key: str | None, field: str
) -> None:
    with open_site() as site:
        status, body = site.ask(form, key)
    assert (status, body["field"]) == (422, field)
    assert ledger.kinds() == []


@sites
def test_without_redis_the_visitor_is_asked_to_come_again(open_site: Open, redis_is_away: None) -> None:
    with open_site() as site:
        status, body = site.ask(ANN, key="k-1")
    assert (status, site.headers["Retry-After"]) == (503, "5")
    assert "ann" not in str(body)


@sites
def test_the_service_is_tested_with_a_fake(open_site: Open, fake: Any, redis_is_away: None) -> None:
    with open_site(fake) as site:
        assert site.ask(ANN, key="k-1")[0] == 202
        for error in (QueueUnavailable("Redis is away"), QueueFull("the lane of this address", 1)):
            fake.fail_with(error)
            assert site.ask(ANN, key="k-2")[0] == 503
    assert fake.intents == [LeadCapture(**ANN, dedupe_key="k-1")]
