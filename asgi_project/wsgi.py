"""The WSGI application: HTTP without sockets."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asgi_project.settings")
application = get_wsgi_application()
