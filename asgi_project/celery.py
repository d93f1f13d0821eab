"""The Celery application: `celery -A asgi_project worker -P threads -c 4 -Q djsci.default`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asgi_project.settings")
app = Celery("asgi_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
