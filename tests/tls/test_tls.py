"""Over rediss:// every connection checks who answers, before it says a word."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from redis import Redis

from onelane import AsyncContactQueue, BadSetting, ContactQueue, LeadCapture, QueueSettings
from onelane.tls import target
from onelane.wakeup import Waker
from onelane_worker.cli.doctor import _ask_broker
from onelane_worker.lanes.client import LaneClient
from onelane_worker.settings import Settings

from .front import TlsFront

ANN = LeadCapture(email="ann@example.test")
PASSWORD = "correct-horse"


class Refused(Exception):
    """The connection did not come about."""


def _sdk_lanes(url: str, ca_file: str | None) -> None:
    with ContactQueue.from_url(url, ca_file=ca_file, enqueue_timeout_s=1) as queue:
        queue.status("0" * 32)


def _sdk_lanes_asyncio(url: str, ca_file: str | None) -> None:
    async def ask() -> None:
        async with AsyncContactQueue.from_url(url, ca_file=ca_file, enqueue_timeout_s=1) as queue:
            await queue.status("0" * 32)

    asyncio.run(ask())


def _sdk_waker(url: str, ca_file: str | None) -> None:
    waker = Waker(url, "main", ca_file)
    sent = waker.wake()
    waker.close()
    if not sent:
        raise Refused


def _settings(url: str, ca_file: str | None) -> Settings:
    return Settings(redis_url=url, ca_file=ca_file)


def _worker_lanes(url: str, ca_file: str | None) -> None:
    async def ask() -> None:
        target = _settings(url, ca_file).redis_target
        client = LaneClient.from_url(target.url, target.tls)
        try:
            await asyncio.wait_for(client.ask([("PING",)]), timeout=1)
        finally:
            await client.aclose()

    asyncio.run(ask())


def _worker_broker(url: str, ca_file: str | None) -> None:
    """Also that of Flower and of `celery inspect`: they are commands of the same app."""
    _in_a_process(WORKER_CONNECTS, url, ca_file)


def _flower_queues(url: str, ca_file: str | None) -> None:
    """Flower counts what waits in the broker's queues by a client of its own."""
    _in_a_process(FLOWER_COUNTS, url, ca_file)


WORKER_CONNECTS = """
from onelane_worker.app import app
with app.connection_for_read() as connection:
    connection.ensure_connection(max_retries=0, timeout=1.0)
"""
FLOWER_COUNTS = """
import asyncio
from flower.utils.broker import Broker
from onelane_worker.app import app
url = app.connection(connect_timeout=1.0).as_uri(include_password=True)
broker = Broker(url, broker_options=app.conf.broker_transport_options, broker_use_ssl=app.conf.broker_use_ssl)
asyncio.run(broker.queues(["onelane.main"]))
"""


def _in_a_process(code: str, url: str, ca_file: str | None) -> None:
    given = {"ONELANE_REDIS_URL": url, "ONELANE_CA_FILE": ca_file or ""}
    subprocess.run([sys.executable, "-c", code], env=os.environ | given, check=True, capture_output=True)


def _doctor_broker(url: str, ca_file: str | None) -> None:
    if _ask_broker(_settings(url, ca_file)).problem:
        raise Refused


CONNECTIONS = {
    "sdk_lanes": _sdk_lanes,
    "sdk_lanes_asyncio": _sdk_lanes_asyncio,
    "sdk_waker": _sdk_waker,
    "worker_lanes": _worker_lanes,
    "worker_broker": _worker_broker,
    "flower_queues": _flower_queues,
    "doctor_broker": _doctor_broker,
}
Connect = Callable[[str, str | None], None]


@pytest.fixture(params=list(CONNECTIONS))
def connect(request: pytest.FixtureRequest) -> Connect:
    return CONNECTIONS[request.param]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "our ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def _of_server(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


@pytest.fixture
def redis_behind_tls(authority: trustme.CA, valkey: Redis, valkey_url: str) -> Iterator[TlsFront]:
    parts = urlsplit(valkey_url)
    upstream = parts.hostname or "", parts.port or 0
    with TlsFront(_of_server(authority, "127.0.0.1"), upstream) as front:
        yield front


def _url(front: TlsFront, options: str = "", password: str = "") -> str:
    return f"rediss://{f':{password}@' if password else ''}127.0.0.1:{front.port}/0{options}"


