"""Running the sandbox: in the foreground for the command line, or in a thread of this process for tests."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

import uvicorn

from onelane_sandbox.client import SandboxControl
from onelane_sandbox.ratelimit import APP_PER_MINUTE
from onelane_sandbox.rules import DEFAULT_LAG, Lag, Sandbox
from onelane_sandbox.server import HangUpProtocol, SandboxApp

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8089
START_TIMEOUT_S = 30.0


def run(
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    index_lag: Lag = DEFAULT_LAG,
    seed: int = 0,
    token: str | None = None,
    rate_per_minute: int = APP_PER_MINUTE,
    attributes: Mapping[str, str] | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a sandbox until SIGINT or SIGTERM; blocks.

    port 0 picks a free one. index_lag in seconds, or (least, most). token None accepts any bearer token.
    attributes: custom attributes that exist from the start, name → data type.
    `on_ready` gets the base URL once connections are accepted. Raises OSError if the address is taken,
    ApiError for a bad attribute.
    """
    sandbox = Sandbox(
        seed, token=token, index_lag=index_lag, rate_per_minute=rate_per_minute, attributes=attributes
    )
    listener = _listen(host, port)
    server = _Server(sandbox, log_level="error")
    if on_ready is not None:
        url = _url(listener)
        server.on_ready = lambda: on_ready(url)
    server.run(sockets=[listener])


class RunningSandbox:
    """A sandbox served by a thread of this process.

    A context manager; or `start()` and `stop()`. `url` and `control` are valid once started.
    """

    def __init__(
        self,
        *,
        host: str = DEFAULT_HOST,
        port: int = 0,
        index_lag: Lag = DEFAULT_LAG,
        seed: int = 0,
        token: str | None = None,
        rate_per_minute: int = APP_PER_MINUTE,
    ) -> None:
        self._address = (host, port)
        self._token = token
        self._sandbox = Sandbox(seed, token=token, index_lag=index_lag, rate_per_minute=rate_per_minute)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.url = ""

    @property
    def control(self) -> SandboxControl:
        """A client of the control interface; its token is one that the sandbox accepts."""
        return SandboxControl(self.url, self._token or "sandbox")

    def start(self) -> RunningSandbox:
        """Serve. Returns when connections are accepted; raises OSError if the address is taken."""
        listener = _listen(*self._address)
        self.url = _url(listener)
        ready = threading.Event()
        server = self._server = _Server(self._sandbox)
        server.on_ready = ready.set
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="onelane-sandbox", daemon=True
        )
        self._thread.start()
        if not ready.wait(START_TIMEOUT_S):
            raise RuntimeError("the sandbox did not start")
        return self

    def stop(self) -> None:
        """Stop serving; requests that are being held up are let go without taking effect."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
            self._server = self._thread = None

    def __enter__(self) -> RunningSandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """uvicorn without its log, with a hook for readiness, and a quiet end on a signal."""

    def __init__(self, sandbox: Sandbox, log_level: str | None = None) -> None:
        self._app = SandboxApp(sandbox)
        self.on_ready: Callable[[], None] | None = None
        config = uvicorn.Config(
            self._app,
            http=HangUpProtocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level=log_level,
            server_header=False,
            timeout_keep_alive=75,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.on_ready is not None:
            self.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.close()
        for connection in list(self.server_state.connections):
            connection.transport.close()  # else a request of which only half has arrived would hold us up
        await super().shutdown(sockets=sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again at the end, which would make an orderly stop look like a crash.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
