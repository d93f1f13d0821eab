"""Which engine runs a version, and this process's engines: the one engine module with Django."""

import asyncio
from collections.abc import Callable

from django.db import close_old_connections

from djsci import conf
from djsci.core.errors import IsolationUnavailable, SourceInvalid
from djsci.core.sources import Source
from djsci.models import PrivateFile, Version

from .base import Engine
from .fork import ForkEngine
from .kernel import KernelEngine
from .thread import ThreadEngine

_MAKERS: dict[str, Callable[[], Engine]] = {
    "fork": lambda: ForkEngine(
        size=conf.get("POOL")["size"],
        recycle=conf.get("POOL")["recycle"],
        preload=conf.get("POOL")["preload"] or (),
    ),
    "kernel": lambda: KernelEngine(
        size=conf.get("POOL")["size"],
        recycle=conf.get("POOL")["recycle"],
        preload=conf.get("POOL")["preload"] or (),
    ),
    "thread": lambda: ThreadEngine(
        conf.get("THREADS"), before=close_old_connections, after=close_old_connections
    ),
}


def choose(file: PrivateFile, version: Version, source: Source) -> tuple[str, str]:
    """The engine and the isolation level for a version of a file.

    `thread` is only for a version that a superuser trusts; a file that asks for it and is not
    trusted runs in a process of its own. Raises `IsolationUnavailable`, and `SourceInvalid` for a
    kernel that is not installed.
    """
    isolation = _isolation(file)
    wanted = file.settings.get("engine", "auto")
    if wanted == "thread" and file.trusted_version_id == version.pk:
        return "thread", isolation
    if source.language != "python" and source.kernel not in KernelEngine.kernelspecs():
        raise SourceInvalid(f"The notebook's kernel {source.kernel!r} is not installed here.")
    if wanted == "kernel" or source.needs_kernel or source.language != "python":
        return "kernel", isolation
    if wanted == "fork":
        return "fork", isolation
    return _configured(source.kind), isolation


def _configured(kind: str) -> str:
    """The engine that the site runs this kind of file in; never `thread`, which a file asks for."""
    name = conf.get("ENGINES").get(kind, "kernel")
    return name if name in _MAKERS and name != "thread" else "kernel"


def _isolation(file: PrivateFile) -> str:
    for wanted in (conf.get("ISOLATION"), file.settings.get("isolation", "auto")):
        if wanted not in ("auto", "process"):
            raise IsolationUnavailable(f"Isolation {wanted!r} is not available on this server.")
    return "process"


class Engines:
    """The engines of one executor, opened when first used."""

    def __init__(self) -> None:
        self._open: dict[str, Engine] = {}
        self._opening = asyncio.Lock()

    async def get(self, name: str) -> Engine:
        """The engine of this name, ready."""
        async with self._opening:
            if name not in self._open:
                engine = _MAKERS[name]()
                await engine.open()
                self._open[name] = engine
            return self._open[name]

    async def warm(self) -> None:
        """Make the site's own engines ready before the first run asks for them."""
        for name in sorted({_configured(kind) for kind in conf.get("ENGINES")}):
            await self.get(name)

    async def close(self) -> None:
        """Close all that were opened."""
        engines, self._open = list(self._open.values()), {}
        for engine in engines:
            await engine.close()
