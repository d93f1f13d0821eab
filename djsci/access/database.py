"""One bounded pool of threads for the database, and how a transaction begins to write."""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connection, connections, transaction

from djsci.models import PrivateFile

P = ParamSpec("P")
T = TypeVar("T")

DB_POOL = ThreadPoolExecutor(8, thread_name_prefix="djsci-db")
FILES_POOL = ThreadPoolExecutor(4, thread_name_prefix="djsci-files")


def _fresh(function: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return function()
    finally:
        close_old_connections()


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a sync function that queries; a transaction is one such function."""
    call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(DB_POOL, _fresh, call)


async def in_files(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a sync function that reads or writes files, parses or takes seconds of CPU."""
    call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(FILES_POOL, _fresh, call)


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
    """Close the connections that the pools' threads hold; nobody may be using them."""
    for pool in (DB_POOL, FILES_POOL):
        for future in [pool.submit(connections.close_all) for _ in range(pool._max_workers)]:
            future.result()
