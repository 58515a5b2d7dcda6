"""What every request has in common: token, version, Accept, JSON, routes, headers, rate limit."""

from __future__ import annotations

import pytest

from onelane_sandbox.rules import Request, Sandbox

NOW = 1_800_000_003.0


def _headers(**changes):
    headers = {"authorization": "Bearer t", "accept": "application/json", "intercom-version": "2.15"}
    return {key: value for key, value in {**headers, **changes}.items() if value is not None}


def _send(sandbox, method="GET", path="/me", body=b"", **headers):
    request = Request(method=method, path=path, headers=_headers(**headers), body=body)
    return sandbox.handle(request, NOW)


def _code(response):
    return response.status, response.body["errors"][0]["code"]


def test_a_good_request_names_version_and_id():
    response = _send(Sandbox())
    assert response.status == 200
    assert response.body["type"] == "admin"
    assert response.headers["Intercom-Version"] == "2.15"
    assert len(response.headers["X-Request-Id"]) == 20


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic t"])
def test_without_a_token(authorization):
    response = _send(Sandbox(), authorization=authorization)
    assert _code(response) == (401, "unauthorized")
    assert response.body["errors"][0]["message"] == "Access Token Invalid"
    assert not [name for name in response.headers if name.startswith("X-RateLimit")]


def test_any_token_will_do_unless_one_is_named():
    assert _send(Sandbox(), authorization="bearer anything").status == 200
    assert _send(Sandbox(token="t")).status == 200
    assert _code(_send(Sandbox(token="other"))) == (401, "unauthorized")


@pytest.mark.parametrize("version", ["2.17", "1.4", "two"])
def test_an_unknown_version(version):
    response = _send(Sandbox(), **{"intercom-version": version})
    assert _code(response) == (400, "intercom_version_invalid")
    assert response.body["errors"][0]["message"] == "The requested version could not be found"
    assert response.headers["Intercom-Version"] == "2.15"


@pytest.mark.parametrize("version", ["2.7", "2.14", "2.16", "Preview"])
def test_a_known_version_is_echoed(version):
    assert _send(Sandbox(), **{"intercom-version": version}).headers["Intercom-Version"] == version


def test_no_version_is_the_default_one():
    assert _send(Sandbox(), **{"intercom-version": None}).headers["Intercom-Version"] == "2.15"


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("*/*", 200),
        ("text/html, application/json;q=0.5", 200),
        ("application/*", 200),
        ("text/html", 406),
        ("application/xml", 406),
    ],
)
def test_accept(accept, status):
    assert _send(Sandbox(), accept=accept).status == status


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b'{"a": NaN}', b"\xff"])
def test_a_body_that_is_no_json_object(body):
    assert _code(_send(Sandbox(), "POST", "/contacts", body)) == (400, "bad_request")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/nowhere"), ("PATCH", "/contacts"), ("GET", "/contacts/1/2/3"), ("PUT", "/me")],
)
def test_an_unknown_route_or_method_is_not_found(method, path):
    assert _code(_send(Sandbox(), method, path)) == (404, "not_found")


def test_the_request_id_of_an_error_stands_in_header_and_body():
    response = _send(Sandbox(), path="/contacts/none")
    assert response.headers["X-Request-Id"] == response.body["request_id"]


def test_header_names_may_be_in_any_case():
    request = Request(method="GET", path="/me", headers={"Authorization": "Bearer t"})
    assert Sandbox().handle(request, NOW).status == 200


def test_rate_limit_counts_down_in_windows_of_ten_seconds():
    sandbox = Sandbox(rate_per_minute=18)  # three in ten seconds
    me = Request.of("GET", "/me")
    window_end = 1_800_000_010

    def limits(now):
        response = sandbox.handle(me, now)
        return response.status, [
            int(response.headers[f"X-RateLimit-{it}"]) for it in ("Limit", "Remaining", "Reset")
        ]

    # the first answer of a window shows the whole limit; Reset lies two seconds after its end
    assert limits(NOW) == (200, [3, 3, window_end + 2])
    assert limits(NOW) == (200, [3, 2, window_end + 2])
    assert limits(NOW) == (200, [3, 1, window_end + 2])
    assert limits(NOW) == (429, [3, 0, window_end + 2])
    refused = sandbox.handle(me, window_end - 0.01)
    assert refused.body["errors"][0] == {
        "code": "rate_limit_exceeded",
        "message": "Exceeded rate limit of 3 in 10_seconds",
    }
    assert limits(window_end) == (200, [3, 3, window_end + 12])


def test_each_token_has_its_own_limit_below_that_of_the_workspace():
    sandbox = Sandbox(rate_per_minute=20_000)
    answers = [
        sandbox.handle(Request.of("GET", "/me", token=token), NOW).status
        for token in "ab"
        for _ in range(3333)
    ]
    assert answers.count(429) == 2 * 3333 - 4167
    assert set(answers[:3333]) == {200}


def test_the_default_limit_is_ten_thousand_a_minute():
    assert Sandbox().handle(Request.of("GET", "/me"), NOW).headers["X-RateLimit-Limit"] == "1667"
