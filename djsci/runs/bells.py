"""Dispatcher `celery`: a bell is a broker's message that carries a run's id and nothing else."""

import logging
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import celery
from django.db import connections

from djsci import conf
from djsci.access.connections import borrowed

from . import rings
from .dispatch import Bell, Dispatcher

logger = logging.getLogger("djsci.dispatch")

TASK = "djsci.run"
PREFIX = "djsci."  # of the queues: `default` is `djsci.default` at the broker
_MOST_WAITING = 1000
Waiting = queue.Queue[Bell | None]  # None: nothing comes any more


class Celery(Dispatcher):
    """Publishes from a thread of its own: a broker that hangs holds nobody up."""

    is_local = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._thread: threading.Thread | None = None
        self._waiting: Waiting = queue.Queue()

    def ring(self, bells: Sequence[Bell]) -> None:
        if not bells:
            return
        waiting = self._started()
        for bell in bells:
            try:
                waiting.put_nowait(bell)
            except queue.Full:  # the sweep rings it again
                self.failures += 1

    def close(self, seconds: float) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            self._waiting.put(None)
            thread.join(seconds)

    def _started(self) -> "Waiting":
        """What the thread reads; both are made at first use, and anew after a fork."""
        with self._lock:
            thread = self._thread
            if thread is None or not thread.is_alive() or self._pid != os.getpid():
                self._pid = os.getpid()
                self._waiting = queue.Queue(_MOST_WAITING)
                work = (self._waiting, Publisher())
                self._thread = threading.Thread(
                    target=self._publish, args=work, name="djsci-bells", daemon=True
                )
                self._thread.start()
            return self._waiting

    def reach(self) -> None:
        connection = _connection(celery.current_app)
        try:
            connection.connect()
        finally:
            connection.collect(conf.intervals.ring_budget)

    def _publish(self, waiting: "Waiting", publisher: "Publisher") -> None:
        while (bell := waiting.get()) is not None:
            try:
                publisher.publish(bell)
            except Exception as error:
                # Those behind it would fail too, each after its budget.
                self._fail([bell, *_taken(waiting)], error)
        publisher.close()

    def _fail(self, bells: list[Bell], error: Exception) -> None:
        self.failures += len(bells)
        logger.warning("%d bells were lost: %s: %s", len(bells), type(error).__name__, error)
        try:
            with borrowed():
                rings.unring([bell.run_id for bell in bells])
        except Exception as failure:  # they are rung again all the same, only later
            logger.warning("lost bells were not noted: %s", type(failure).__name__)
        finally:
            connections.close_all()


def _taken(waiting: "Waiting") -> Iterator[Bell]:
    """What waits now, but for the order to stop."""
    for _ in range(waiting.qsize()):
        bell = waiting.get()
        if bell is None:
            waiting.put(None)
            return
        yield bell


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
            self.close()
            if not is_kept:
                raise
            self._send_anew(bell)

    def _send_anew(self, bell: Bell) -> None:
        try:
            self._send(bell)
        except Exception:
            self.close()
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

    def close(self) -> None:
        """Leave the broker, which may not answer."""
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
