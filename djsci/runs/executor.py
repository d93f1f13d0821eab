"""The part of a process that executes runs: this process's executor, started, told and stopped."""

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from django.core.exceptions import ImproperlyConfigured

from djsci import conf
from djsci.access.database import close_connections

from . import dispatch
from .executing import Executor
from .role import SERVER, SWEEPER, Role

__all__ = [
    "Executor",
    "Role",
    "admitting",
    "cancel",
    "current",
    "drain",
    "drain_soon",
    "start",
    "stop",
]

logger = logging.getLogger("djsci.executor")

_lock = threading.Lock()
_current: Executor | None = None


def start(role: Role | None = None) -> Executor:
    """This process's executor; made at the first call, and anew after a fork.

    `role` None: a serving process's, which the dispatcher decides.
    """
    global _current
    with _lock:
        if _current is None or _current.pid != os.getpid():
            _current = Executor(role or (SERVER if dispatch.current().is_local else SWEEPER))
        return _current


def current() -> Executor | None:
    """The executor, if this process has started one."""
    return _current if _current is not None and _current.pid == os.getpid() else None


@contextmanager
def admitting() -> Iterator[Executor | None]:
    """This process's executor, if it may take what is admitted meanwhile; its drain waits."""
    executor = current()
    if executor is None or not dispatch.current().is_local:
        yield None
        return
    with executor.admitting() as may_take:
        yield executor if may_take else None


def cancel(run_id: str, *, force: bool) -> None:
    """Tell this process's executor, if there is one."""
    executor = current()
    if executor is not None:
        executor.cancel(run_id, force=force)


def drain(timeout: float) -> bool:
    """Drain and stop this process's executor; True when every run ended."""
    executor = current()
    return executor is None or executor.drain(timeout)


def drain_soon(then: Callable[[], None] = lambda: None) -> None:
    """Begin to drain without waiting, and call `then`; for signal handlers.

    A second call only skips the waiting.
    """
    executor = current()
    if executor is None:
        return
    if executor.is_draining:
        executor.hurry()
        return
    executor.is_draining = True
    work = (executor, then)
    threading.Thread(target=_drain, args=work, name="djsci-drain", daemon=True).start()


def _drain(executor: Executor, then: Callable[[], None]) -> None:
    patience = float(conf.get("DRAIN"))
    logger.info("draining: at most %g s for what runs; a second signal skips that", patience)
    executor.drain(patience)
    then()


def stop() -> None:
    """End this process's executor and close the pools' connections; `start` makes a new one."""
    global _current
    executor = current()
    if executor is not None:
        executor.stop()
        _current = None
    dispatch.current().close(conf.intervals.ring_budget)
    close_connections()


def _drain_fast() -> None:
    """Under a server that is not ours: children killed, ends written, before pools are closed."""
    executor = current()
    if executor is not None:
        executor.drain(0)
    with suppress(ImproperlyConfigured, ImportError):  # with such settings nothing ever ran
        stop()


_register = getattr(threading, "_register_atexit", atexit.register)
_register(_drain_fast)
