"""A host project with Django's own settings, under WSGI with a thread for each request.

`python -m tests.faults.host FOLDER` makes its database, a user and a file, prints the port and a
token as JSON, and serves until it is ended.
"""

import json
import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

from .stage import CODE


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests are not of interest; errors are logged by Django."""


def main(folder: Path) -> None:
    """Neither IMMEDIATE nor WAL, a transaction around every request: as a project may be."""
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "db.sqlite3"),
        "ATOMIC_REQUESTS": True,
    }
    apps = ("auth", "contenttypes", "sessions", "messages")
    settings.configure(
        SECRET_KEY="not a secret: these are tests",
        ALLOWED_HOSTS=["127.0.0.1"],
        USE_TZ=True,
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        MEDIA_ROOT=str(folder / "media"),
        ROOT_URLCONF="tests.upgrade.site_urls",
        INSTALLED_APPS=[
            "django.contrib.admin",
            *(f"django.contrib.{app}" for app in apps),
            "djsci",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        DJSCI={"POOL": {"size": 1, "preload": []}, "ISOLATION": "process"},
        LOGGING_CONFIG=None,
    )
    django.setup()
    serve(seeded())


def seeded() -> str:
    from django.core.management import call_command

    from tests import seed

    call_command("migrate", verbosity=0)
    file = {"name": "code", "owner": "ada", "files": {"code.py": CODE}}
    made = seed.answer_to({"users": [{"name": "ada", "superuser": True}], "files": [file]})
    return str(made["tokens"]["ada"])


def serve(token: str) -> None:
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()
    with make_server("127.0.0.1", 0, application, Server, Quiet) as server:
        print(json.dumps({"port": server.server_port, "token": token}), flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
