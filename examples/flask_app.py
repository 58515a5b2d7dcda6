"""A Flask service that tells Onelane about its visitors: `flask --app flask_app run`.

The queue is in the Redis of ONELANE_REDIS_URL.
"""

from flask import Blueprint, Flask, current_app, request
from flask.typing import ResponseReturnValue

from onelane import ContactQueue, DedupeMismatch, InvalidIntent, LeadCapture, QueueFull, QueueUnavailable

site = Blueprint("site", __name__)


def create_app(contacts: ContactQueue | None = None) -> Flask:
    app = Flask(__name__)
    # One for the process: threads share it, and a forked server process opens connections of its own.
    app.extensions["contacts"] = contacts or ContactQueue()
    app.register_blueprint(site)
    return app


@site.post("/quotes")
def ask_for_quote() -> ResponseReturnValue:
    contacts: ContactQueue = current_app.extensions["contacts"]
    intent = LeadCapture(
        email=request.form.get("email", ""),
        name=request.form.get("name"),
        dedupe_key=request.headers.get("Idempotency-Key"),
    )
    receipt = contacts.enqueue(intent)
    return {"id": receipt.id, "duplicate": receipt.duplicate}, 202


@site.errorhandler(InvalidIntent)
def invalid(error: InvalidIntent) -> ResponseReturnValue:
    return {"field": error.field, "message": error.message}, 422


@site.errorhandler(DedupeMismatch)
def mismatch(error: DedupeMismatch) -> ResponseReturnValue:
    return {"message": "This Idempotency-Key was used for another request."}, 409


@site.errorhandler(QueueFull)
@site.errorhandler(QueueUnavailable)
def try_later(error: QueueFull | QueueUnavailable) -> ResponseReturnValue:
    # Whether the intent was stored may be open: with the same Idempotency-Key, the next try is safe.
    return {"message": "Please try again."}, 503, {"Retry-After": "5"}
