"""The endpoints that are about the workspace and not about one contact."""

from __future__ import annotations

from onelane_sandbox.messages import JsonObject
from onelane_sandbox.workspace import Call, Workspace


def list_tags(space: Workspace, call: Call) -> JsonObject:
    """GET /tags."""
    return space.tags.listing()


def create_tag(space: Workspace, call: Call) -> JsonObject:
    """POST /tags: create by name, or rename by id."""
    return space.tags.create_or_update(call.body)


def read_tag(space: Workspace, call: Call) -> JsonObject:
    """GET /tags/{id}."""
    return space.tags.get(call.params[0])


def list_subscription_types(space: Workspace, call: Call) -> JsonObject:
    """GET /subscription_types."""
    return space.subscription_types.listing()


def list_attributes(space: Workspace, call: Call) -> JsonObject:
    """GET /data_attributes, optionally of one model, archived ones only on request."""
    query = call.request.query
    return space.attributes.listing(
        query.get("model"), include_archived=query.get("include_archived") == "true"
    )


def create_attribute(space: Workspace, call: Call) -> JsonObject:
    """POST /data_attributes."""
    return space.attributes.create(call.body, call.now)


def update_attribute(space: Workspace, call: Call) -> JsonObject:
    """PUT /data_attributes/{id}."""
    return space.attributes.update(call.params[0], call.body, call.now)


def me(space: Workspace, call: Call) -> JsonObject:
    """GET /me: whose token this is. Evidence: published spec 2.15."""
    return {
        "type": "admin",
        "id": "1",
        "email": "admin@sandbox.test",
        "name": "Sandbox Admin",
        "email_verified": True,
        "has_inbox_seat": True,
        "avatar": {"type": "avatar", "image_url": None},
        "app": {
            "type": "app",
            "id_code": space.id_code,
            "name": "Sandbox",
            "created_at": 1_700_000_000,
            "secure": False,
            "identity_verification": False,
            "timezone": "Etc/UTC",
            "region": "US",
        },
    }
