"""Dispatcher `celery`: a bell is a broker's message that carries a run's id and nothing else."""

import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

import celery

from djsci import conf
from djsci.access.connections import borrowed

from . import rings
from .dispatch import Bell, Dispatcher

logger = logging.getLogger("djsci.dispatch")

TASK = "djsci.run"
PREFIX = "djsci."  # of the queues: `default` is `djsci.default` at the broker
_MOST_WAITING = 1000


class Celery(Dispatcher):
    """Publishes from a thread of its own: a broker that hangs holds nobody up."""

    is_local = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._waiting: queue.Queue[Bell] = queue.Queue()
        self._publisher = Publisher()

    def ring(self, bells: Sequence[Bell]) -> None:
        if not bells:
            return
        waiting = self._started()
        for bell in bells:
            try:
                waiting.put_nowait(bell)
            except queue.Full:  # the sweep rings it again
                self.failures += 1

    def _started(self) -> "queue.Queue[Bell]":
        """What the thread reads; both are made at first use, and anew after a fork."""
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._waiting = queue.Queue(_MOST_WAITING)
                self._publisher = Publisher()
                threading.Thread(target=self._publish, name="djsci-bells", daemon=True).start()
            return self._waiting

    def flush(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._waiting.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)

    def _publish(self) -> None:
        waiting, publisher = self._waiting, self._publisher
        while True:
            bells = [waiting.get()]
            try:
                publisher.publish(bells[0])
            except Exception as error:
                # Those behind it would fail too, each after its budget.
                while not waiting.empty():
                    bells.append(waiting.get_nowait())
                self._fail(bells, error)
            for _ in bells:
                waiting.task_done()

    def _fail(self, bells: list[Bell], error: Exception) -> None:
        self.failures += len(bells)
        logger.warning("%d bells were lost: %s: %s", len(bells), type(error).__name__, error)
        try:
            with borrowed():
                rings.unring([bell.run_id for bell in bells])
        except Exception as failure:  # they are rung again all the same, only later
            logger.warning("lost bells were not noted: %s", type(failure).__name__)


class Publisher:
    """One connection to the broker, of one thread; made anew when it fails."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._producer: Any = None

    def publish(self, bell: Bell) -> None:
        """Send it, once more on a new connection if a kept one is broken. Raises kombu's errors."""
        is_kept = self._producer is not None
        try:
            self._send(bell)
        except Exception:
            self._drop()
            if not is_kept:
                raise
            self._send_anew(bell)

    def _send_anew(self, bell: Bell) -> None:
        try:
            self._send(bell)
        except Exception:
            self._drop()
            raise

    def _send(self, bell: Bell) -> None:
        app = celery.current_app
        if self._producer is None:
            self._connection = _connection(app)
            self._producer = app.amqp.Producer(self._connection, auto_declare=False)
        app.send_task(
            TASK,
            args=[bell.run_id],
            queue=PREFIX + bell.queue,
            producer=self._producer,
            serializer="json",
            ignore_result=True,
            retry=False,
            confirm_timeout=conf.intervals.ring_budget,
        )

    def _drop(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.collect(conf.intervals.ring_budget)
            except Exception as error:
                logger.debug("a broken connection did not close: %s", type(error).__name__)


def _connection(app: Any) -> Any:
    """A connection of which no step takes longer than the budget, whatever the broker does."""
    seconds = conf.intervals.ring_budget
    options = {
        "redis": {"socket_timeout": seconds, "socket_connect_timeout": seconds},
        "amqp": {"read_timeout": seconds, "write_timeout": seconds, "confirm_publish": True},
    }
    kind = app.connection_for_write().transport.driver_type
    return app.connection_for_write(
        connect_timeout=seconds, transport_options=options.get(kind, {})
    )
