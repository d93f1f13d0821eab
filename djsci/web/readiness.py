"""What this process needs to serve, and what others lack: each asked in a thread of its own."""

import asyncio
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from django.core.files.storage import FileSystemStorage
from django.db import connection, connections

from djsci import blobs
from djsci.models import Run
from djsci.runs import dispatch, doorbell, draining, executor, load

OWN = ("database", "draining", "storage", "spool")  # without one of these nothing can be served
_KEPT_SECONDS = 1.0
_CHECK_SECONDS = 1.0
_OLDEST_SECONDS = 60.0
_LEAST_DISK = 0.05

_lock = threading.Lock()
_asked: "dict[str, Future[str]]" = {}
_kept: tuple[float, dict[str, str]] = (0.0, {})


async def checked() -> dict[str, str]:
    """Each check's name with what is wrong, or ''; kept for a second."""
    global _kept
    until, found = _kept
    if time.monotonic() >= until:
        names = list(_CHECKS)
        reasons = await asyncio.gather(*(_check(name) for name in names))
        found = dict(zip(names, reasons, strict=True))
        _kept = (time.monotonic() + _KEPT_SECONDS, found)
    return found


def forget() -> None:
    """Ask anew at the next look; what hangs is left to itself, as after a fork."""
    global _kept, _lock
    _kept, _lock = (0.0, {}), threading.Lock()
    _asked.clear()


os.register_at_fork(after_in_child=forget)


async def _check(name: str) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await asyncio.wrap_future(_ask(name))
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} s"
    except Exception as error:
        return type(error).__name__


def _ask(name: str) -> "Future[str]":
    """The check's answer to come. One that hangs is waited for again, never begun twice."""
    with _lock:
        earlier = _asked.get(name)
        if earlier is not None and not earlier.done():
            return earlier
        answer: Future[str] = Future()
        _asked[name] = answer
        answer.set_running_or_notify_cancel()  # who gives up waiting must not break the thread
    work = (_CHECKS[name], answer)
    threading.Thread(target=_answer, args=work, name="djsci-check", daemon=True).start()
    return answer


def _answer(check: Callable[[], str], answer: "Future[str]") -> None:
    try:
        said = check()
    except Exception as error:
        said = type(error).__name__
    finally:
        with suppress(Exception):  # of a connection that is broken: the answer must come
            connections.close_all()
    answer.set_result(said)


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return ""


def _draining() -> str:
    current = executor.current()
    is_going = draining.is_announced() or (current is not None and current.is_draining)
    return "shutting down" if is_going else ""


def _storage() -> str:
    blobs.try_storage()
    return ""


def _spool() -> str:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(4096))
        file.flush()
    return ""


def _executors() -> str:
    """Whether somebody serves every queue in which runs wait."""
    served: set[str] = set()
    for queues in load.living().filter(is_draining=False).values_list("queues", flat=True):
        served.update(queues)
    waiting = set(Run.objects.filter(state="queued").values_list("queue", flat=True).distinct())
    missing = sorted(waiting - served)
    return f"nobody serves {', '.join(missing)}" if missing else ""


def _queue() -> str:
    """Whether runs that no limit holds back are kept waiting."""
    age = max((queue.age for queue in load.queues()), default=0.0)
    return f"a run has waited for {age:.0f} s" if age > _OLDEST_SECONDS else ""


def _disk() -> str:
    folders = {tempfile.gettempdir()}
    storage = blobs.storage()
    if isinstance(storage, FileSystemStorage):
        folders.add(storage.path(""))
    for folder in sorted(filter(os.path.isdir, folders)):
        usage = shutil.disk_usage(folder)
        if usage.free < usage.total * _LEAST_DISK:
            return f"{usage.free} bytes are free at {folder}"
    return ""


def _layer() -> str:
    doorbell.try_layer(_CHECK_SECONDS)
    return ""


def _broker() -> str:
    dispatch.current().reach()
    return ""


def _threads() -> str:
    """Whether ended runs still hold threads: nothing can kill one."""
    current = executor.current()
    stocks = current.stock().values() if current is not None else ()
    abandoned = sum(stock.abandoned for stock in stocks)
    return f"{abandoned} abandoned threads have not returned" if abandoned else ""


_CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "draining": _draining,
    "storage": _storage,
    "spool": _spool,
    "executors": _executors,
    "queue": _queue,
    "disk": _disk,
    "layer": _layer,
    "broker": _broker,
    "threads": _threads,
}
