"""Temporary folders of this process; those of processes that died are removed by the next one.

A folder is held by a lock on a file in it. The system lets the lock go when its process ends,
however it ends, so a folder whose lock is free belongs to nobody.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "djsci-"
_LOCK = ".lock"
_held: dict[Path, int] = {}


def make(parent: str | None = None) -> Path:
    """A new 0700 folder below `parent`, held until `remove` or this process's end."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        if _is_locked(lock) and (folder / _LOCK).exists():
            _held[folder] = lock
            return folder
        os.close(lock)  # another process took it for an abandoned one just now


def remove(folder: Path) -> None:
    """Remove a folder that `make` made, with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    lock = _held.pop(folder, None)
    if lock is not None:
        os.close(lock)


def remove_abandoned(parent: str | None = None, *, rehearses: bool = False) -> int:
    """Remove our user's folders whose process has ended; how many there were.

    `rehearses`: they are counted, and stay.
    """
    removed = 0
    for path in Path(parent or tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):
            removed += _remove_if_abandoned(path, rehearses=rehearses)
    return removed


def _remove_if_abandoned(path: Path, *, rehearses: bool) -> bool:
    if path.parent in _held or path.parent.lstat().st_uid != os.geteuid():
        return False
    lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if not _is_locked(lock):
            return False
        if not rehearses:
            shutil.rmtree(path.parent, ignore_errors=True)
        return True
    finally:
        os.close(lock)


def _is_locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
