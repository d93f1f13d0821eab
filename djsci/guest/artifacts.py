"""Files that a run leaves in its folder, or hands over, become its artifacts: named and bounded."""

import os
import re
import stat
import threading
import unicodedata
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from .frames import PART
from .quota import DEPTH, LONGEST_PART, Quota, named, refusal
from .responses import BYTES

LOCAL = "DJSCI_LOCAL"  # a variable that `djsci run` sets: home and files stay the user's own
ENTRIES = 10_000  # of the folder that are looked at
NAMED = 20  # of what was left out, in the log
_TEMPORARY = re.compile(r"tmp[a-z0-9_]{8}.*", re.DOTALL)
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)

Send = Callable[[dict[str, Any]], None]
SendBytes = Callable[[str, Iterator[bytes]], None]  # a name, and pieces of at most `PART` bytes
Mark = tuple[int, int, int, int]


class Artifacts:
    """The artifacts of one run: what was in `folder` when this was made is none of them.

    On the user's own machine a companion that was written to is one: the next run reads it there.
    """

    def __init__(self, folder: str, *, send: Send, send_bytes: SendBytes, limit: int) -> None:
        self.folder = folder
        self._send = send
        self._send_bytes = send_bytes
        self._quota = Quota(limit)
        self._lock = threading.RLock()
        self._handed: set[Mark] = set()
        self._known = {path: _mark_at(path) for path, _ in self._entries()}
        self._keeps_changed = LOCAL in os.environ

    def add(self, what: Any, name: str | None = None) -> None:
        """Send bytes, or the file at a path, at once. Over the limit it is said in the log."""
        if isinstance(what, BYTES):
            if name is None:
                raise ValueError("bytes need a name: djsci.artifact(data, 'plot.png')")
            data = memoryview(what).cast("B")
            pieces = (bytes(data[at : at + PART]) for at in range(0, len(data), PART))
            reason = self._take(named(name), len(data), pieces)
        else:
            path = os.path.abspath(os.fspath(what))
            name = named(self._name(path) if name is None else name)
            descriptor, status = _open(path, follows=True)
            try:
                reason = self._take(name, status.st_size, _pieces(descriptor, status.st_size))
            finally:
                os.close(descriptor)
            self._handed.add(_mark(status))
        if reason is not None:
            self._warn([(name, reason)])

    def collect(self) -> None:
        """Send what the run has left in its folder; name what cannot be sent."""
        left_out: list[tuple[str, str]] = []
        for path, reason in self._entries():
            is_changed = self._keeps_changed and self._known.get(path) != _mark_at(path)
            if path not in self._known or is_changed:
                name = os.path.relpath(path, self.folder)
                reason = reason or self._leave(path, unicodedata.normalize("NFC", name))
                if reason:
                    left_out.append((name, reason))
        if left_out:
            self._warn(left_out)

    def _leave(self, path: str, name: str) -> str | None:
        reason = refusal(name)
        if reason is not None:
            return reason
        try:
            descriptor, status = _open(path, follows=False)
        except ValueError as error:
            return str(error)
        except OSError as error:
            return error.strerror or "it cannot be read"
        try:
            if _mark(status) in self._handed:
                return None
            return self._take(name, status.st_size, _pieces(descriptor, status.st_size))
        finally:
            os.close(descriptor)

    def _take(self, name: str, size: int, pieces: Iterator[bytes]) -> str | None:
        with self._lock:
            reason = self._quota.take(name, size)
            if reason is None:
                self._send_bytes(name, pieces)
            return reason

    def _name(self, path: str) -> str:
        """As a file of the folder is called in it, else the last part of the path."""
        inside = os.path.relpath(path, self.folder)
        return os.path.basename(path) if inside.startswith("..") else inside

    def _warn(self, left_out: list[tuple[str, str]]) -> None:
        names = [f"{name[:LONGEST_PART]!r} ({why})" for name, why in left_out[:NAMED]]
        if len(left_out) > NAMED:
            names.append(f"and {len(left_out) - NAMED} more")
        text = f"Left out of the artifacts: {', '.join(names)}."
        fields = {"left_out": len(left_out)}
        self._send({"type": "log", "level": "warning", "message": text, "fields": fields})

    def _entries(self) -> Iterator[tuple[str, str | None]]:
        """The paths in the folder, but for hidden ones, caches and temporary files.

        With each, why it is no artifact whatever it is, if that is known.
        """
        has_temporary = os.environ.get("TMPDIR") == self.folder
        waiting, seen = [self.folder], 0
        while waiting:
            try:
                with os.scandir(waiting.pop()) as found:
                    entries = sorted(islice(found, ENTRIES + 1), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                if entry.name[0] == "." or entry.name == "__pycache__":
                    continue
                if has_temporary and _TEMPORARY.fullmatch(entry.name):
                    continue
                seen += 1
                if seen > ENTRIES:
                    yield entry.path, f"more than {ENTRIES} files are in the folder"
                    return
                if not entry.is_dir(follow_symlinks=False):
                    yield entry.path, None
                elif not os.access(entry.path, os.R_OK | os.X_OK):
                    yield entry.path, "the folder cannot be read"
                elif os.path.relpath(entry.path, self.folder).count("/") < DEPTH:
                    waiting.append(entry.path)
                else:
                    yield entry.path, f"it lies more than {DEPTH} folders deep"


def keep_here(what: Any, name: str | None) -> tuple[str, int]:
    """Where there is no run: bytes become a file here, which a run would leave as an artifact."""
    if not isinstance(what, BYTES):
        return named(os.path.basename(os.fspath(what)) if name is None else name), _size(what)
    if name is None:
        raise ValueError("bytes need a name: djsci.artifact(data, 'plot.png')")
    folder = os.path.dirname(named(name))
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(name, "wb") as file:
        return name, file.write(what)


def _size(path: Any) -> int:
    descriptor, status = _open(os.fspath(path), follows=True)
    os.close(descriptor)
    return status.st_size


def _open(path: str, *, follows: bool) -> tuple[int, os.stat_result]:
    """A regular file, open for reading. Nothing else is opened: that might wait, or do something.

    Raises `OSError`; `ValueError` that says what it is.
    """
    _require_regular(os.stat(path, follow_symlinks=follows))
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags if follows else flags | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        _require_regular(status)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "a device")
        raise ValueError(f"it is {kind}, not a file")


def _pieces(descriptor: int, size: int) -> Iterator[bytes]:
    """What the file held when it was opened, if it grows."""
    while size > 0 and (piece := os.read(descriptor, min(PART, size))):
        size -= len(piece)
        yield piece


def _mark_at(path: str) -> Mark | None:
    try:
        return _mark(os.lstat(path))
    except OSError:
        return None


def _mark(status: os.stat_result) -> Mark:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
