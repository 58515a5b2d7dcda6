"""The other name of `onelane_worker.app`: `celery -A onelane_worker.celery_app worker`."""

from onelane_worker.app import app

__all__ = ["app"]
