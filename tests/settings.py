"""Settings of the tests: a file database on SQLite, or what DJSCI_TEST_DATABASE names."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

BASE = Path(os.environ.get("DJSCI_TEST_DIR") or tempfile.mkdtemp(prefix="djsci-tests-"))
TEMPORARY = BASE / "t"  # short: paths of sockets are
TEMPORARY.mkdir(parents=True, exist_ok=True)
os.environ["TMPDIR"] = tempfile.tempdir = str(TEMPORARY)

SECRET_KEY = "not a secret: these are tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
USE_TZ = True
ROOT_URLCONF = "asgi_project.urls"
ASGI_APPLICATION = "asgi_project.asgi.application"
STATIC_URL = "/static/"
MEDIA_ROOT = str(BASE / "media")
LOGIN_URL = "/accounts/login/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "djsci",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 5,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
DATABASES: dict[str, Any] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(BASE / "db.sqlite3"),
        "OPTIONS": SQLITE_OPTIONS,
        "TEST": {"NAME": str(BASE / "test.sqlite3")},
    }
}
# crun, podman's own choice, refuses the control groups of some machines; runc takes them all.
DJSCI: dict[str, Any] = {
    "CONTAINER": {
        "command": os.environ.get("DJSCI_TEST_CONTAINER"),
        "image": "djsci-tests",
        "runtime": "runc" if shutil.which("runc") else None,
    }
}
