"""The other name of `onelane_worker.celery_app`: `celery -A onelane_worker.app worker`."""

from onelane_worker.celery_app import app

__all__ = ["app"]
