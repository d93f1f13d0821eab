"""Settings of the stand-alone project; the environment changes what differs between machines.

`DJSCI_DATA` the folder of everything that is written · `DJSCI_STATIC` that of collected static
files (in `DJSCI_DATA`) · `DJSCI_SECRET_KEY` · `DJSCI_DEBUG=1` · `DJSCI_HOSTS` the names it answers
to, with commas · `DJSCI_HTTPS=1` behind a proxy that ends TLS and sets `X-Forwarded-Proto` ·
`DJSCI_TRUSTED_PROXIES` · `DATABASE_URL` · `REDIS_URL` · `DJSCI_BROKER`, or `CELERY_BROKER_URL`:
Celery workers execute, rung by this broker (docs/celery.md) · `DJSCI_LOG` `json`, or `text` as on
a terminal · `DJSCI_OPTIONS` the setting `DJSCI` as a JSON object.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from .environment import BROKER, database, is_on, names, private_folder, secret_key

BASE_DIR = Path(__file__).resolve().parent.parent
DATA = private_folder(Path(os.environ.get("DJSCI_DATA") or BASE_DIR / "data"))

SECRET_KEY = os.environ.get("DJSCI_SECRET_KEY") or secret_key(DATA / "secret_key")
DEBUG = is_on("DJSCI_DEBUG")
ALLOWED_HOSTS = names("DJSCI_HOSTS") or ["127.0.0.1", "localhost", "[::1]"]

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
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "asgi_project.urls"
ASGI_APPLICATION = "asgi_project.asgi.application"
WSGI_APPLICATION = "asgi_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "asgi_project" / "templates"],
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

DATABASES: dict[str, Any] = {"default": database(os.environ.get("DATABASE_URL", ""), DATA)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = os.environ.get("REDIS_URL", "")
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

if REDIS_URL:  # failed logins and tokens are then counted over all processes
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "OPTIONS": {
                "serializer": "asgi_project.environment.JsonSerializer",
                "socket_timeout": 2,
                "socket_connect_timeout": 2,
            },
        }
    }

CELERY_BROKER_URL = BROKER
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False  # the default may change
CELERY_WORKER_PREFETCH_MULTIPLIER = 1  # a bell behind a run would wait for its end

DJSCI: dict[str, Any] = {
    "DISPATCHER": "celery" if BROKER else "local",
    "TRUSTED_PROXIES": names("DJSCI_TRUSTED_PROXIES"),
    **json.loads(os.environ.get("DJSCI_OPTIONS") or "{}"),
}

if isinstance(DJSCI.get("PEP723"), dict):
    DJSCI["PEP723"].setdefault("folder", str(DATA / "environments"))

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = LOGIN_URL
CSRF_FAILURE_VIEW = "asgi_project.errors.forged"

# Uploads: never below a public URL, readable by the server's own user only.
MEDIA_ROOT = DATA / "files"
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
DATA_UPLOAD_MAX_MEMORY_SIZE = 21 << 20  # djsci caps bodies itself, at UPLOAD_LIMIT + 1 MiB

# Collected, they have hashed names and are kept for ever by browsers; until then, and with DEBUG,
# they come straight from the packages.
STATIC_URL = "/static/"
STATIC_ROOT = Path(os.environ.get("DJSCI_STATIC") or DATA / "static")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "asgi_project.static.HashedFiles"},
}
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_MANIFEST_STRICT = False
SERVESTATIC_AUTOREFRESH = DEBUG
SERVESTATIC_ALLOW_ALL_ORIGINS = False

SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
HTTPS = is_on("DJSCI_HTTPS")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^djsci/(health/|metrics/?$)"]  # asked from within, without a proxy
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

LOG = os.environ.get("DJSCI_LOG") or ("text" if sys.stderr.isatty() else "json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": "djsci.access.logs.JsonLines"},
        "text": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": [], "level": "WARNING"},  # to the root: not by mail
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        "djsci": {"level": "INFO"},
    },
}
