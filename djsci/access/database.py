"""One bounded pool of threads for the database, and how a transaction begins to write."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import connection, connections, transaction

from djsci import conf
from djsci.core.errors import NoCapacity
from djsci.models import PrivateFile

from .connections import borrowed

P = ParamSpec("P")
T = TypeVar("T")

_has_left: contextvars.ContextVar[threading.Event] = contextvars.ContextVar("has_left")
TURN = 5.0  # seconds that a thread waits for its turn; without it, it tries its luck
CLOSING = 2.0  # seconds that a busy thread gets to come and close what it keeps


def _make_pools() -> None:
    """After a fork anew: the parent's threads, and what they hold, are not ours."""
    global DB_POOL, FILES_POOL, _turn
    _turn = threading.RLock()
    DB_POOL = ThreadPoolExecutor(8, thread_name_prefix="djsci-db")
    FILES_POOL = ThreadPoolExecutor(4, thread_name_prefix="djsci-files")


DB_POOL: ThreadPoolExecutor
FILES_POOL: ThreadPoolExecutor
_turn: threading.RLock
_make_pools()
os.register_at_fork(after_in_child=_make_pools)


def _fresh(function: Callable[[], T]) -> T:
    with borrowed():
        return function()


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a sync function that queries; a transaction is one such function."""
    call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(DB_POOL, _fresh, call)


async def in_database_soon(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for a caller who waits: a server that is stopped answers nothing, and no error.

    SQLite needs no such limit: it has its own, `timeout`, and where many wait they have their turn.
    Raises `NoCapacity` after `database_answer` seconds. What the function then still does counts
    for nobody, so one that writes asks `require_asker` before its transaction ends.
    """
    has_left = threading.Event()
    token = _has_left.set(has_left)
    try:
        most = None if connection.vendor == "sqlite" else conf.intervals.database_answer
        async with asyncio.timeout(most) as patience:
            return await in_database(function, *args, **kwargs)
    except TimeoutError:
        if not patience.expired():
            raise
        has_left.set()
        raise NoCapacity("The database does not answer; try again.", retry_after=5) from None
    finally:
        _has_left.reset(token)


def require_asker() -> None:
    """Raises `NoCapacity`, so that nothing is committed, once nobody waits for it any more."""
    has_left = _has_left.get(None)
    if has_left is not None and has_left.is_set():
        raise NoCapacity


async def in_files(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a sync function that reads or writes files, parses or takes seconds of CPU."""
    call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(FILES_POOL, _fresh, call)


@contextmanager
def taking_turns() -> Iterator[None]:
    """A transaction of those that all runs take, with a `with` or as a decorator.

    SQLite lets whoever looks at the right moment write next, and who has no luck for its `timeout`
    finds it locked. So this process's threads take turns, and only processes are left to luck.
    """
    if connection.vendor != "sqlite":
        with transaction.atomic():
            yield
        return
    is_ours = _turn.acquire(timeout=TURN)
    try:
        with transaction.atomic():
            yield
    finally:
        if is_ours:
            _turn.release()


@contextmanager
def writing() -> Iterator[None]:
    """A transaction that may read first, with a `with` or as a decorator.

    SQLite's default transactions take the write lock at their first write, and that write fails
    at once, whatever the timeout, when somebody has written since the first read. So an UPDATE
    that finds no row comes first.
    """
    with transaction.atomic():
        if connection.vendor == "sqlite":
            PrivateFile.objects.filter(pk="").update(name=None)
        yield


def close_connections() -> None:
    """Have each thread of the pools close what it keeps; who uses them later opens new ones."""
    for pool in (DB_POOL, FILES_POOL):
        threads = len(pool._threads)
        if not threads:
            continue
        together = threading.Barrier(threads)  # else a quick thread would take two turns
        with suppress(RuntimeError):  # the pool was shut down
            wait([pool.submit(_close_own, together) for _ in range(threads)], timeout=2 * CLOSING)


def _close_own(together: threading.Barrier) -> None:
    connections.close_all()
    with suppress(threading.BrokenBarrierError):
        together.wait(CLOSING)
