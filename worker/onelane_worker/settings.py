"""Every knob: name, unit and default.

Read from the environment as ONELANE_<NAME>; empty is not set. What is not set there is looked for among the
files of secrets, as the SDK does.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from onelane import tls
from onelane.keys import DEFAULT_WORKSPACE
from onelane.settings import (
    broker_of,
    check_parts,
    checked_broker_url,
    checked_redis_url,
    checked_workspace,
    secrets_of,
)

DAY_S = 86_400
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
"""A name, or an address; a name in other letters goes in its ASCII form (xn--)."""


class Settings(BaseSettings):
    """Onelane's settings. Times are in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="ONELANE_",
        env_ignore_empty=True,
        allow_inf_nan=False,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in the code, then the environment, then the files of secrets."""
        return init_settings, env_settings, _SecretFiles(settings_cls)

    workspace: str = Field(
        DEFAULT_WORKSPACE,
        description="Whose lanes; each workspace of Intercom has keys and workers of its own",
    )
    redis_url: str = Field("redis://localhost:6379/0", description="Where lanes, registry and outcomes live")
    broker_url: str | None = Field(None, description="Celery broker; the same Redis if unset")
    ca_file: str | None = Field(
        None, description="Certificates (PEM file) trusted, too, by every TLS connection"
    )
    redis_wait_s: float = Field(30, ge=0, description="How long a starting worker waits for Redis")
    redis_durable: bool = Field(
        False, description="Redis cannot lose an acknowledged write (appendfsync always, no failover)"
    )
    new_redis: bool = Field(
        False, description="This Redis was made, empty, for this start: its first server has lost nothing"
    )
    failover_hold_s: float | None = Field(
        None,
        ge=0,
        description="How long nothing is served after Redis was restarted or replaced, unless it is durable; "
        "if unset, until no write can commit that it may have forgotten (31 s)",
    )

    intercom_url: str = Field("https://api.intercom.io", description="API base; EU and AU have others")
    intercom_token: SecretStr = Field(SecretStr(""), description="Access token of the workspace")
    intercom_version: str = Field("2.15", description="Intercom-Version header")
    http_proxy: str | None = Field(
        None,
        repr=False,
        description="Proxy of Intercom calls, as http://user:password@host:port; no other is used",
    )
    requests_per_10s: int = Field(1600, ge=1, description="Calls in any 10 s, all workers together")
    concurrency: int = Field(64, ge=1, description="Lanes that one worker process serves at the same time")

    lease_s: float = Field(5, ge=1, description="Life of the per-address lock between two renewals (0.5 s)")
    max_hold_s: float = Field(120, gt=0, description="Longest time a lane is held without a pause")
    slice_s: float = Field(
        2, gt=0, description="After this a lane with more intents goes to the end of the line"
    )
    slice_intents: int = Field(50, ge=1, description="The same, by number of intents")
    fold_max: int = Field(50, ge=1, le=500, description="Intents folded into one write at most")
    stop_grace_s: float = Field(10, ge=0, description="What is not done so long after SIGTERM is handed back")
    http_timeout_s: float = Field(15, gt=0, description="Total time of one Intercom call")
    write_tail_s: float = Field(15, ge=0, description="How long Intercom may commit after we gave up")
    send_grace_s: float = Field(1, gt=0, description="A write leaves this soon after its record, or never")
    settle_window_s: float = Field(600, gt=0, description="Worst lag of Intercom's search index")
    registry_ttl_s: float = Field(900, gt=0, description="How long facts may be believed")
    settle_margin_s: float = Field(300, ge=0, description="By how much the registry must outlive the window")
    consent_memory_s: float = Field(30 * DAY_S, gt=0, description="How long the last word on consent is kept")
    version_memory_s: float = Field(DAY_S, gt=0, description="How long a source's newest version is kept")
    dedupe_ttl_s: float = Field(DAY_S, gt=0, description="Life of a dedupe key after its intent has ended")
    status_ttl_s: float = Field(7 * DAY_S, gt=0, description="How long an ended intent can be asked for")
    unchanged_ttl_s: float = Field(3600, gt=0, description="The same for a bulk intent that changed nothing")
    dead_letter_ttl_s: float | None = Field(
        None, gt=0, description="How long dead letters are kept; for ever if unset"
    )

    max_attempts: int = Field(20, ge=1, description="Attempts before an intent becomes a dead letter")
    backoff_base_s: float = Field(1, gt=0, description="First retry comes within this time (full jitter)")
    backoff_cap_s: float = Field(300, gt=0, description="Longest wait between two attempts")
    parked_retry_s: float = Field(
        15,
        gt=0,
        description="Longest wait between two probes while the circuit breaker is open (the first: 1 s)",
    )
    breaker_calls: int = Field(5, ge=1, description="Failures in a row that open the circuit breaker")
    breaker_lanes: int = Field(3, ge=1, description="Lanes that must be among them")
    bulk_rejections: int = Field(
        20, ge=0, description="Bulk intents rejected alike that stop all of them; 0: none do"
    )
    max_kills: int = Field(4, ge=1, description="Killed workers until an intent is a dead letter")
    lane_max: int = Field(10_000, ge=1, description="Most waiting intents of one address")
    pending_max: int = Field(1_000_000, ge=1, description="Most waiting intents of all addresses together")

    other_external_id: Literal["separate", "reject", "adopt"] = Field(
        "separate", description="A user of the address has another external id than the intent names"
    )
    revive: Literal["people", "always", "never"] = Field(
        "people", description="Which intents bring back archived contacts"
    )
    merge_leads: Literal["own", "all", "off"] = Field("own", description="Which leads are merged into users")
    form_fields_on_user: Literal["overwrite", "fill", "keep"] = Field(
        "overwrite", description="Whether public forms may change a user's fields (fill: only empty ones)"
    )
    optout_creates: bool = Field(False, description="Whether an opt-out of a stranger creates a lead")
    settle_check: bool = Field(
        True, description="Look again for others of the person a settle window after an unguarded create"
    )
    newsletter_subscription_types: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Subscription type ids of the newsletter, comma separated"
    )

    @field_validator("workspace")
    @classmethod
    def _workspace(cls, value: str) -> str:
        return checked_workspace(value)

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: str) -> str:
        return checked_redis_url(value)

    @field_validator("broker_url")
    @classmethod
    def _broker_url(cls, value: str | None) -> str | None:
        return value if value is None else checked_broker_url(value)

    @field_validator("newsletter_subscription_types", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("newsletter_subscription_types")
    @classmethod
    def _type_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(one.isdigit() for one in value):
            raise ValueError("must be subscription type ids, such as 101,102")
        return value

    @field_validator("ca_file")
    @classmethod
    def _ca_file(cls, value: str | None) -> str | None:
        return None if value is None else tls.readable_ca_file(value)

    @field_validator("intercom_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("must begin with https:// (or http:// for a sandbox)")
        return _with_host(value)

    @field_validator("http_proxy")
    @classmethod
    def _proxy(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return None if value is None else _with_host(value)

    @field_validator("intercom_token")
    @classmethod
    def _token(cls, value: SecretStr) -> SecretStr:
        """A token read from a file often ends in a newline; what no header can carry is refused here."""
        token = value.get_secret_value().strip()
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ValueError("is no access token: it has white space or characters that no header can carry")
        return SecretStr(token)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.registry_ttl_s < self.settle_window_s + self.settle_margin_s:
            raise ValueError(
                f"ONELANE_REGISTRY_TTL_S ({self.registry_ttl_s:g}) must be at least ONELANE_SETTLE_WINDOW_S "
                f"({self.settle_window_s:g}) + ONELANE_SETTLE_MARGIN_S ({self.settle_margin_s:g}): what was "
                "written must be remembered for longer than the index may lag"
            )
        return self

    @property
    def broker(self) -> str:
        """The broker's URL."""
        return broker_of(self.redis_url, self.broker_url)

    @property
    def redis_target(self) -> tls.Target:
        """How to connect to the Redis of the lanes."""
        return tls.target(self.redis_url, self.ca_file)

    @property
    def broker_target(self) -> tls.Target:
        """How to connect to the broker."""
        return tls.target(self.broker, self.ca_file)

    @property
    def commit_s(self) -> float:
        """How long after its record a write may still commit at Intercom."""
        return self.send_grace_s + self.http_timeout_s + self.write_tail_s

    @property
    def hold_s(self) -> float:
        """How long nothing is granted by a server of Redis that may have forgotten a moment."""
        return self.commit_s if self.failover_hold_s is None else self.failover_hold_s


def _with_host(url: str) -> str:
    """The URL, if the HTTP client can read it. What it cannot it would show, and a proxy's has a password."""
    check_parts(url)
    host = urlsplit(url).hostname
    if not host or not _HOST.fullmatch(host):
        raise ValueError("must name a host, as in https://host:port")
    return url


class _SecretFiles(PydanticBaseSettingsSource):
    """The SDK's reading of secrets, for the fields of the worker. Raises `BadSetting`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return secrets_of([field_name]).get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(
            secrets_of(name for name in self.settings_cls.model_fields if name not in self.current_state)
        )


def complaints(error: ValidationError) -> list[str]:
    """What is wrong with which variable, without repeating its value."""
    return [
        _complaint(one["loc"], one["msg"]) for one in error.errors(include_url=False, include_input=False)
    ]


def _complaint(place: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not place:  # a rule about several settings; it names them itself
        return message
    return f"ONELANE_{str(place[0]).upper()}: {message[:1].lower()}{message[1:]}"
