"""The Celery application: `celery -A asgi_project worker -P threads -c 4 -Q djsci.default`."""

import logging
import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asgi_project.settings")
app = Celery("asgi_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def keep_logging(loglevel: int, **_: Any) -> None:
    """Leave the settings' LOGGING as it is: Celery would put its own in place. `-l` is heeded."""
    logging.getLogger("celery").setLevel(loglevel)


setup_logging.connect(keep_logging)
