"""All scripts together, and the door through which callers reach them."""

from __future__ import annotations

from typing import Any

from .submitting import Submitting


class Scripts(Submitting):
    """A workspace in one Redis."""

    def run(self, fingerprint: str, script: str, *args: Any, **named: Any) -> Any:
        """Call a script as a caller who knows this fingerprint of the secret."""
        self.check_caller(fingerprint)
        return getattr(self, script)(*args, **named)
