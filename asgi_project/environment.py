"""What the settings read from the environment and keep in the data folder."""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 5,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
POSTGRESQL_OPTIONS = {
    "pool": {"min_size": 1, "max_size": 12, "timeout": 2},
    "connect_timeout": 5,
    **{"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3},
    "tcp_user_timeout": 20_000,  # a host that vanished is noticed before a lease is over
    "options": "-c statement_timeout=30000 -c lock_timeout=5000"
    " -c idle_in_transaction_session_timeout=60000",
}
# The index of a large table takes its time. Who waits for a lock holds up all that come after.
MIGRATING = {"options": "-c lock_timeout=5000"}
BROKER = os.environ.get("DJSCI_BROKER") or os.environ.get("CELERY_BROKER_URL", "")


class JsonSerializer:
    """What the cache holds, as JSON: who can write to Redis must not be able to run code here."""

    def dumps(self, value: Any) -> str | int:
        # Integers go as they are, so that Redis itself can add to them.
        return value if type(value) is int else json.dumps(value)

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


def is_on(name: str) -> bool:
    """Whether a switch of the environment is set."""
    return os.environ.get(name, "").strip().lower() in {"1", "true", "yes", "on"}


def names(variable: str) -> list[str]:
    """The items of a variable that lists them with commas."""
    return [item.strip() for item in os.environ.get(variable, "").split(",") if item.strip()]


def private_folder(folder: Path) -> Path:
    """The folder, made when missing, for its owner only."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"DJSCI_DATA: the folder {folder} cannot be made ({error.strerror})."
        ) from error
    return folder.resolve()


def secret_key(path: Path) -> str:
    """The key that the file holds. The first start makes it; of several at once one wins."""
    if not path.exists():
        write_once(path, secrets.token_urlsafe(64))
    key = path.read_text(encoding="ascii").strip()
    if len(key) < 50:
        raise ImproperlyConfigured(f"{path} holds no secret key: remove it, or restore it.")
    return key


def write_once(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all, unless it is there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def database(url: str, data: Path) -> dict[str, Any]:
    """Django's description of the database: SQLite in the data folder unless a URL names one."""
    settings: dict[str, Any] = dict(
        dj_database_url.parse(url or f"sqlite:///{data / 'db.sqlite3'}", conn_max_age=0)
    )
    options = settings.get("OPTIONS") or {}
    if settings["ENGINE"].endswith("sqlite3"):
        settings["OPTIONS"] = {**SQLITE_OPTIONS, **options}
    elif settings["ENGINE"].endswith("postgresql"):
        # Under ASGI a connection kept between requests is a connection lost; the pool keeps them.
        migrating = MIGRATING if sys.argv[1:2] == ["migrate"] else {}
        settings["OPTIONS"] = {**POSTGRESQL_OPTIONS, **migrating, **options}
        settings["CONN_HEALTH_CHECKS"] = True
    return settings
