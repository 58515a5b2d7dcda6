"""What the wheel brings, and what it costs whoever installs the SDK."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from onelane.keys import Keys, wake_queue
from onelane_worker.cli import _extras as extras

from .conftest import ROOT, Built, Environment, environ, uv

MOST_PACKAGES = 13  # besides our own
MOST_MB = 28
ENQUEUE = """
import json
import re
from onelane import ContactQueue, LeadCapture
queue = ContactQueue()
receipts = queue.enqueue_many([LeadCapture(email="ann@example.test"), LeadCapture(email="bob@example.test")])
print(json.dumps([[one.id, queue.status(one.id).state] for one in receipts]))
"""


def test_the_wheel_installs_three_packages_of_ours_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"onelane", "onelane_worker", "onelane_sandbox"}
    for package in tops:
        assert f"{package}/py.typed" in names
    scripts = {
        str(path.relative_to(ROOT)).partition("/")[2] for path in _tracked("producers/*.lua", "worker/*.lua")
    }
    assert scripts <= set(names)


def test_the_sdist_is_complete(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    missing = {str(path.relative_to(ROOT)) for path in _tracked()} - names
    assert missing == set()


def _tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git repository here to compare with")
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_the_base_install_is_small(base: Environment) -> None:
    others = [line for line in base.packages() if not line.startswith("onelane ")]
    assert len(others) <= MOST_PACKAGES, others
    files = [path for path in base.path.rglob("site-packages/**/*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_MB * 1_000_000


@pytest.mark.parametrize("beside", [None, "celery==5.6.2", "redis==5.2.1", "redis==7.0.1"])
def test_a_service_enqueues(
    beside: str | None,
    base: Environment,
    install: Callable[..., Environment],
    valkey: Redis,
    valkey_url: str,
    tmp_path: Path,
) -> None:
    environment = base if beside is None else install("", beside)
    script = ("python", "-W", "error", "-c", ENQUEUE)
    ended = environment.run(*script, cwd=tmp_path, ONELANE_REDIS_URL=valkey_url)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [state for _, state in json.loads(ended.stdout)] == ["waiting", "waiting"]
    for intent_id, _ in json.loads(ended.stdout):
        assert valkey.exists(Keys().key("intent", intent_id))
    assert valkey.llen(wake_queue("main")) == 2  # one for each lane that became ready


def test_the_worker_goes_with_the_celery_of_a_service(built: Built, base: Environment) -> None:
    options = ("--quiet", "--dry-run", "--python", base.python)
    uv("pip", "install", *options, built.requirement("[all]"), "celery==5.6.2")


def test_importing_the_sdk_loads_no_redis_kombu_or_asyncio(base: Environment, tmp_path: Path) -> None:
    script = "import sys, onelane; print({'redis', 'kombu', 'asyncio', 'celery'} & set(sys.modules))"
    assert base.run("python", "-c", script, cwd=tmp_path).stdout == "set()\n"
    script = "import onelane; assert 'AsyncContactQueue' in dir(onelane); onelane.AsyncContactQueue"
    assert base.run("python", "-W", "error", "-c", script, cwd=tmp_path).returncode == 0


def test_importing_the_sdk_takes_about_half_of_loading_all_of_it(base: Environment) -> None:
    nothing = _cpu_s(base, "pass")
    light = _cpu_s(base, "from onelane import ContactQueue, NewsletterOptIn") - nothing
    whole = _cpu_s(base, "import onelane, onelane.aio") - nothing
    assert light < 0.65 * whole  # about 0.5 on a quiet machine


def _cpu_s(environment: Environment, code: str) -> float:
    """The least processor time of some runs: other processes make a run longer, never shorter."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def once() -> float:
        before = used()
        subprocess.run([environment.python, "-c", code], env=environ(), check=True)
        return used() - before

    return min(once() for _ in range(7))


@pytest.mark.parametrize("command", [("onelane", "worker"), ("python", "-m", "onelane_worker", "--help")])
def test_the_command_says_which_extra_it_needs(
    command: tuple[str, ...], base: Environment, tmp_path: Path
) -> None:
    ended = base.run(*command, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("onelane: the command `onelane` needs ")
    assert ended.stderr.endswith("which is not installed: pip install 'onelane[worker]'\n")


def test_with_the_worker_alone_the_command_says_what_the_sandbox_needs(
    install: Callable[..., Environment], tmp_path: Path
) -> None:
    worker = install("[worker]")
    for command in ("sandbox", "up", "demo"):
        ended = worker.run("onelane", command, cwd=tmp_path)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(f"onelane: `onelane {command}` needs ")
        assert "pip install 'onelane[sandbox]'" in ended.stderr
    ended = worker.run("onelane", "--version", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, f"onelane {_project()['version']}\n")


def test_the_command_knows_what_each_extra_brings() -> None:
    """`extras.MODULES` is what pyproject.toml says, in names of modules."""
    distributions = packages_distributions()
    for extra, modules in extras.MODULES.items():
        wanted = {_name(one) for one in _project()["optional-dependencies"][extra]} - {"onelane"}
        assert {_name(distributions[module][0]) for module in modules} == wanted


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower().replace("_", "-")
