"""The SDK's settings, from the environment or from files of secrets: every name begins with ONELANE_."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from onelane import tls
from onelane.errors import BadSetting
from onelane.keys import DEFAULT_WORKSPACE, WORKSPACE_NAME
from onelane.tls import Target, readable_ca_file

PREFIX = "ONELANE_"
SECRETS_DIR = "ONELANE_SECRETS_DIR"
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


def checked_redis_url(url: str) -> str:
    """A URL that redis-py reads as it is meant. Raises ValueError, which never repeats a part of it."""
    from redis.connection import parse_url

    if not url.startswith(_REDIS_SCHEMES):
        several = any(word in url.partition("://")[0] for word in ("cluster", "sentinel"))
        why = ": Onelane needs a single server, no Redis Cluster and no Sentinel" if several else ""
        raise ValueError(f"must begin with {', '.join(_REDIS_SCHEMES)}{why}")
    check_parts(url)
    plain = tls.target(url).url
    try:
        parse_url(plain)  # type: ignore[no-untyped-call]
    except Exception:  # its message may hold the password
        raise ValueError("has an option after the ? that cannot be read") from None
    return url


def checked_broker_url(url: str) -> str:
    """A URL that Celery reads as it is meant. Raises ValueError, which never repeats a part of it."""
    if "://" not in url:
        raise ValueError("must be a broker URL that Celery understands, such as redis://host:6379/0")
    for one in url.split(";"):
        check_parts(one)
    tls.target(url)
    return url


def check_parts(url: str) -> None:
    """A sign in the password that ends the host part early would make the rest of it a port, a path or a host
    name; the library that trips over it would show it."""
    try:
        parts = urlsplit(url)
        readable = parts.port != 0 and "@" not in parts.path + parts.query + parts.fragment
    except ValueError:
        readable = False
    if not readable:
        raise ValueError(
            "cannot be read as a URL; in a password write % / ? # @ [ ] as %25 %2F %3F %23 %40 %5B %5D"
        )


def checked_workspace(name: str) -> str:
    """A name that a workspace may have. Raises ValueError."""
    if not WORKSPACE_NAME.fullmatch(name):
        raise ValueError(
            "must be 1 to 63 small letters, digits, hyphens and underscores, with a letter or digit first"
        )
    return name


class QueueSettings(BaseModel):
    """Where the queue is and how much of it there may be. The variable of a field is ONELANE_ + its name."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # URLs may hold passwords: not in repr.
    redis_url: Annotated[str, AfterValidator(checked_redis_url)] = Field(
        "redis://localhost:6379/0", repr=False
    )
    """The Redis that holds the lanes."""
    broker_url: Annotated[str, AfterValidator(checked_broker_url)] | None = Field(None, repr=False)
    """The Celery broker that carries the wake-ups. None: the same Redis."""
    workspace: Annotated[str, AfterValidator(checked_workspace)] = DEFAULT_WORKSPACE
    """The workspace of Intercom whose lanes are meant; each has keys, limits and workers of its own."""
    ca_file: Annotated[str, AfterValidator(readable_ca_file)] | None = None
    """File of certificates (PEM) that every TLS connection trusts, beside those of the system."""
    lane_max: int = Field(10_000, ge=1)
    """Most waiting intents of one address."""
    pending_max: int = Field(1_000_000, ge=1)
    """Most waiting intents of all addresses together."""
    enqueue_timeout_s: float = Field(5.0, gt=0, le=3600)
    """Most seconds one call may try to reach Redis."""
    dedupe_ttl_s: float = Field(86_400, gt=0, allow_inf_nan=False)
    """Life of the dedupe key of a withdrawn intent; the same setting of the workers concerns all others."""
    status_ttl_s: float = Field(7 * 86_400, gt=0, allow_inf_nan=False)
    """How long the status of a withdrawn intent is kept; the same setting of the workers concerns others."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """The settings of the environment, with those in `given` put above it. An empty variable is not set;
        one that is not set is looked for among the files of secrets.

        Raises `BadSetting`, which names the variable and never repeats its value.
        """
        environ = os.environ if environ is None else environ
        named = {name: environ.get(PREFIX + name.upper()) for name in cls.model_fields}
        found = {name: text for name, text in named.items() if text}
        secrets = secrets_of([name for name in named if name not in {**found, **given}], environ)
        try:
            return cls(**{**secrets, **found, **given})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            variable = PREFIX + str(first["loc"][0]).upper()
            raise BadSetting(variable, first["msg"].removeprefix("Value error, ")) from None

    @property
    def broker(self) -> str:
        """The broker's URL, also when it is the same Redis."""
        return broker_of(self.redis_url, self.broker_url)

    @property
    def redis_target(self) -> Target:
        """How to connect to the Redis of the lanes."""
        return tls.target(self.redis_url, self.ca_file)


def settings_for(settings: QueueSettings | None, workspace: str | None) -> QueueSettings:
    """The given settings, else those of the environment, with the workspace put above them if one is given.

    Raises `BadSetting`.
    """
    named: dict[str, Any] = {} if workspace is None else {"workspace": workspace}
    if settings is None:
        return QueueSettings.from_env(**named)
    return QueueSettings.from_env({}, **{**dict(settings), **named}) if named else settings


def secrets_of(names: Iterable[str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The settings among `names` that have a file, named like the variable in capital or small letters.

    The folder is ONELANE_SECRETS_DIR, else /run/secrets if there is one. White space at the ends is no part
    of a secret, and an empty file sets nothing. Raises `BadSetting` if a file or the named folder cannot be
    read.
    """
    given = (os.environ if environ is None else environ).get(SECRETS_DIR)
    folder = Path(given or "/run/secrets")
    if given and not folder.is_dir():
        raise BadSetting(SECRETS_DIR, "is not the name of a folder")
    found = {}
    for name in names:
        variable = PREFIX + name.upper()
        for file in (folder / variable, folder / variable.lower()):
            if text := _secret(file, variable):
                found[name] = text
                break
    return found


def _secret(file: Path, variable: str) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except UnicodeError:
        raise BadSetting(variable, "its file of secrets holds no text") from None
    except OSError as error:
        raise BadSetting(variable, f"its file of secrets cannot be read: {error.strerror}") from None


def broker_of(redis_url: str, broker_url: str | None) -> str:
    """The broker that goes with a Redis: a given one, or the same Redis in kombu's words."""
    if broker_url is not None:
        return broker_url
    return _kombu_socket_url(redis_url) if redis_url.startswith("unix://") else redis_url


def _kombu_socket_url(url: str) -> str:
    """`unix:///run/redis.sock?db=1` in kombu's words."""
    path, _, query = url.removeprefix("unix://").partition("?")
    query = query.replace("db=", "virtual_host=")
    return f"redis+socket://{path}" + (f"?{query}" if query else "")
