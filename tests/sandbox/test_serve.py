"""Serving in the foreground, as the command line does: ready when it says so, quiet, and an orderly end."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from onelane_sandbox.client import SandboxControl

SCRIPT = """
from onelane_sandbox.serve import run
run(port=0, index_lag=7.0, seed=3, token="secret", on_ready=lambda url: print(url, flush=True))
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_run_until_a_signal(sign):
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert SandboxControl(url, "other").call("GET", "/me")[0] == 401
            control = SandboxControl(url, "secret")
            assert control.call("POST", "/contacts", {"email": "ann@x.test"})[0] == 200
            assert control.pending() == 1
            control.fault("lose_response")
            with pytest.raises(ConnectionError):
                control.call("GET", "/me")
            process.send_signal(sign)
            output, complaints = process.communicate(timeout=20)
        finally:
            process.kill()  # a test that failed must not wait for it
    assert (process.returncode, output, complaints) == (0, "", "")


def test_the_plugin_loads_nothing_heavy():
    script = (
        "import sys, onelane_sandbox.plugin\n"
        "print(sorted({'uvicorn', 'starlette', 'asyncio', 'httpx'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
