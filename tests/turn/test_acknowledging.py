"""A turn that was served, and whose message cannot be acknowledged because the broker refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError, ReadOnlyError

from onelane_worker.tasks import _keep_turns


def channel_whose_broker_answers(error: Exception) -> Any:
    def answer(*_: Any) -> None:
        raise error

    channel = SimpleNamespace(closed=False, basic_ack=answer, basic_reject=answer)
    channel.connection_errors = (ConnectionError,)
    _keep_turns(channel)
    return channel


def test_a_refusal_does_not_keep_the_outcome_from_flower() -> None:
    """Celery tells of a task's end after it was acknowledged: an error there would leave its row STARTED."""
    channel = channel_whose_broker_answers(ReadOnlyError("You can't write against a read only replica."))
    channel.basic_ack("tag")
    channel.basic_reject("tag")


def test_a_lost_connection_is_for_celery_to_see() -> None:
    with pytest.raises(ConnectionError):
        channel_whose_broker_answers(ConnectionError("gone")).basic_ack("tag")
