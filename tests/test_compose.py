"""docker-compose.yml under both of the README's commands, read as Compose reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from onelane_worker.cli.main import app

ROOT = Path(__file__).parents[1]
YOURS = {"ONELANE_INTERCOM_TOKEN": "dG9rOnNlY3JldA", "ONELANE_REDIS_PASSWORD": "s3cret"}
"""What the README's command for a workspace sets."""


def of_sandbox() -> dict[str, str]:
    lines = (ROOT / "sandbox.env").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def compose(env: Mapping[str, str]) -> Any:
    """The file with its variables filled in: `${NAME:-default}` and `${NAME:?complaint}`."""

    def value(found: re.Match[str]) -> str:
        name, how, rest = found.groups()
        if not env.get(name) and how == "?":
            raise KeyError(f"{name}: {rest}")
        return env.get(name) or rest

    text = (ROOT / "docker-compose.yml").read_text()
    return yaml.safe_load(re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, text))


BOTH = pytest.mark.parametrize("env", [YOURS, of_sandbox()], ids=["workspace", "sandbox"])


def test_sandbox_and_workspace_share_no_data() -> None:
    names = [{one["name"] for one in compose(env)["volumes"].values()} for env in (YOURS, of_sandbox())]
    assert [len(one) for one in names] == [2, 2]
    assert names[0] & names[1] == set()


@BOTH
def test_every_volume_is_one_of_those(env: dict[str, str]) -> None:
    found = compose(env)
    used = {
        one.partition(":")[0] for service in found["services"].values() for one in service.get("volumes", ())
    }
    assert used == set(found["volumes"])


@BOTH
def test_redis_asks_for_the_password_that_everybody_has(env: dict[str, str]) -> None:
    services = compose(env)["services"]
    command = services["redis"]["command"]
    password = env["ONELANE_REDIS_PASSWORD"]
    assert command[command.index("--requirepass") + 1] == password
    assert services["redis"]["environment"]["REDISCLI_AUTH"] == password
    for name in ("worker", "flower"):
        assert services[name]["environment"]["ONELANE_REDIS_URL"] == f"redis://:{password}@redis:6379/0"


@pytest.mark.parametrize("missing", YOURS)
def test_nothing_starts_without_a_token_and_a_password(missing: str) -> None:
    env = {name: value for name, value in YOURS.items() if name != missing}
    with pytest.raises(KeyError, match=missing):
        compose(env)


@BOTH
def test_only_workers_get_the_token(env: dict[str, str]) -> None:
    services = compose(env)["services"]
    with_token = [n for n, one in services.items() if "ONELANE_INTERCOM_TOKEN" in one.get("environment", {})]
    assert with_token == ["worker"]


@BOTH
def test_flower_keeps_its_history_and_its_api_closed(env: dict[str, str]) -> None:
    flower = compose(env)["services"]["flower"]
    given = flower["environment"]
    assert (given["FLOWER_PERSISTENT"], given["FLOWER_DB"]) == ("true", "/var/lib/onelane/flower")
    assert flower["volumes"] == ["flower-data:/var/lib/onelane"]
    assert "install --directory --owner=onelane /var/lib/onelane" in (ROOT / "Dockerfile").read_text()
    assert "FLOWER_UNAUTHENTICATED_API" not in given


@BOTH
def test_nothing_is_reachable_from_other_machines(env: dict[str, str]) -> None:
    ports = [port for service in compose(env)["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@BOTH
def test_the_probe_of_a_worker_is_a_command_that_exists(env: dict[str, str]) -> None:
    kind, program, *words = compose(env)["services"]["worker"]["healthcheck"]["test"]
    assert (kind, program, words) == ("CMD", "onelane", ["doctor", "--local"])
    assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
