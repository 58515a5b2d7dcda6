"""All randomness of the sandbox, from one seed: the same seed and the same requests give the same world."""

from __future__ import annotations

import uuid
from random import Random

Lag = float | tuple[float, float]
"""An index delay in seconds: fixed, or (least, most) drawn anew for every write."""

_REQUEST_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuv"


class Dice:
    """Separate streams, so that (say) one more fault does not change the ids that follow."""

    def __init__(self, seed: int) -> None:
        self._ids = Random(f"{seed}/ids")
        self._requests = Random(f"{seed}/requests")
        self._lags = Random(f"{seed}/lags")
        self._faults = Random(f"{seed}/faults")

    def contact_id(self, now: float) -> str:
        """24 lowercase hex digits, the first eight being the second of creation."""
        return f"{int(now) & 0xFFFFFFFF:08x}{self._ids.getrandbits(64):016x}"

    def lead_external_id(self) -> str:
        """The UUIDv4 that Intercom mints for a lead. Evidence: recorded traffic."""
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))

    def request_id(self) -> str:
        """A 20-character token, opaque to clients. Evidence: recorded traffic (the spec shows a UUID)."""
        bits = self._requests.getrandbits(100)
        return "".join(_REQUEST_ID_ALPHABET[(bits >> shift) & 31] for shift in range(0, 100, 5))

    def lag_s(self, lag: Lag) -> float:
        """How long this one write stays invisible to search and list, in seconds."""
        return self._lags.uniform(*lag) if isinstance(lag, tuple) else lag

    def happens(self, probability: float) -> bool:
        """True with the given probability (0 to 1)."""
        return probability >= 1 or self._faults.random() < probability
