"""Celery's side of djsci: the one task, and a worker's start and end.

celery -A asgi_project worker -P threads -c 4 -Q djsci.default --without-gossip --without-mingle
"""

import logging
import os
import signal
import sys
import time
from typing import Any

from celery import concurrency, shared_task, signals
from celery.concurrency.thread import TaskPool
from celery.worker import state

from . import conf
from .runs import executor
from .runs.bells import PREFIX, TASK

logger = logging.getLogger("djsci.tasks")

_LOOK = 0.2  # seconds
REFUSED = """\
This worker serves {queues} with the pool {pool}, whose children hear of no shutdown.
Start it with threads, of which each waits for a run in a process of its own:

    celery -A PROJECT worker -P threads -c 4 -Q {queues}
"""


@shared_task(name=TASK, acks_late=True, ignore_result=True)  # type: ignore[untyped-decorator]
def run(run_id: str) -> None:
    """The run itself: claim its lease, execute it to its end. A refused claim returns at once."""
    executor.start().execute(run_id)


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def refuse_other_pools(sender: Any, **kwargs: Any) -> None:
    """Only threads share the executor that holds the leases and hears the shutdown."""
    pool: Any = concurrency.get_implementation(sender.pool_cls)
    if queues_of(sender) and not issubclass(pool, TaskPool):
        queues = ",".join(PREFIX + queue for queue in queues_of(sender))
        name = pool.__module__.rpartition(".")[2]
        sys.stderr.write(REFUSED.format(queues=queues, pool=name))
        raise SystemExit(64)  # EX_USAGE; Celery swallows any Exception


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def start_executor(sender: Any, **kwargs: Any) -> None:
    """Slots are the worker's `-c`, queues its `-Q`."""
    worker = sender.controller
    if queues := queues_of(worker):
        role = executor.Role(executes=True, slots=worker.concurrency, queues=queues)
        executor.start(role).warm()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def drain(sig: str, **kwargs: Any) -> None:
    """Celery waits for its tasks without a limit; the executor ends them after `DRAIN`."""
    if sig == "SIGINT" and executor.current():
        # Celery's own second Ctrl-C first waits, then drops the bells of what still runs.
        signal.signal(signal.SIGINT, lambda *_: executor.drain_soon())
    executor.drain_soon(leave)


def leave() -> None:
    """Do not wait for a broker that hangs: Celery would, for ever, with nothing left to do."""
    quiet = 0.0
    while quiet < conf.intervals.leave:
        time.sleep(_LOOK)
        quiet = 0.0 if state.active_requests else quiet + _LOOK  # other tasks of the project
    logger.warning("the broker does not answer; leaving without it")
    executor.stop()
    os._exit(0)


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def stop(**kwargs: Any) -> None:
    """Every task has returned."""
    executor.stop()


def queues_of(worker: Any) -> tuple[str, ...]:
    """Those of djsci's queues that the worker consumes, without their prefix."""
    names = worker.app.amqp.queues.consume_from
    return tuple(sorted(name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)))
