"""What both WebSockets share: one task that talks, and handlers that only pass on."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from djsci import conf, problems, runs
from djsci.access.callers import Caller
from djsci.access.database import in_database, in_database_soon
from djsci.core.errors import BadRequest, Conflict, DjsciError, Draining, LimitReached
from djsci.runs import draining, streams

from . import handshake, incoming
from .pump import Gone, Pump, frames

logger = logging.getLogger("djsci.sockets")

_MOST_WAITING = 64  # frames while one is being obeyed


class RunSocket(AsyncConsumer):  # type: ignore[misc]
    """One socket. Its handlers only pass on; one task, `_serve`, does everything else."""

    channel_layer_alias = "djsci-none"  # output never travels on a layer: no channel per socket

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._inbox: asyncio.Queue[str | None] = asyncio.Queue(_MOST_WAITING)
        self._pace = incoming.Pace()
        self._doom: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._doom.add_done_callback(lambda doom: doom.cancelled() or doom.exception())
        self._start_came = asyncio.Event()
        self._run: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._work: asyncio.Task[None] | None = None
        self._pump = Pump(send)
        self._head = 0
        self._reads_source = False

        async def receive_until_over() -> Any:
            return await _first(receive(), self._peer_lost())

        try:
            await super().__call__(scope, receive_until_over, send)
        finally:
            if self._work is not None:
                self._work.cancel()
                await asyncio.gather(self._work, return_exceptions=True)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Await the handler: Channels' own goes through the one shared thread each time."""
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        try:
            protocol = handshake.subprotocol(self.scope.get("subprotocols") or ())
            caller = await in_database_soon(handshake.admitted, self.scope)
        except Exception as error:
            logger.info("a socket was refused: %s", _why(error))
            await self.send({"type": "websocket.close"})
            raise StopConsumer from error
        await self.send({"type": "websocket.accept", "subprotocol": protocol})
        self._work = asyncio.create_task(self._serve(caller))

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        try:
            self._pace.take()
            self._inbox.put_nowait(message.get("text"))
        except DjsciError as error:
            self._end_with(error)
        except asyncio.QueueFull:
            self._end_with(LimitReached(f"{_MOST_WAITING} frames wait to be obeyed."))

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        raise StopConsumer

    def _end_with(self, error: DjsciError) -> None:
        if not self._doom.done():
            self._doom.set_exception(error)

    def _on_drain(self) -> None:
        self._end_with(Draining())

    async def _peer_lost(self) -> dict[str, Any]:
        """A disconnect of our own making, for a peer that takes nothing any more."""
        await self._pump.lost.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def _serve(self, caller: Caller) -> None:
        try:
            await self._converse(caller)
        except Gone:
            pass
        except Exception as error:
            problem = problems.translated(error)
            with suppress(Gone):
                words = incoming.error_frame(problem)
                await self._pump.close(incoming.close_code(problem), words)

    async def _converse(self, caller: Caller) -> None:
        if draining.is_draining():
            raise Draining
        with draining.leaving(self._on_drain), streams.opened(caller.user.pk) as self._place:
            after = await self._open(caller)
            beat = conf.intervals.head
            heartbeat = int(beat) if beat == int(beat) else beat
            hello = {"type": "hello", "v": 1, "head": self._head, "heartbeat": heartbeat}
            await self._pump.say(hello)
            await _first(
                self._follow(after),
                self._obey(),
                self._beat(),
                self._recheck(),
                self._grow_old(),
                self._doomed(),
            )

    async def _open(self, caller: Caller) -> int:
        """Find what is asked for, and the right to it; the seq to follow from."""
        raise NotImplementedError

    def _check(self) -> Caller:
        """Ask again who calls and what they may, of the database."""
        raise NotImplementedError

    async def _start(self, command: incoming.Start) -> None:
        raise BadRequest("This socket follows a run; only `ws/call/` starts one.")

    async def _follow(self, after: int) -> None:
        try:
            async with asyncio.timeout(conf.intervals.start):
                await self._start_came.wait()
        except TimeoutError:
            raise BadRequest(f"No `start` came within {conf.intervals.start:g} s.") from None
        run_id = await self._run
        self._pump.last = after
        async with aclosing(runs.follow(run_id, after=after)) as pages:
            async for page in pages:
                self._head = max(self._head, page.head)
                for frame in frames(page, run_id=run_id, with_traceback=self._reads_source):
                    await self._pump.events(frame, is_more=frame.last < page.head)
                    is_over_cap = self._pump.bytes >= conf.intervals.socket_bytes
                    if is_over_cap and not (page.is_last and frame.last == page.last):
                        return await self._pump.next()
        await self._pump.close(1000)

    async def _obey(self) -> None:
        while True:
            match incoming.read(await self._inbox.get()):
                case incoming.Start() as start:
                    await self._start(start)
                case incoming.Cancel(force=force):
                    await self._cancel(force=force)
                case incoming.Ping():
                    await self._pump.say({"type": "head", "seq": self._head})

    async def _cancel(self, *, force: bool) -> None:
        caller = await in_database(self._check)
        try:
            if not self._run.done():
                raise Conflict("There is no run to cancel yet.")
            await runs.cancel(self._run.result(), caller=caller, force=force)
        except DjsciError as error:
            await self._pump.say(incoming.error_frame(error))

    async def _beat(self) -> None:
        while True:
            silence = time.monotonic() - self._pump.spoke
            if silence >= conf.intervals.head:
                await self._pump.say({"type": "head", "seq": self._head})
                silence = 0.0
            await asyncio.sleep(conf.intervals.head - silence)

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(conf.intervals.recheck)
            await in_database(self._check)

    async def _grow_old(self) -> None:
        await asyncio.sleep(conf.intervals.socket_age)
        await self._pump.next()

    async def _doomed(self) -> None:
        await self._doom


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, handshake.Refusal) else type(error).__name__


async def _first(*parts: Coroutine[Any, Any, Any]) -> Any:
    """What the first part to finish returns or raises; the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
