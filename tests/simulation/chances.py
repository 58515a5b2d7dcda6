"""All randomness of the product, drawn from a history's seed."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from onelane_worker.engine import engine

_MODULES: tuple[Any, ...] = (secrets, engine)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Ids and jitter follow from the seed, as long as this lasts."""
    dice = Random(f"product/{seed}")
    before, state = [module.token_hex for module in _MODULES], random.getstate()
    random.seed(dice.random())
    for module in _MODULES:
        module.token_hex = lambda nbytes=32: dice.randbytes(nbytes).hex()
    try:
        yield
    finally:
        random.setstate(state)
        for module, token_hex in zip(_MODULES, before, strict=True):
            module.token_hex = token_hex
