"""Rate limits: fixed ten-second windows on multiples of ten of the epoch.

Evidence: official documentation (10,000 calls a minute per app, 25,000 per workspace, spread over windows of
ten seconds); recorded traffic (the alignment; that Reset lies two seconds after the window's end; that the
first answer of a window shows Remaining = Limit). The sandbox counts per token where Intercom counts per app.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from onelane_sandbox.messages import ApiError

WINDOW_S = 10
RESET_AFTER_END_S = 2
APP_PER_MINUTE = 10_000
WORKSPACE_PER_MINUTE = 25_000


class RateLimit:
    """Counts calls by token and for the whole workspace.

    `per_minute`: calls of one token; the workspace's own limit is never below it.
    """

    def __init__(self, per_minute: int = APP_PER_MINUTE) -> None:
        self.limit = _per_window(per_minute)
        self._workspace_limit = _per_window(max(per_minute, WORKSPACE_PER_MINUTE))
        self._window = 0
        self._used: Counter[str] = Counter()

    def take(self, token: str, now: float) -> dict[str, str]:
        """Count one call; the headers of its answer, or ApiError 429 if there is nothing left."""
        window = int(now // WINDOW_S)
        if window != self._window:
            self._window = window
            self._used.clear()
        left = min(self.limit - self._used[token], self._workspace_limit - self._used.total())
        if left <= 0:
            raise self.exceeded(now)
        self._used[token] += 1
        return self._headers(left, now)

    def exceeded(self, now: float, reset_in_s: float | None = None) -> ApiError:
        """The 429. `reset_in_s` sets how far away its Reset is; else it follows the window."""
        headers = self._headers(0, now)
        if reset_in_s is not None:
            headers["X-RateLimit-Reset"] = str(int(now + reset_in_s + 0.999))
        message = f"Exceeded rate limit of {self.limit} in {WINDOW_S}_seconds"
        return ApiError(429, "rate_limit_exceeded", message, headers=headers)

    def _headers(self, left: int, now: float) -> dict[str, str]:
        end = (int(now // WINDOW_S) + 1) * WINDOW_S
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": str(end + RESET_AFTER_END_S),
        }


def _per_window(per_minute: int) -> int:
    return max(1, round(per_minute * WINDOW_S / 60))


def without_limits(headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` less the rate limit's: those need valid credentials (official documentation)."""
    return {name: value for name, value in headers.items() if not name.startswith("X-RateLimit-")}
