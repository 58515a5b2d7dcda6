"""A project of somebody else's that has our wheel, and modules whose names we or our libraries use, too."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from redis import Redis

from onelane import ContactQueue, LeadCapture
from onelane_sandbox.serve import RunningSandbox

from .conftest import Environment, environ

THEIR_TEST = """
import producers
import worker

def test_theirs():
    assert (producers.OWNER, worker.OWNER) == ("theirs", "theirs")
"""
MISLEADING = (
    "celery",
    "httpx",
    "kombu",
    "limits",
    "logs",
    "onelane",
    "onelane_worker",
    "redis",
    "structlog",
    "tasks",
)
"""Modules in their folder that the worker imports from elsewhere."""


@pytest.fixture(params=["worker.py", "worker/__init__.py"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Their project, with a conftest.py at the top, as pytest finds it."""
    for name in (request.param, "producers/__init__.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('OWNER = "theirs"\n')
    (tmp_path / "conftest.py").touch()
    (tmp_path / "test_theirs.py").write_text(THEIR_TEST)
    return tmp_path


@pytest.mark.parametrize("command", [("pytest",), ("python", "-m", "pytest")], ids=" ".join)
@pytest.mark.parametrize("environment", ["tested", "staged"])
def test_their_tests_find_their_modules(
    command: tuple[str, ...], environment: str, project: Path, request: pytest.FixtureRequest
) -> None:
    ended = request.getfixturevalue(environment).run(*command, "-q", "-W", "error", cwd=project)
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr


def test_without_the_sandbox_its_fixtures_say_what_to_install(tested: Environment, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(onelane_queue): pass\n")
    ended = tested.run("pytest", "-q", cwd=tmp_path)
    assert ended.returncode == 1
    assert "1 error" in ended.stdout
    assert "pip install 'onelane[sandbox]'" in ended.stdout


def test_onelane_worker_is_ours_in_their_folder(
    staged: Environment, project: Path, valkey: Redis, valkey_url: str
) -> None:
    for name in MISLEADING:
        (project / f"{name}.py").write_text(f"raise RuntimeError('their {name}.py was loaded')\n")
    log = project / "worker.log"
    with RunningSandbox() as sandbox, log.open("wb") as output:
        variables = environ(
            ONELANE_REDIS_URL=valkey_url,
            ONELANE_INTERCOM_URL=sandbox.url,
            ONELANE_INTERCOM_TOKEN="sandbox",
            ONELANE_NEW_REDIS="true",
            # What their own Celery and Django go by.
            CELERY_BROKER_URL="redis://127.0.0.1:1/0",
            CELERY_CONFIG_MODULE="theirs.celeryconfig",
            DJANGO_SETTINGS_MODULE="theirs.settings",
            APP="theirs.app",
        )
        command = [staged.command("onelane"), "worker", "--concurrency", "2"]
        with (
            subprocess.Popen(command, cwd=project, env=variables, stdout=output, stderr=output) as worker,
            ContactQueue.from_url(valkey_url) as queue,
        ):
            try:
                receipt = queue.enqueue(LeadCapture(email="ann@example.test"))
                assert queue.wait(receipt.id, timeout=60).result == "created"
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(60) == 0
                assert "Django" not in log.read_text()
            except BaseException:
                worker.kill()
                print(log.read_text())
                raise


def test_up_runs_in_their_folder_and_without_flower(staged: Environment, project: Path) -> None:
    for name in MISLEADING:
        (project / f"{name}.py").write_text(f"raise RuntimeError('their {name}.py was loaded')\n")
    command = [staged.command("onelane"), "up", "--json", "--redis-port", "0", "--sandbox-port", "0"]
    variables = environ(XDG_STATE_HOME=str(project))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=project, env=variables, stdout=pipe, stderr=pipe) as up:
        assert up.stdout is not None
        assert up.stderr is not None
        try:
            line = up.stdout.readline()
            assert line, up.stderr.read().decode()
            assert json.loads(line)["flower"] is None
        finally:
            up.terminate()
        up.communicate(timeout=60)
        assert up.returncode == 0
