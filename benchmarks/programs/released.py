"""A project of djsci 0.0.0.0, which runs a file in the server's own process, for uvicorn.

Makes its database and files in BENCH_FOLDER and writes a session's key to `session`.
"""

import os
from pathlib import Path

import django
from django.conf import settings

FOLDER = Path(os.environ["BENCH_FOLDER"])
os.chdir(FOLDER)
settings.configure(
    SECRET_KEY="not a secret: this is a benchmark",  # noqa: S106
    ALLOWED_HOSTS=["127.0.0.1"],
    USE_TZ=True,
    ROOT_URLCONF="released",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "djsci",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.files.base import ContentFile  # noqa: E402
from django.core.management import call_command  # noqa: E402

from djsci.models import PrivateFile  # noqa: E402
from djsci.urls import djsci_urls  # noqa: E402

urlpatterns = djsci_urls


def make() -> None:
    call_command("migrate", verbosity=0)
    for name in ("trivial.py", "table.py", "trivial.ipynb"):
        content = ContentFile((FOLDER / name).read_bytes(), name=name)
        PrivateFile.objects.create(name=name.replace(".", "_"), file=content)
    user = get_user_model().objects.create_user("bench")
    session = SessionStore()
    session["_auth_user_id"] = str(user.pk)
    session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    session["_auth_user_hash"] = user.get_session_auth_hash()
    session.save()
    (FOLDER / "session").write_text(str(session.session_key))


make()
application = get_asgi_application()
