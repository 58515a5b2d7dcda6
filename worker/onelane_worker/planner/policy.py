"""The choices an operator may make about whose data wins, as plain values for the pure core."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

FormFields = Literal["overwrite", "fill", "keep"]
"""What a form may do to the fields of a user: write them, write those that are empty, or none (R23)."""


class Policy(Struct, frozen=True):
    """Defaults and meaning of every field are those of the setting of the same name."""

    other_external_id: Literal["separate", "reject", "adopt"] = "separate"
    revive: Literal["people", "always", "never"] = "people"
    merge_leads: Literal["own", "all", "off"] = "own"
    form_fields_on_user: FormFields = "overwrite"
    optout_creates: bool = False
    newsletter_subscription_types: tuple[str, ...] = ()
    settle_check: bool = False
    settle_window_ms: int = 600_000
    registry_ttl_ms: int = 900_000
    consent_memory_ms: int = 30 * 86_400_000
    version_memory_ms: int = 86_400_000
    fold_max: int = 50
    fold_bytes: int = 65_536
