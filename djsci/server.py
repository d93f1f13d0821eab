"""Daphne or uvicorn in this process: djsci owns the signals, drains, then stops the server."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from . import conf
from .runs import draining, executor

logger = logging.getLogger("djsci.server")

SIGNALS = (signal.SIGTERM, signal.SIGINT)
MOST_FRAME = 4 << 20  # bytes that a server takes of a socket, so that our own cap can answer
FLUSH = 3.0  # seconds that the last answers get to be made, and then to leave the buffers
HURRIED = 1.0  # the same after a second signal
Scope = MutableMapping[str, Any]
Message = Callable[..., Awaitable[Any]]


class Traffic:
    """The project's application, counting what is in flight."""

    def __init__(self, application: Callable[[Scope, Message, Message], Awaitable[None]]) -> None:
        self.application = application
        self.in_flight = 0
        self.is_quiet = asyncio.Event()
        self.is_quiet.set()

    async def __call__(self, scope: Scope, receive: Message, send: Message) -> None:
        self.in_flight += 1
        self.is_quiet.clear()
        try:
            await self.application(scope, receive, send)
        except asyncio.CancelledError:
            if not draining.is_over():
                raise
            logger.info("cut off what took no notice of the end: %s", scope["type"])
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.is_quiet.set()


class Drain:
    """What the first signal starts; the second one skips the waiting.

    For `lame_duck` seconds it only says that it will go, so that a proxy sends calls elsewhere.
    """

    def __init__(
        self,
        traffic: Traffic,
        *,
        lame_duck: float,
        stop: Callable[[], Awaitable[None]],
        stop_waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self.traffic = traffic
        self.lame_duck = lame_duck
        self.stop = stop
        self.stop_waiting = stop_waiting
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def heed_signal(self) -> None:
        """Drain, or stop waiting; called on the server's loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())
            return
        self._hurry.set()
        self.stop_waiting()
        running = executor.start()
        running.is_draining = True  # a lame duck may still be claiming
        running.hurry()

    async def _drain(self) -> None:
        if self.lame_duck:
            logger.info("leaving: calls are taken for %g s more", self.lame_duck)
            draining.announce()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self.lame_duck)
        patience = float(conf.get("DRAIN"))
        until = time.monotonic() + patience
        logger.info("draining: at most %g s for what runs; a second signal skips that", patience)
        executor.start().is_draining = True
        draining.begin()
        try:
            with ThreadPoolExecutor(1) as waiting:  # the loop answers requests meanwhile
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(waiting, executor.drain, patience)
            await self._quiet_or_hurried(until - time.monotonic())
        except Exception:
            logger.exception("draining failed")
        finally:
            await self._send_away()
            await self.stop()

    async def _send_away(self) -> None:
        """Have those answered who still wait for runs, of other executors by now."""
        draining.end()
        patience = HURRIED if self._hurry.is_set() else FLUSH
        with suppress(TimeoutError):
            await asyncio.wait_for(self.traffic.is_quiet.wait(), patience)

    async def _quiet_or_hurried(self, patience: float) -> None:
        either = [
            asyncio.ensure_future(event.wait()) for event in (self.traffic.is_quiet, self._hurry)
        ]
        await asyncio.wait(either, timeout=max(0.0, patience), return_when=asyncio.FIRST_COMPLETED)
        for waiting in either:
            waiting.cancel()


def serve(
    *,
    server: str = "daphne",
    host: str = "127.0.0.1",
    port: int = 8000,
    lame_duck: float = 0.0,
) -> int:
    """Serve until a signal and drain; the exit status. Port 0: a free one. `lame_duck`: seconds."""
    traffic = Traffic(application())
    executor.start().warm()
    try:
        serve_with = {"daphne": _serve_daphne, "uvicorn": _serve_uvicorn}[server]
        return serve_with(traffic, host, port, lame_duck)
    finally:
        for number in SIGNALS:  # children are being reaped: let nothing interrupt that
            signal.signal(number, signal.SIG_IGN)
        executor.stop()


def application() -> Any:
    """The project's ASGI application."""
    name = getattr(settings, "ASGI_APPLICATION", None)
    if not name:
        raise ImproperlyConfigured("Set ASGI_APPLICATION: `djsci up` serves that application.")
    return import_string(name.replace(":", "."))


def announce(server: str, host: str, port: int) -> None:
    """Say where the server listens; the last thing before it answers."""
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"djsci serves http://{shown}:{port}/ with {server}; Ctrl-C ends it.\n")
    sys.stdout.flush()


def _serve_daphne(traffic: Traffic, host: str, port: int, lame_duck: float) -> int:
    # This import installs Twisted's reactor on an asyncio loop: only here, and first.
    from daphne import http_protocol
    from daphne import server as daphne
    from daphne.endpoints import build_endpoint_description_strings
    from twisted.internet import reactor

    ports: list[Any] = []

    class Server(daphne.Server):  # type: ignore[misc]
        def listen_success(self, listening: Any) -> None:
            super().listen_success(listening)
            ports.append(listening)

    class Request(http_protocol.WebRequest):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            # Forms are for Django to read: Twisted would block the loop with them, hold them twice,
            # and answer a bare 400 to one without a boundary.
            super().__init__(*args, parsePOSTFormSubmission=False)

    http_protocol.WebRequest = Request

    async def stop() -> None:
        for listening in ports:
            listening.stopListening()
        until = time.monotonic() + FLUSH
        while reactor.getWriters() and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        running.stop()

    def ready() -> None:
        # Autobahn's own second is too short for a slow reader to get what is still buffered.
        running.ws_factory.setProtocolOptions(closeHandshakeTimeout=60)
        if ports:
            announce("daphne", host, ports[0].getHost().port)

    drain = Drain(traffic, lame_duck=lame_duck, stop=stop)
    for number in SIGNALS:
        daphne.twisted_loop.add_signal_handler(number, drain.heed_signal)
    running = Server(
        application=traffic,
        endpoints=build_endpoint_description_strings(host=host, port=port),
        signal_handlers=False,
        verbosity=0,
        websocket_max_message_size=MOST_FRAME,
        websocket_max_frame_size=MOST_FRAME,
    )
    reactor.callWhenRunning(ready)
    running.run()
    return 0 if ports else 1


def _serve_uvicorn(traffic: Traffic, host: str, port: int, lame_duck: float) -> int:
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc]
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                loop.add_signal_handler(number, drain.heed_signal)
            yield

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            announce("uvicorn", host, self.servers[0].sockets[0].getsockname()[1])

    async def stop() -> None:
        running.should_exit = True

    def stop_waiting() -> None:
        running.force_exit = True
        running.config.timeout_graceful_shutdown = 1

    drain = Drain(traffic, lame_duck=lame_duck, stop=stop, stop_waiting=stop_waiting)
    running = Server(
        uvicorn.Config(
            traffic,
            host=host.strip("[]"),
            port=port,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # djsci believes TRUSTED_PROXIES only
            ws_max_size=MOST_FRAME,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=2,  # all were told to go FLUSH ago
        )
    )
    try:
        running.run()
    except SystemExit as error:  # the port is taken; uvicorn's own log line says so
        return int(error.code or 1)
    return 0
