"""A FastAPI service that tells Onelane about its visitors: `uvicorn fastapi_app:app`.

The queue is in the Redis of ONELANE_REDIS_URL.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from onelane import (
    AsyncContactQueue,
    DedupeMismatch,
    InvalidIntent,
    LeadCapture,
    QueueFull,
    QueueUnavailable,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncContactQueue() as queue:  # nothing is connected before the first request
        app.state.contacts = queue
        yield


app = FastAPI(lifespan=lifespan)


def contact_queue(request: Request) -> AsyncContactQueue:
    contacts: AsyncContactQueue = request.app.state.contacts
    return contacts


class Quote(BaseModel):
    email: str
    name: str | None = None


@app.post("/quotes", status_code=202)
async def ask_for_quote(
    quote: Quote,
    contacts: Annotated[AsyncContactQueue, Depends(contact_queue)],
    idempotency_key: Annotated[str | None, Header()] = None,
) -> dict[str, str | bool]:
    intent = LeadCapture(email=quote.email, name=quote.name, dedupe_key=idempotency_key)
    receipt = await contacts.enqueue(intent)
    return {"id": receipt.id, "duplicate": receipt.duplicate}


@app.exception_handler(InvalidIntent)
async def invalid(request: Request, error: InvalidIntent) -> JSONResponse:
    return JSONResponse({"field": error.field, "message": error.message}, 422)


@app.exception_handler(DedupeMismatch)
async def mismatch(request: Request, error: DedupeMismatch) -> JSONResponse:
    return JSONResponse({"message": "This Idempotency-Key was used for another request."}, 409)


@app.exception_handler(QueueFull)
@app.exception_handler(QueueUnavailable)
async def try_later(request: Request, error: QueueFull | QueueUnavailable) -> JSONResponse:
    # Whether the intent was stored may be open: with the same Idempotency-Key, the next try is safe.
    return JSONResponse({"message": "Please try again."}, 503, {"Retry-After": "5"})
