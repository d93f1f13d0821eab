"""Environments of PEP 723 headers: installed ahead of a run, from wheels only, and kept on disk.

Nothing of what is installed runs here. An environment is finished when its mark is written beside
it, last of all; a lock beside both is shared by runs that use it, and is one's own while it is made
or removed.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from djsci.core.requirements import Requirements
from djsci.isolation import python
from djsci.isolation.python import Python

from . import installed, installing
from .installing import InstallFailed, Site

LOOK = 0.1  # seconds between two looks at a lock that another has
FORMAT = 1  # of what is made; another one makes all anew
OF_NOTEBOOKS = ("ipython", "matplotlib-inline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One that is there, or can be made: what is to be in it, of which Python, and from where."""

    packages: tuple[str, ...]
    base: Python
    site: Site

    @property
    def folder(self) -> Path:
        """Its place: the same for all that ask for the same."""
        site = self.site
        told = [FORMAT, self.packages, self.base.program, self.base.version, site.index]
        key = hashlib.sha256(json.dumps([*told, site.find_links]).encode()).hexdigest()
        return Path(site.folder, key[:32])

    @property
    def python(self) -> Python:
        return python.guarded(str(self.folder), self.base)

    @property
    def mark(self) -> Path:
        return _mark(self.folder)

    @property
    def is_ready(self) -> bool:
        return self.mark.exists()


def wanted(requirements: Requirements, site: Site, *, is_notebook: bool) -> Environment:
    """What the header of a file asks for. Raises `OSError` where no Python here is one of those."""
    more = OF_NOTEBOOKS if is_notebook else ()
    packages = tuple(sorted({*requirements.dependencies, *more}))
    versions = []
    for place in dict.fromkeys((sys.executable, *site.pythons)):
        base = python.find(place)
        if requirements.takes(base.version):
            return Environment(packages=packages, base=base, site=site)
        versions.append(base.version)
    raise OSError(
        f"the file asks for Python {requirements.python}; there is {' and '.join(versions)}"
    )


def default_folder() -> str:
    """Where they are kept if nothing else is said."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(cache, "djsci", "environments"))


@contextlib.asynccontextmanager
async def used(
    environment: Environment, *, on_install: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Have it ready, and there until the end. Raises `InstallFailed`, `OSError`.

    Of all who want it at once, in any process, one installs it, or fails for all of them; who is
    cancelled leaves nothing.
    """
    began = time.time()
    await asyncio.to_thread(_make_root, Path(environment.site.folder))
    with _lock_file(environment.folder) as lock:
        while True:
            how = fcntl.LOCK_SH if environment.is_ready else fcntl.LOCK_EX
            if not _try(lock, how):
                await asyncio.sleep(LOOK)
            elif how == fcntl.LOCK_SH and environment.is_ready:
                break
            elif how == fcntl.LOCK_EX and not environment.is_ready:
                _raise_failure(lock, since=began)
                await on_install()
                await _make(environment, lock)
        os.utime(environment.mark)
        yield


async def _make(environment: Environment, lock: int) -> None:
    folder = environment.folder
    await asyncio.to_thread(_begin, folder)
    try:
        await asyncio.to_thread(_make_room, environment.site)
        await installing.install(
            environment.packages, folder, environment.base, environment.site, lock=lock
        )
        size = await asyncio.to_thread(installing.size_of, folder)
        _write_mark(environment.mark, environment.packages, size)
        installed.forget(environment.python.packages)
    except BaseException as error:
        # Not awaited in a thread: who is cancelled may be cancelled again.
        _remove(folder)
        if isinstance(error, InstallFailed):
            _note_failure(lock, str(error))
        raise


def _note_failure(lock: int, reason: str) -> None:
    """In the lock's file, for those who wait for it."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, reason.encode(), 0)


def _raise_failure(lock: int, *, since: float) -> None:
    """Whether it failed while we waited: nobody waits for the same to fail once more."""
    found = os.fstat(lock)
    if found.st_size and found.st_mtime >= since:
        raise InstallFailed(os.pread(lock, found.st_size, 0).decode())


def _begin(folder: Path) -> None:
    _remove(folder)
    folder.mkdir()
    folder.chmod(0o755)  # whatever the server's umask is: runs are others


def _mark(folder: Path) -> Path:
    """Beside the folder, where wheels put nothing."""
    return Path(f"{folder}.json")


def _write_mark(mark: Path, packages: tuple[str, ...], size: int) -> None:
    written = mark.with_suffix(".new")
    written.write_text(json.dumps({"packages": packages, "size": size}, indent=2))
    with open(written, "rb") as file:
        os.fsync(file.fileno())
    written.rename(mark)


def _make_room(site: Site) -> None:
    """Remove what was used longest ago, until one more has room. Raises `InstallFailed`."""
    found = {}
    for mark in _marks(site.folder):
        with contextlib.suppress(FileNotFoundError):  # it has just been removed
            found[mark] = json.loads(mark.read_text())["size"]
    for mark in list(found):
        if sum(found.values()) + site.size <= site.total:
            return
        folder = mark.with_suffix("")
        with _lock_file(folder) as lock:
            if _try(lock, fcntl.LOCK_EX):
                _remove(folder)
                del found[mark]
    if sum(found.values()) + site.size > site.total:
        raise InstallFailed("no room is left: runs use all environments that are kept")


def _marks(root: str) -> list[Path]:
    """Of all that are ready; what was used longest ago is first."""
    return sorted(Path(root).glob("*.json"), key=lambda mark: _last_used(mark.with_suffix("")))


def purge(root: str, *, days: float, most: int = 1 << 30, rehearses: bool = False) -> int:
    """Remove what no run has used for `days`, and what was never finished; how many went.

    `rehearses`: they stay.
    """
    went = 0
    for folder in sorted(path for path in Path(root).glob("*") if path.is_dir()):
        if went < most and _last_used(folder) < time.time() - days * 86400:
            with _lock_file(folder) as lock:
                if _try(lock, fcntl.LOCK_EX) and _last_used(folder) < time.time() - days * 86400:
                    if not rehearses:
                        _remove(folder)
                    went += 1
    return went


def _last_used(folder: Path) -> float:
    """When it was last asked for; never, where it is not finished: then its lock says all."""
    try:
        return _mark(folder).stat().st_mtime
    except OSError:
        return 0.0


def _remove(folder: Path) -> None:
    _mark(folder).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _make_root(root: Path) -> None:
    """Others may read it, and nobody but us may write: it holds programs. Raises `OSError`."""
    if not root.is_absolute():
        raise OSError(f"the folder of environments, {root}, is not named in full")
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    found = root.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError("the folder of environments is not ours alone to write")


@contextlib.contextmanager
def _lock_file(folder: Path) -> Iterator[int]:
    lock = os.open(f"{folder}.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield lock
    finally:
        os.close(lock)


def _try(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
