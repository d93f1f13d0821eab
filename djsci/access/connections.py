"""The SQLite connections that a pool's thread keeps from call to call; others go back each time.

Opening one costs more than most of our queries. The pools' threads are few and live on, so this
leaks none; a connection that might mislead its next user is closed.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

_seen = threading.local()  # the file that each alias named before this thread's last call


@contextmanager
def borrowed() -> Iterator[None]:
    """One call of this thread: with sound connections before it, and only those kept after it."""
    _close_replaced()
    is_sound = False
    try:
        yield
        is_sound = True
    finally:
        # An exception's traceback may hold a query half read, and with it SQLite's old snapshot.
        _give_back(is_sound=is_sound)


def _close_replaced() -> None:
    for database in connections.all(initialized_only=True):
        file = _file_of(database)
        if file is None:
            database.close_if_unusable_or_obsolete()
        elif database.connection is not None and _seen.__dict__.get(database.alias) != file:
            database.close()
        # Looked up before the call connects: a file replaced meanwhile differs at the next look.
        _seen.__dict__[database.alias] = file


def _give_back(*, is_sound: bool) -> None:
    for database in connections.all(initialized_only=True):
        if _file_of(database) is None:
            database.close_if_unusable_or_obsolete()
        elif not is_sound or database.errors_occurred or not _is_as_configured(database):
            database.close()


def _is_as_configured(database: BaseDatabaseWrapper) -> bool:
    """Whether no transaction is open, nor opened by the next statement against the settings."""
    autocommit = database.settings_dict["AUTOCOMMIT"]
    return not database.in_atomic_block and database.autocommit == autocommit


def _file_of(database: BaseDatabaseWrapper) -> tuple[int, int] | None:
    """Which file the settings name now; None for other databases, in memory, and without one."""
    if database.vendor != "sqlite":
        return None
    name: Any = database.settings_dict["NAME"]
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino
