"""A workspace opens once for all, and its digests say nothing to who lacks its secret."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from onelane import OnelaneError
from onelane.email_address import normalise_email
from onelane.keys import WORKSPACE_NAME, WORKSPACES, Keys
from onelane.workspace import Workspace, open_calls, opened

KEYS = Keys("main")
ANN = "ann@example.test"
DIGESTS = {
    "lane": lambda workspace: workspace.lane(ANN),
    "external id": lambda workspace: workspace.external_id(ANN),
    "contact": lambda workspace: workspace.contact(ANN),
    "content": lambda workspace: workspace.content(ANN),
    "dedupe": lambda workspace: workspace.dedupe("", "", ANN),
}


def ask(redis: Redis, keys: Keys = KEYS) -> list[Any]:
    """The replies of a Redis to the calls that open a workspace."""
    with redis.pipeline(transaction=False) as pipe:
        for command in open_calls(keys):
            pipe.execute_command(*command)
        return list(pipe.execute(raise_on_error=False))


def test_everybody_who_opens_a_workspace_gets_the_same_secret(redis: Redis) -> None:
    first, second = (opened("main", ask(redis)) for _ in range(2))
    assert first == second
    assert re.fullmatch("[0-9a-f]{32}", first.secret)
    assert redis.smembers(WORKSPACES) == {"main"}
    assert redis.hgetall(KEYS.key("meta")).keys() == {"format", "created", "secret"}


def test_workspaces_of_one_redis_have_secrets_of_their_own(redis: Redis) -> None:
    main, other = (opened(name, ask(redis, Keys(name))) for name in ("main", "other"))
    assert main.secret != other.secret
    assert redis.smembers(WORKSPACES) == {"main", "other"}


def test_the_fingerprint_is_a_quarter_of_the_secret() -> None:
    assert Workspace("main", "0123456789abcdef" * 2).fingerprint == "01234567"


@pytest.mark.parametrize("what", DIGESTS)
def test_a_digest_depends_on_the_secret_and_on_what_it_stands_for(what: str) -> None:
    workspace, other = Workspace("main", "a" * 32), Workspace("main", "b" * 32)
    digests = {name: of(workspace) for name, of in DIGESTS.items()}
    assert re.fullmatch("[0-9a-f]{32}", digests[what])
    assert len(set(digests.values())) == len(digests)
    assert DIGESTS[what](other) != digests[what]
    assert hashlib.sha256(ANN.encode()).hexdigest()[:32] not in digests.values()


LANES = {
    "ann@example.test": "03ac5ec97602248e46710a72efd34011",
    "Ann+News@Example.TEST": "204864b61ad359c260033b535b0291c0",
    "o'watson@sub.mail.example.co.uk": "490dc45da74a36551b68fc2c2778f220",
    "rene\u0301@example.test": "0f09982b4ea3be367ff7f15a172fcdf1",
    "cy@bücher.example": "9c47103392a79f8a36649176763363d8",
    "ann@Straße.example": "11f9459f13112085ed1733045fc36844",
    "jörg@例え.テスト": "55fcf9a7ef0561e334d42c33276e684b",
    "почта@пример.рф": "dfa6fea28a750c9913e884b6e974740e",
}


@pytest.mark.parametrize(("written", "lane"), LANES.items())
def test_the_lane_of_an_address_never_changes(written: str, lane: str) -> None:
    """Neither with our version nor with those of the libraries that read addresses."""
    assert Workspace("main", "0123456789abcdef" * 2).lane(normalise_email(written)) == lane


def test_the_scope_of_a_dedupe_key_is_the_lane_and_the_kind() -> None:
    workspace = Workspace("main", "a" * 32)
    scopes = [("l1", "k1", "7"), ("l2", "k1", "7"), ("l1", "k2", "7"), ("l1", "k1", "8")]
    assert len({workspace.dedupe(*scope) for scope in scopes}) == len(scopes)


def test_repr_shows_no_secret() -> None:
    assert "a" * 32 not in repr(Workspace("main", "a" * 32))


def test_a_redis_that_refuses_writes_opens_a_workspace_that_exists(redis: Redis) -> None:
    full = OutOfMemoryError("command not allowed when used memory > 'maxmemory'")
    known = ask(redis)[-1]
    assert opened("main", [full, full, full, full, known]).secret == known["secret"]
    with pytest.raises(OutOfMemoryError):
        opened("main", [full, full, full, full, {}])


@pytest.mark.parametrize("replies", [[0, 0, 0, 0, {}], [0, 0, 0, 0, {"format": "2"}]])
def test_a_workspace_that_was_deleted_meanwhile_is_not_open(replies: Sequence[Any]) -> None:
    with pytest.raises(OnelaneError, match="'main' was deleted while it was opened"):
        opened("main", replies)


def test_a_workspace_of_another_format_is_refused() -> None:
    with pytest.raises(
        OnelaneError, match="'main' is kept in format 3; this version of onelane reads format 2"
    ):
        opened("main", [0, 0, 0, 0, {"secret": "a" * 32, "format": "3"}])


@pytest.mark.parametrize("name", ["main", "0", "eu-west_1", "a" * 63])
def test_names_that_a_workspace_may_have(name: str) -> None:
    assert WORKSPACE_NAME.fullmatch(name)
    assert Keys(name).key("lane", "x") == f"{{ol:{name}}}:lane:x"


@pytest.mark.parametrize("name", ["", "Main", "-a", "_a", "a b", "a}", "a:b", "ä", "a" * 64, "main\n"])
def test_names_that_no_workspace_may_have(name: str) -> None:
    assert not WORKSPACE_NAME.fullmatch(name)
