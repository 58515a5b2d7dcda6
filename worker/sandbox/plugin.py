"""The pytest plugin: a sandbox for other people's tests. Entry point `onelane` of group pytest11.

pytest loads this module in every run of every project that has Onelane installed, so it imports nothing but
pytest; the server is loaded and started when the first test asks for it.

    def test_signup(onelane_sandbox):
        onelane_sandbox.lag(60)
        sign_up("ann@example.test", intercom_url=onelane_sandbox.url, token=onelane_sandbox.token)
        assert [one["email"] for one in onelane_sandbox.contacts()] == ["ann@example.test"]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from worker.sandbox.client import SandboxControl
    from worker.sandbox.serve import RunningSandbox


@pytest.fixture(scope="session")
def onelane_sandbox_server() -> Iterator[RunningSandbox]:
    """One sandbox server for the whole run, on a free port of this machine."""
    from worker.sandbox.serve import RunningSandbox

    with RunningSandbox() as running:
        yield running


@pytest.fixture
def onelane_sandbox(onelane_sandbox_server: RunningSandbox) -> SandboxControl:
    """A sandbox as good as new: .url .token .lag() .catch_up() .fault() .switch() .contacts() .requests()."""
    control = onelane_sandbox_server.control
    control.reset()
    return control
