"""TLS for every connection, to Redis and to the broker: one form of URL, and one place that reads it.

    rediss://user:password@host:6379/0?ssl_ca_certs=/etc/ssl/our-ca.pem

`rediss://` and `amqps://` mean TLS, and the server's certificate is checked: who signed it, and that it is
made out to the host of the URL. Redis' client, its asyncio twin, kombu and py-amqp differ in how they spell
the options and in what they check without them. So the options are taken out of the URL here, and each client
is told all of them.

| option             | value              | without it                                        |
| ------------------ | ------------------ | ------------------------------------------------- |
| ssl_ca_certs       | file, PEM          | ONELANE_CA_FILE, else the authorities of the system |
| ssl_certfile       | file, PEM          | no certificate of our own is shown                |
| ssl_keyfile        | file, PEM          | the key is in ssl_certfile                        |
| ssl_check_hostname | true or false      | true                                              |
| ssl_cert_reqs      | required or none   | required; none checks nothing at all              |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

_TLS_SCHEMES: Final = ("rediss", "amqps")
_PREFIX: Final = "ssl_"
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
# As redis-py spells them, and as Celery's documentation does.
_CHECKS: Final = {"required": True, "cert_required": True, "none": False, "cert_none": False}
_BOOLEANS: Final = {"true": True, "false": False}


class Target(NamedTuple):
    """Where to connect to, and how."""

    url: str
    """Without TLS options."""
    tls: Mapping[str, Any]
    """What the client of this URL must be told: keywords of redis-py, or kombu's `ssl`. Empty: no TLS."""


def target(url: str, ca_file: str | None = None) -> Target:
    """What a URL, or several with ; between them, asks for. `ca_file`: whom to trust where it says nothing.

    Raises `ValueError` for TLS options that are unknown, wrong or without TLS; it repeats no value.
    """
    found = [_of_one(one, ca_file) for one in url.split(";")]
    first = found[0].tls
    if any(one.tls.keys() != first.keys() for one in found):
        raise ValueError("must use TLS for all of its servers or for none")
    for one in found[1:]:
        if {**one.tls, "server_hostname": None} != {**first, "server_hostname": None}:
            raise ValueError("must have the same TLS options for all of its servers")
    return Target(";".join(one.url for one in found), first)


def readable_ca_file(path: str) -> str:
    """The path, if certificates can be read there. Raises `ValueError`."""
    import ssl  # takes a while to load, and few need it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError("holds no certificate in PEM form") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return path


def _of_one(url: str, ca_file: str | None) -> Target:
    scheme = url.partition("://")[0]
    plain, given = _without_options(url)
    if scheme not in _TLS_SCHEMES:
        if given:
            raise ValueError(
                f"has TLS options ({min(given)}) but no TLS: begin it with rediss:// or amqps://"
            )
        return Target(plain, {})
    options = _checked(given)
    if ca_file is not None:
        options.setdefault("ssl_ca_certs", ca_file)
    return Target(plain, options if scheme == "rediss" else _for_amqp(options, plain))


def _without_options(url: str) -> tuple[str, dict[str, str]]:
    start, mark, query = url.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    given = {name: value for name, value in pairs if name.startswith(_PREFIX)}
    if not given:
        return url, {}
    rest = urlencode([pair for pair in pairs if pair[0] not in given])
    return f"{start}{mark}{rest}" if rest else start, given


def _checked(given: Mapping[str, str]) -> dict[str, Any]:
    """All that redis-py must be told: what it does without being told differs between its versions."""
    options: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    for name, value in given.items():
        if name in _FILES and value:
            options[name] = value
        elif name == "ssl_cert_reqs" and value.lower() in _CHECKS:
            options[name] = "required" if _CHECKS[value.lower()] else "none"
        elif name == "ssl_check_hostname" and value.lower() in _BOOLEANS:
            options[name] = _BOOLEANS[value.lower()]
        else:
            raise ValueError(_complaint(name))
    if options["ssl_cert_reqs"] == "none":
        options["ssl_check_hostname"] = False
    return options


def _complaint(name: str) -> str:
    wanted = {
        "ssl_cert_reqs": "required or none",
        "ssl_check_hostname": "true or false",
        **dict.fromkeys(_FILES, "the path of a file"),
    }
    if name in wanted:
        return f"has a TLS option {name} that is not {wanted[name]}"
    return f"has a TLS option that is not known; there are {', '.join(sorted(wanted))}"


def _for_amqp(options: Mapping[str, Any], url: str) -> dict[str, Any]:
    """The same in py-amqp's words. It compares the host with the certificate only if it is told the host."""
    import ssl

    words = {name.removeprefix(_PREFIX): options[name] for name in _FILES if name in options}
    checks = options["ssl_cert_reqs"] == "required"
    host = urlsplit(url).hostname if options["ssl_check_hostname"] else None
    return {**words, "cert_reqs": ssl.CERT_REQUIRED if checks else ssl.CERT_NONE, "server_hostname": host}
