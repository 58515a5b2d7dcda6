"""The wheel and the sdist, and fresh environments that have the wheel. Each is made once, when needed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).parent.parent.parent


def uv(*arguments: str | Path) -> str:
    """What uv says on standard output."""
    command = [find_uv_bin(), *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{command}\n{ended.stderr}"
    return ended.stdout


def environ(**more: str) -> dict[str, str]:
    """The environment of somebody who has not set up anything of ours."""
    ours = ("ONELANE_", "CELERY_", "DJANGO_", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    path: Path

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    def command(self, name: str) -> str:
        """The path of a console script."""
        return str(self.path / "bin" / name)

    def run(self, *command: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run one of its commands to the end; `more` are variables."""
        return subprocess.run(
            [self.command(command[0]), *command[1:]],
            cwd=cwd,
            env=environ(**more),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def packages(self) -> list[str]:
        """The names and versions of what is installed."""
        return uv("pip", "freeze", "--python", self.python).splitlines()


@dataclass(frozen=True)
class Built:
    """What a release consists of."""

    wheel: Path
    sdist: Path

    def requirement(self, extras: str = "") -> str:
        """The wheel, as an installer is told of it."""
        return f"onelane{extras} @ {self.wheel.as_uri()}"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of this tree, and the wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--out-dir", folder, ROOT)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="session")
def install(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Environment]:
    """Make an environment with the wheel: install("[worker]", "celery==5.6.2")."""

    def make(extras: str = "", *others: str) -> Environment:
        environment = Environment(tmp_path_factory.mktemp("env"))
        uv("venv", "--quiet", "--allow-existing", environment.path)
        options = ("--quiet", "--compile-bytecode", "--python", environment.python)
        uv("pip", "install", *options, built.requirement(extras), *others)
        return environment

    return make


@pytest.fixture(scope="session")
def base(install: Callable[..., Environment]) -> Environment:
    """What `pip install onelane` gives."""
    return install()


@pytest.fixture(scope="session")
def tested(install: Callable[..., Environment]) -> Environment:
    """A service that has the SDK, and pytest for its own tests."""
    return install("", "pytest")


@pytest.fixture(scope="session")
def staged(install: Callable[..., Environment]) -> Environment:
    """With the worker and the sandbox, without Flower."""
    return install("[sandbox]", "pytest")
