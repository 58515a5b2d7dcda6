"""Is Intercom ready for us? Token, region, version, transport, workspace: one finding per question."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from onelane_worker.engine.workspace_check import OtherWorkspace, Record, require_same
from onelane_worker.operate.finding import Finding
from onelane_worker.planner import operations as op
from onelane_worker.settings import Settings

HOSTS: Final = {"US": "api.intercom.io", "EU": "api.eu.intercom.io", "AU": "api.au.intercom.io"}
"""Intercom's regions and their API hosts (published)."""


def of_workspace(reply: op.Reply, record: Record | None) -> Iterator[Finding]:
    """Is the token's workspace the queue's? Nothing is said while Intercom does not tell it."""
    match reply:
        case op.Done(workspace=None):
            todo = "No worker writes anything: nobody knows whose contacts that would be."
            yield Finding("workspace", "bad", "the answer to GET /me names none", todo)
        case op.Done(workspace=op.Workspace() as token):
            try:
                require_same(token, record)
            except OtherWorkspace as other:
                yield Finding("workspace", "bad", other.says, other.todo)
                return
            noted = "" if record else "; the first worker notes it for this queue"
            yield Finding("workspace", "ok", f"{token}{noted}")


def of_way(settings: Settings) -> Iterator[Finding]:
    """Who can read the token on its way? Nothing to say if nobody."""
    url = urlsplit(settings.intercom_url)
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        says = f"{url.hostname} is asked without TLS: who is on the way reads the token and everybody's data"
        yield Finding("transport", "warn", says, "Use https:// in ONELANE_INTERCOM_URL, but for a sandbox.")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def of_intercom(reply: op.Reply, settings: Settings) -> Iterator[Finding]:
    """Token, region, version: what the answer to GET /me says of them."""
    host = urlsplit(settings.intercom_url).netloc
    match reply:
        case op.Done(region=region):
            yield Finding("token", "ok", f"accepted by {host}")
            yield _region(region, host)
            yield Finding("version", "ok", f"Intercom-Version {settings.intercom_version}")
        case op.Throttled():
            yield Finding("token", "warn", f"{host} asks us to slow down", "See the runbook: a storm of 429.")
        case op.Stopped(problem=problem) if problem.kind == "unsupported":
            says = f"{host} refuses Intercom-Version {settings.intercom_version}: {_said(problem)}"
            yield Finding("version", "bad", says, "Correct ONELANE_INTERCOM_VERSION.")
        case op.Stopped(problem=problem) | op.Forbidden(problem=problem):
            todo = "Correct ONELANE_INTERCOM_TOKEN and ONELANE_INTERCOM_URL (each region has its own)."
            yield Finding("token", "bad", f"refused by {host}: {_said(problem)}", todo)
        case _:
            problem = getattr(reply, "problem", op.Problem(type(reply).__name__.lower()))
            todo = "Intercom is down, or not reachable from here. Nothing is lost: see the runbook, outage."
            yield Finding("token", "bad", f"{host} does not answer: {_said(problem)}", todo)


def _region(region: str | None, host: str) -> Finding:
    if region is None:
        return Finding("region", "ok", "not told")
    if host not in HOSTS.values():  # a sandbox, or a proxy: it stands where we put it
        return Finding("region", "ok", f"– ({host} is no host of Intercom's own)")
    wanted = HOSTS.get(region)
    if wanted is None or host == wanted:
        return Finding("region", "ok", region)
    todo = f"Set ONELANE_INTERCOM_URL=https://{wanted}: requests travel to another region and back."
    return Finding("region", "warn", f"the workspace is in {region}, but we ask {host}", todo)


def _said(problem: op.Problem) -> str:
    words = (problem.kind, problem.http_status, problem.code)
    return " ".join(str(word) for word in words if word is not None)