class TestWhoAnswersIsChecked:
    def test_a_certificate_of_our_own_authority_is_accepted(
        self, connect: Connect, redis_behind_tls: TlsFront, ca_file: str
    ) -> None:
        connect(_url(redis_behind_tls), ca_file)

    @pytest.mark.parametrize("required", ["required", "CERT_REQUIRED"])
    def test_the_authority_may_be_named_in_the_url(
        self, connect: Connect, redis_behind_tls: TlsFront, ca_file: str, required: str
    ) -> None:
        file = ca_file.replace(" ", "%20")
        connect(_url(redis_behind_tls, f"?ssl_ca_certs={file}&ssl_cert_reqs={required}"), None)

    def test_none_checks_nothing(self, connect: Connect, redis_behind_tls: TlsFront) -> None:
        connect(_url(redis_behind_tls, "?ssl_cert_reqs=none"), None)

    def test_an_unknown_authority_is_refused_and_hears_no_password(self, connect: Connect) -> None:
        with TlsFront(_of_server(trustme.CA(), "127.0.0.1")) as impostor:
            with pytest.raises(Exception):  # noqa: B017, PT011  (each library has its own)
                connect(_url(impostor, password=PASSWORD), None)
            assert impostor.heard == b""

    def test_a_certificate_for_another_host_is_refused_and_hears_no_password(
        self, connect: Connect, authority: trustme.CA, ca_file: str
    ) -> None:
        with TlsFront(_of_server(authority, "elsewhere.example")) as impostor:
            with pytest.raises(Exception):  # noqa: B017, PT011
                connect(_url(impostor, password=PASSWORD), ca_file)
            assert impostor.heard == b""


class TestOneFormOfUrl:
    def test_each_client_is_told_all_of_it(self) -> None:
        found = target("rediss://u:p@h:1/2?ssl_certfile=/c&ssl_check_hostname=False&protocol=3", "/ca")
        assert found.url == "rediss://u:p@h:1/2?protocol=3"
        assert found.tls == {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": False,
            "ssl_certfile": "/c",
            "ssl_ca_certs": "/ca",
        }

    def test_without_tls_nothing_is_told_and_the_url_is_left_alone(self) -> None:
        for url in ("redis://:a%2Fb@h:1/0?protocol=3", "unix:///run/r.sock?db=2", "amqp://u:p@h//"):
            assert target(url, "/ca") == (url, {})

    def test_amqps_compares_the_host_too(self) -> None:
        found = target("amqps://u:p@mq.example:5671//", "/ca")
        assert found.tls == {
            "ca_certs": "/ca",
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": "mq.example",
        }

    def test_several_servers_share_one_answer(self) -> None:
        found = target("rediss://a/0?ssl_ca_certs=/ca;rediss://b/0?ssl_ca_certs=/ca")
        assert found.url == "rediss://a/0;rediss://b/0"
        assert found.tls["ssl_ca_certs"] == "/ca"

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("rediss://h/0?ssl_cert_reqs=maybe-secret", "ssl_cert_reqs that is not required or none"),
            ("rediss://h/0?ssl_check_hostname=secret", "ssl_check_hostname that is not true or false"),
            ("rediss://h/0?ssl_ca_certs=", "ssl_ca_certs that is not the path of a file"),
            ("rediss://h/0?ssl_secret=1", "not known"),
            ("redis://h/0?ssl_cert_reqs=required", "no TLS"),
        ],
    )
    def test_what_is_not_understood_is_refused_at_the_door_without_repeating_it(
        self, url: str, says: str
    ) -> None:
        for variable in ("ONELANE_REDIS_URL", "ONELANE_BROKER_URL"):
            with pytest.raises(BadSetting, match=f"^{variable}: .*{says}") as caught:
                QueueSettings.from_env({variable: url})
            assert "secret" not in str(caught.value)
            with pytest.raises(ValueError, match=says) as refused:
                Settings(**{variable.removeprefix("ONELANE_").lower(): url})  # type: ignore[arg-type]
            assert "secret" not in str(refused.value)

    def test_servers_with_and_without_tls_do_not_go_together(self) -> None:
        with pytest.raises(ValueError, match="for all of its servers or for none"):
            target("rediss://a/0;redis://b/0")

    def test_a_ca_file_without_certificates_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty.pem").write_text("nothing")
        for name, says in (("empty.pem", "holds no certificate"), ("missing.pem", "cannot be read")):
            with pytest.raises(BadSetting, match=f"ONELANE_CA_FILE: {says}"):
                QueueSettings.from_env({"ONELANE_CA_FILE": str(tmp_path / name)})
            with pytest.raises(ValueError, match=says):
                Settings(ca_file=str(tmp_path / name))
