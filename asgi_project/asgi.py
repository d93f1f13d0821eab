"""The ASGI application, HTTP and WebSocket: `asgi_project.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asgi_project.settings")
django_application = get_asgi_application()

from djsci import routing  # noqa: E402 - consumers import models, which need the line above

application = routing.application(django_application, most_elsewhere=1 << 20)
