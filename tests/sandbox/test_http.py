"""The served sandbox, seen by a raw client: what the faults do to a connection."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from onelane_sandbox.serve import RunningSandbox

PATIENCE_S = 20.0


def _wait_for(condition, what):
    """The first true value of `condition()`; fails after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"never: {what}")


@pytest.fixture(autouse=True)
def _no_complaints(caplog):
    """The server must not print so much as a warning, whatever is done to its connections."""
    yield
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


@pytest.fixture
def raw(onelane_sandbox):
    """A keep-alive connection of the standard library, which repeats nothing by itself."""
    with closing(
        http.client.HTTPConnection(urlsplit(onelane_sandbox.url).netloc, timeout=PATIENCE_S)
    ) as connection:
        yield connection


def _send(connection, method, path, body=None):
    content = None if body is None else json.dumps(body)
    connection.request(
        method, path, content, {"Authorization": "Bearer t", "Content-Type": "application/json"}
    )
    response = connection.getresponse()
    return response, json.loads(response.read())


def test_a_connection_serves_many_requests(onelane_sandbox, raw):
    response, contact = _send(raw, "POST", "/contacts", {"email": "ann@x.test"})
    port = raw.sock.getsockname()[1]
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Intercom-Version"] == "2.15"
    assert len(response.headers["X-Request-Id"]) == 20
    assert response.headers["X-RateLimit-Limit"] == "1667"
    response, read = _send(raw, "GET", f"/contacts/{contact['id']}")
    assert (response.status, read) == (200, contact)
    assert raw.sock.getsockname()[1] == port


def test_the_path_is_logged_as_sent(onelane_sandbox, raw):
    response, _ = _send(raw, "GET", "/contacts/find_by_external_id/a%2Fb?x=1&y=%20")
    assert response.status == 404
    (entry,) = onelane_sandbox.requests()
    assert (entry["path"], entry["query"]) == ("/contacts/find_by_external_id/a%2Fb", {"x": "1", "y": " "})
    assert abs(entry["at"] - time.time()) < 60


def test_a_lost_response_is_a_reset_connection_and_a_committed_write(onelane_sandbox, raw):
    onelane_sandbox.fault("lose_response", method="post")
    with pytest.raises(ConnectionResetError):
        _send(raw, "POST", "/contacts", {"email": "ann@x.test"})
    (entry,) = onelane_sandbox.requests()
    assert (entry["status"], entry["fault"], entry["committed"]) == (None, "lose_response", True)
    assert [one["email"] for one in onelane_sandbox.contacts()] == ["ann@x.test"]


def test_a_dropped_request_is_a_closed_connection_and_no_write(onelane_sandbox, raw):
    onelane_sandbox.fault("drop_request")
    with pytest.raises(http.client.RemoteDisconnected):
        _send(raw, "POST", "/contacts", {"email": "ann@x.test"})
    (entry,) = onelane_sandbox.requests()
    assert (entry["status"], entry["fault"], entry["committed"]) == (None, "drop_request", False)
    assert onelane_sandbox.contacts() == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("when", ["", "_after_commit"])
def test_server_errors(onelane_sandbox, raw, status, when):
    onelane_sandbox.fault(f"status_{status}{when}")
    response, body = _send(raw, "POST", "/contacts", {"email": "ann@x.test"})
    assert (response.status, body["type"]) == (status, "error.list")
    assert len(onelane_sandbox.contacts()) == bool(when)
    assert _send(raw, "GET", "/me")[0].status == 200


def test_rate_limited_and_unauthorized(onelane_sandbox, raw):
    onelane_sandbox.fault("rate_limited")
    response, body = _send(raw, "GET", "/me")
    assert (response.status, body["errors"][0]["code"]) == (429, "rate_limit_exceeded")
    assert response.headers["X-RateLimit-Remaining"] == "0"
    assert int(response.headers["X-RateLimit-Reset"]) > time.time()
    onelane_sandbox.fault("unauthorized")
    response, body = _send(raw, "GET", "/me")
    assert (response.status, body["errors"][0]["code"]) == (401, "unauthorized")
    assert response.headers["X-RateLimit-Limit"] is None


def test_a_slow_answer_comes(onelane_sandbox, raw):
    onelane_sandbox.fault("slow", seconds=0.2)
    started = time.monotonic()
    assert _send(raw, "POST", "/contacts", {"email": "ann@x.test"})[0].status == 200
    assert time.monotonic() - started >= 0.2
    assert onelane_sandbox.requests()[0]["duration_ms"] >= 199


def test_a_write_whose_client_gave_up_commits_late(onelane_sandbox, raw):
    onelane_sandbox.fault("slow", seconds=0.5)
    raw.timeout = 0.1
    with pytest.raises(TimeoutError):
        _send(raw, "POST", "/contacts", {"email": "ann@x.test"})
    raw.close()
    (entry,) = onelane_sandbox.requests()
    assert (entry["status"], entry["committed"]) == (None, False)
    _wait_for(onelane_sandbox.contacts, "the late commit")
    (entry,) = onelane_sandbox.requests()
    assert (entry["status"], entry["fault"], entry["committed"]) == (None, "slow", True)


def test_a_slow_request_holds_up_no_other(onelane_sandbox, raw):
    onelane_sandbox.fault("slow", seconds=PATIENCE_S * 2, path="/me")
    waiting = threading.Thread(target=lambda: onelane_sandbox.call("GET", "/tags"))
    raw.connect()
    raw.request("GET", "/me", headers={"Authorization": "Bearer t"})
    _wait_for(onelane_sandbox.requests, "the slow request arrives")
    waiting.start()
    waiting.join(PATIENCE_S)
    assert [one["status"] for one in onelane_sandbox.requests()] == [None, 200]


def test_slow_then_lost(onelane_sandbox, raw):
    onelane_sandbox.fault("slow", seconds=0.05)
    onelane_sandbox.fault("lose_response")
    with pytest.raises(ConnectionResetError):
        _send(raw, "POST", "/contacts", {"email": "ann@x.test"})
    assert len(onelane_sandbox.contacts()) == 1


def test_half_a_request_is_none(onelane_sandbox):
    host, port = urlsplit(onelane_sandbox.url).netloc.split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST /contacts HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert onelane_sandbox.call("GET", "/me")[0] == 200
    assert [one["path"] for one in onelane_sandbox.requests()] == ["/me"]


def test_stopping_lets_go_of_everything():
    running = RunningSandbox(token="secret").start()
    control = running.control
    assert control.token == "secret"
    assert control.call("GET", "/me")[0] == 200
    control.fault("slow", seconds=3600)
    netloc = urlsplit(running.url).netloc
    with (
        closing(http.client.HTTPConnection(netloc, timeout=PATIENCE_S)) as slow,
        closing(http.client.HTTPConnection(netloc, timeout=PATIENCE_S)) as half,
    ):
        slow.request("POST", "/contacts", "{}", {"Authorization": "Bearer secret"})
        half.putrequest("POST", "/contacts")
        half.putheader("Content-Length", "10")
        half.endheaders()
        _wait_for(lambda: len(control.requests()) == 2, "the slow request arrives")
        running.stop()
        with pytest.raises(ConnectionError):
            slow.getresponse()
    running.stop()  # a second time does nothing


def test_a_taken_port_is_an_error_at_once(onelane_sandbox):
    port = urlsplit(onelane_sandbox.url).port
    with pytest.raises(OSError, match="in use"):
        RunningSandbox(port=port).start()
