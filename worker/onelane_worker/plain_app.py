"""A Celery app that knows its broker and nothing else of this machine."""

from __future__ import annotations

import os

from celery import Celery

from onelane.tls import Target

_OF_OTHER_APPS = (
    "CELERY_BROKER_URL",
    "CELERY_BROKER_READ_URL",
    "CELERY_BROKER_WRITE_URL",
    "CELERY_CONFIG_MODULE",
    "CELERY_CUSTOM_WORKER_POOL",
    "CELERY_RESULT_BACKEND",
)


def plain_app(broker: Target) -> Celery:
    """A Celery app on this broker, also where the environment is that of another Celery or Django project.

    Celery puts these variables above what an app was given: they are taken out of this process's environment.
    Without `fixups`, DJANGO_SETTINGS_MODULE does not make it load Django and search the current folder.
    """
    for name in _OF_OTHER_APPS:
        os.environ.pop(name, None)
    app = Celery("onelane", broker=broker.url, loader="app", fixups=[], set_as_current=False)
    app.conf.broker_use_ssl = dict(broker.tls) or False
    return app
