"""The one thread of a process that appends to the logs of all its runs."""

import asyncio
import logging
import queue
import threading
import time
from concurrent.futures import Future

from django.db import InterfaceError, OperationalError, connections

from djsci import conf
from djsci.access.database import taking_turns
from djsci.models import Run

from . import doorbell
from .log import Append, append, append_all

logger = logging.getLogger("djsci.writer")

_BATCH = 64
Waiting = tuple[Append, "Future[bool]", float]


class DatabaseAway(Exception):
    """The database did not take an append for longer than a run may wait."""


class Writer:
    """Batches the appends of many runs into one transaction each; rings after the commit."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="djsci-writer", daemon=True)
        self._thread.start()

    async def append(self, item: Append) -> bool:
        """Whether the item was committed; False: the lease is lost. Raises `DatabaseAway`."""
        done: Future[bool] = Future()
        done.set_running_or_notify_cancel()  # who gives up waiting must not break the thread
        self._queue.put((item, done, time.monotonic()))
        return await asyncio.wrap_future(done)

    def close(self) -> None:
        """Write what waits, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        is_open = True
        while is_open:
            batch = [self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            is_open = None not in batch
            waiting = [entry for entry in batch if entry is not None]
            if waiting:
                self._write_batch(sorted(waiting, key=lambda entry: entry[0].run_id))
        connections.close_all()

    def _write_batch(self, waiting: list[Waiting]) -> None:
        try:
            with taking_turns():
                results = append_all([item for item, _, _ in waiting])
        except Exception:
            logger.warning("an append failed; trying run by run", exc_info=True)
            connections.close_all()
            for entry in waiting:
                self._write_alone(*entry)
            return
        for (item, done, _), is_mine in zip(waiting, results, strict=True):
            _finish(item, done, is_mine)

    def _write_alone(self, item: Append, done: "Future[bool]", since: float) -> None:
        """Try until `database_retry` seconds have passed; the commit may have been ambiguous."""
        until = since + conf.intervals.database_retry
        pause = 0.1
        while True:
            try:
                with taking_turns():
                    is_mine = append(item) or _was_written(item)
            except (OperationalError, InterfaceError) as error:
                connections.close_all()
                if time.monotonic() > until:
                    done.set_exception(DatabaseAway(str(error)))
                    return
                time.sleep(pause)
                pause = min(5.0, pause * 2)
            except Exception as error:
                done.set_exception(error)
                return
            else:
                _finish(item, done, is_mine)
                return


def _was_written(item: Append) -> bool:
    """Whether an earlier try did commit though its answer was lost: only we append."""
    return Run.objects.filter(
        pk=item.run_id, lease=item.lease, head=item.head + len(item.lines)
    ).exists()


def _finish(item: Append, done: "Future[bool]", is_mine: bool) -> None:
    if is_mine:
        doorbell.ring(item.run_id, head=item.head + len(item.lines), is_final=item.is_final)
    done.set_result(is_mine)
