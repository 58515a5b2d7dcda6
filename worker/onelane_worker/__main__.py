"""The command `onelane`; `python -m onelane_worker` is the same.

This module needs the base install alone: without the extra [worker] it can say what to install.
"""

from __future__ import annotations

import sys

from onelane_worker.cli import _extras as extras


def main() -> None:
    """Entry point of the command."""
    try:
        extras.require("worker", "the command `onelane`")
    except extras.MissingExtra as missing:
        print(f"onelane: {missing}", file=sys.stderr)
        sys.exit(2)
    from onelane_worker.cli.main import main as command

    command()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder, put there by -m: its redis.py or celery.py are not meant
    main()
