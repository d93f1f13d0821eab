"""'Run X has news': a hint that may be lost; only speed depends on it."""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

logger = logging.getLogger("djsci.doorbell")


class Ring(NamedTuple):
    """What a ring says; `head` is the last seq that was committed."""

    run_id: str
    head: int
    is_final: bool


Listener = Callable[[Ring], None]

_lock = threading.Lock()
_listeners: dict[str, set[tuple[asyncio.AbstractEventLoop, Listener]]] = defaultdict(set)
_broadcast: Callable[[Ring], None] | None = None
local_executor: Any = None  # the id of this process's executor, if it executes


@contextmanager
def listening(run_id: str, listener: Listener) -> Iterator[None]:
    """Call `listener` on this loop at each ring for the run in this process."""
    entry = (asyncio.get_running_loop(), listener)
    with _lock:
        _listeners[run_id].add(entry)
    try:
        yield
    finally:
        with _lock:
            _listeners[run_id].discard(entry)
            if not _listeners[run_id]:
                del _listeners[run_id]


def ring(run_id: str, *, head: int, is_final: bool) -> None:
    """Ring in this process, from any thread, and in others where a shared layer reaches them."""
    signal = Ring(run_id, head, is_final)
    with _lock:
        entries = list(_listeners.get(run_id, ()))
    for loop, listener in entries:
        try:
            loop.call_soon_threadsafe(listener, signal)
        except RuntimeError:
            logger.debug("a follower's loop is closed")
    broadcast = _broadcast  # another thread may take it away
    if broadcast is not None:
        broadcast(signal)


def is_elsewhere(executor: Any) -> bool:
    """Whether a run of this executor (None: it waits for one) rings in another process."""
    return local_executor is None or executor not in (None, local_executor)


def set_broadcast(broadcast: Callable[[Ring], None] | None) -> None:
    """Say who carries rings to other processes; None: nobody."""
    global _broadcast
    _broadcast = broadcast


def failures() -> int:
    """How many rings to other processes were lost."""
    return _broadcast.failures if isinstance(_broadcast, LayerBroadcast) else 0


def try_layer(seconds: float) -> None:
    """Send a ring that nobody hears, where rings leave the process. Raises what the layer does."""
    broadcast = _broadcast
    if isinstance(broadcast, LayerBroadcast):
        broadcast.attempt(seconds)


def group(run_id: str) -> str:
    """The layer's group of a run's followers."""
    return f"djsci.run.{run_id}"


def shared_layer() -> Any:
    """The channel layer, if one is configured that reaches other processes; else None."""
    from channels.layers import InMemoryChannelLayer, get_channel_layer
    from django.conf import settings

    if not getattr(settings, "CHANNEL_LAYERS", None):
        return None
    layer = get_channel_layer()
    return None if isinstance(layer, InMemoryChannelLayer) else layer


class LayerBroadcast:
    """Sends rings over the layer from one long-lived loop, at most one a run and window."""

    def __init__(self, layer: Any, loop: asyncio.AbstractEventLoop, *, window: float) -> None:
        self._layer = layer
        self._loop = loop
        self._window = window
        self._newest: dict[str, Ring] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.failures = 0

    def __call__(self, ring: Ring) -> None:
        self._loop.call_soon_threadsafe(self._note, ring)

    def _note(self, ring: Ring) -> None:
        is_waiting = ring.run_id in self._newest
        self._newest[ring.run_id] = ring
        if not is_waiting:
            task = self._loop.create_task(self._send(ring.run_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, run_id: str) -> None:
        if not self._newest[run_id].is_final:
            await asyncio.sleep(self._window / 2)
        ring = self._newest.pop(run_id)
        message = {
            "type": "djsci.ring",
            "run": run_id,
            "seq": ring.head,
            "final": ring.is_final,
        }
        await self._within_budget(self._layer.group_send(group(run_id), message))

    def attempt(self, seconds: float) -> None:
        """Send something, from a thread that may wait. Raises what the layer does."""
        message = {"type": "djsci.ring", "run": "", "seq": 0, "final": False}
        sending = self._layer.group_send(group("nobody"), message)
        asyncio.run_coroutine_threadsafe(sending, self._loop).result(seconds)

    async def _within_budget(self, sending: Awaitable[Any]) -> None:
        try:
            await asyncio.wait_for(sending, 2)
        except Exception as error:
            self.failures += 1
            logger.warning("a ring was lost: %s", type(error).__name__)
