"""This process's engines: made of a choice and the site's settings, opened when first used."""

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypedDict

from django.conf import settings
from django.db import close_old_connections

from djsci import conf
from djsci.core.errors import IsolationUnavailable

from .base import Engine, Stock
from .elsewhere import ELSEWHERE
from .fork import ForkEngine, SpawnEngine
from .ground import Project
from .kernel import KernelEngine
from .registry import Choice, configured, level, python_of, uid_range
from .thread import ThreadEngine
from .warm import WarmEngine

MOST = 8  # engines with installed libraries that are kept open


class Bounds(TypedDict):
    """What the site's settings say of every walled run."""

    pids: int
    uids: tuple[int, int]


def _fork(choice: Choice) -> Engine:
    pool = conf.get("POOL")
    given: dict[str, Any] = {
        "python": choice.installs.python if choice.installs else python_of(choice.environment),
        "has_network": choice.has_network,
        **_bounds(),
    }
    if choice.isolation == "container":
        given |= {"preload": pool["preload"] or (), "recycle": pool["recycle"], **_contained()}
    elif choice.is_trusted or choice.instance == "warm" or pool["preload"] is not None:
        return _forked(choice, given)
    return SpawnEngine(size=_size(choice), isolation=choice.isolation, **given)


def _forked(choice: Choice, given: dict[str, Any]) -> Engine:
    pool = conf.get("POOL")
    is_warm = choice.instance == "warm"
    return (WarmEngine if is_warm else ForkEngine)(
        size=0 if is_warm else _size(choice),  # templates are kept; a fork starts the next one
        recycle=pool["recycle"],
        preload=pool["preload"] or (),
        isolation=choice.isolation,
        project=_project() if choice.is_trusted else None,
        **given,
    )


def _size(choice: Choice) -> int:
    """Workers that wait. None of an installed environment: its `.pth` files and `sitecustomize` are
    an uploader's code, which without a run nobody could see, bound or end.
    """
    return 0 if choice.installs else int(conf.get("POOL")["size"])


def _kernel(choice: Choice) -> Engine:
    pool = conf.get("POOL")
    return KernelEngine(
        size=0 if choice.isolation == ELSEWHERE else pool["size"],
        recycle=pool["recycle"],
        preload=pool["preload"] or (),
        isolation=choice.isolation,
        **_bounds(),
    )


def _thread(_: Choice) -> Engine:
    return ThreadEngine(
        conf.get("THREADS"), before=close_old_connections, after=close_old_connections
    )


_MAKERS: dict[str, Callable[[Choice], Engine]] = {
    "fork": _fork,
    "kernel": _kernel,
    "thread": _thread,
}


def _bounds() -> Bounds:
    return {"pids": conf.get("PIDS_LIMIT"), "uids": uid_range()}


def _contained() -> dict[str, Any]:
    longest = float(conf.get("TIMEOUT") + conf.get("GRACE"))
    return {
        "container": conf.container(),
        "memory": conf.get("MEMORY_LIMIT"),
        "longest": longest,
    }


def _project() -> Project:
    module = getattr(settings, "SETTINGS_MODULE", None)
    if not module:
        raise IsolationUnavailable("Trusted versions need a settings module, as manage.py has one.")
    folder = os.getcwd()
    return Project(
        environment={**os.environ, "DJANGO_SETTINGS_MODULE": module},
        paths=[path or folder for path in sys.path],
        folder=folder,
    )


class Engines:
    """The engines of one executor, opened when first used.

    Of those with installed libraries at most `MOST` are kept: of who is idle, the one that was used
    longest ago is closed.
    """

    def __init__(self) -> None:
        self._open: dict[Choice, Engine] = {}  # those used last are last
        self._used: Counter[Choice] = Counter()
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def used(self, choice: Choice) -> AsyncIterator[Engine]:
        """The engine for this choice, open until the end. Raises `IsolationUnavailable`."""
        self._used[choice] += 1
        try:
            yield await self.get(choice)
        finally:
            self._used[choice] -= 1
            if not self._used[choice]:
                del self._used[choice]

    async def get(self, choice: Choice) -> Engine:
        """The engine for this choice, ready. Raises `IsolationUnavailable`."""
        if choice.engine == "thread":
            choice = replace(choice, isolation="process")
        async with self._opening:
            engine = self._open.pop(choice, None)
            if engine is None:
                engine = _MAKERS[choice.engine](choice)
                await engine.open()
            self._open[choice] = engine
            idle = self._surplus()
        for each in idle:
            await each.close()
        return engine

    def _surplus(self) -> list[Engine]:
        kept = [choice for choice in self._open if choice.installs]
        idle = [choice for choice in kept[:-1] if not self._used[choice]]
        return [self._open.pop(choice) for choice in idle[: max(0, len(kept) - MOST)]]

    def stock(self) -> dict[Choice, Stock]:
        """What each open engine has in its hands; from any thread."""
        return {choice: engine.stock() for choice, engine in list(self._open.items())}

    async def warm(self) -> None:
        """Make the site's own engines ready before the first run asks for them."""
        isolation = await asyncio.to_thread(level)
        for name in sorted({configured(kind) for kind in conf.get("ENGINES")}):
            await self.get(Choice(engine=name, isolation=isolation))

    async def close(self) -> None:
        """Close all that were opened."""
        engines, self._open = list(self._open.values()), {}
        for engine in engines:
            await engine.close()
