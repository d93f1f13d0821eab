"""One run in one worker: it is sent, what it says becomes events, its end is judged."""

import asyncio
import codecs
import contextlib
import json
import os
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from djsci.core import events
from djsci.core.events import Event
from djsci.core.sources import Source
from djsci.guest import frames as wire
from djsci.guest.requests import HandlerRequest

from . import doors
from .base import Limits, Stop, known_of
from .frames import Frames, reason
from .played import Played
from .proxy import Proxy
from .workers import Worker

Name = Literal["stdout", "stderr"]
Part = Literal["whole", "load", "call"]  # of a run; a template plays the last two
BURST = 1 << 18  # characters of output in one event
AT_DEATH = 1.0  # seconds that reading after a death may take
_DISPLAYS: dict[str, type[events.Display]] = {
    "display_data": events.DisplayData,
    "execute_result": events.ExecuteResult,
    "update_display_data": events.UpdateDisplayData,
}


class Conversation(Played):
    """One run in one worker."""

    what = "worker"

    def __init__(
        self,
        worker: Worker,
        source: Source,
        request: HandlerRequest,
        *,
        limits: Limits,
        stop: Stop,
        hidden: Sequence[str],
        is_trusted: bool = False,
        has_network: bool = True,
        proxy: Proxy | None = None,
        part: Part = "whole",
        own: Mapping[str, Any] | None = None,
        began: float | None = None,
    ) -> None:
        frames = Frames(
            nonce="",
            result_limit=limits.result,
            artifact_limit=limits.artifacts,
            is_trusted=is_trusted,
            has_network=has_network,
        )
        super().__init__(limits=limits, stop=stop, frames=frames, began=began)
        self.worker = worker
        self.hidden = hidden
        self.source = source
        self.request = request
        self._was_over = False
        self._places = {
            cell.index: (cell.index, _offset(source, cell.text)) for cell in source.cells
        }
        self._assembly = wire.Assembly(8 * limits.result + limits.artifacts + (64 << 20))
        self._decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")
        }
        self._cell: int | None = None
        self._last_cell: Literal["done", "error"] = "done"
        self._text: list[str] = []
        self._text_name: Name = "stdout"
        self._text_size = 0
        self._bad = ""
        self.proxy = proxy if limits.grant.hosts else None
        self.part = part
        self.own = own  # what a template, which is to load the source, may empty

    @property
    def is_over(self) -> bool:
        return self._was_over or self.worker.is_over

    def interrupt(self) -> None:
        """SIGINT, and a word for where it is swallowed: between cells, in `cancelled()`."""
        for packet in wire.message({"type": "stop"}):
            with contextlib.suppress(OSError):
                self.worker.sock.send(packet)
        self.worker.interrupt()

    def kill(self) -> None:
        self.worker.kill()

    async def play(self) -> tuple[events.FinalState, str]:
        for warning in self.source.warnings if self.is_first else ():
            await self.outbox.put(events.Log(level="warning", message=warning))
        with contextlib.suppress(ConnectionError):
            await self._send()
        if self.proxy is not None:
            await self._open_doors(self.proxy)
        await self._read()
        return await self._judge()

    async def _judge(self) -> tuple[events.FinalState, str]:
        if self._bad:
            return "crashed", self._bad
        if self.frames.error is not None and self.frames.is_done:
            return "failed", reason(self.frames.error)
        if self.frames.is_done:
            return "succeeded", ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AT_DEATH):
                await asyncio.shield(self.worker.code)
        self._was_over = self.worker.is_over_memory()
        return "crashed", self.worker.exit_text()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        for packet in self._packets():
            await loop.sock_sendall(self.worker.sock, packet)

    def _packets(self) -> Iterator[bytes]:
        source = self.source
        for name, content in source.files.items() if self.part != "call" else ():
            yield from wire.parts(f"file:{name}", content)
        seconds = (self.limits.timeout + self.limits.grace + 5) * (os.cpu_count() or 1)
        cells = source.cells if source.kind == "ipynb" and self.part != "call" else ()
        yield from wire.message(
            {
                "type": "run",
                "v": wire.VERSION,
                "part": self.part,
                "own": self.own,
                "request": self.request.to_dict(),
                "known": known_of(source, self.limits),
                "name": source.name,
                "kind": source.kind,
                "cells": [
                    {"index": cell.index, "text": cell.text, "tags": sorted(cell.tags)}
                    for cell in cells
                ],
                "has_handler": source.has_handler,
                "shim": source.shim,
                "is_script": source.is_script,
                "hidden": list(self.hidden),
                "reach": {
                    "values": dict(self.limits.grant.values),
                    "doors": self.limits.grant.hosts if self.proxy else [],
                },
                "result_limit": self.limits.result,
                "artifact_limit": self.limits.artifacts,
                "cpu": int(seconds) + 1,
            }
        )

    async def _read(self) -> None:
        """Until it is done or dead; raw output that was written before a frame goes before it."""
        worker = self.worker
        sock, out, err = worker.sock.fileno(), worker.out, worker.err
        open_ones = [sock, out, err]
        poller = select.poll()
        for descriptor in open_ones:
            poller.register(descriptor, select.POLLIN)
        is_dead_since: float | None = None
        while open_ones and not (self.frames.is_done or self._bad):
            found = [descriptor for descriptor, _ in poller.poll(0)]
            for descriptor in [one for one in found if one != sock]:
                if not self._take_raw(descriptor, "stdout" if descriptor == out else "stderr"):
                    open_ones.remove(descriptor)
                    poller.unregister(descriptor)
            if found == [sock] and not self._take_frame():
                open_ones.remove(sock)
                poller.unregister(sock)
            if self._text_size >= BURST or self._fresh or not found:
                await self._emit()
            if not found:
                if not worker.is_alive:
                    is_dead_since = is_dead_since or time.monotonic()
                    if time.monotonic() - is_dead_since > AT_DEATH:
                        break
                await worker.heard(open_ones)
        for name in self._decoders:
            self._add_text(name, self._decoders[name].decode(b"", final=True))  # type: ignore[arg-type]
        await self._emit()

    async def _open_doors(self, proxy: Proxy) -> None:
        try:
            for body in await doors.hand_over(self.worker, self.limits.grant.hosts, proxy):
                self._take_object(body)
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._bad = f"the run's connections were not opened: {error}"

    _fresh: tuple[Event, ...] = ()

    def _take_raw(self, descriptor: int, name: Name) -> bool:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return True
        self._add_text(name, self._decoders[name].decode(data))
        return bool(data)

    def _take_frame(self) -> bool:
        try:
            data = self.worker.sock.recv(wire.MOST + 1)
        except (BlockingIOError, ConnectionError):  # a reset comes before what is still to be read
            return True
        if not data:
            return False
        try:
            kind, body = wire.parse(data)
            if kind == wire.STDOUT or kind == wire.STDERR:
                name: Name = "stdout" if kind == wire.STDOUT else "stderr"
                self._add_text(name, body.decode("utf-8", "replace"))
            elif kind == wire.OBJECT:
                self._take_object(body)
            elif kind == wire.BYTES and (whole := self._assembly.add(body)) is not None:
                if whole[0].startswith(wire.ARTIFACT):
                    self._take_artifact(*whole)
                else:
                    self._take_object(whole[1])
        except wire.BadFrame as error:
            self._bad = f"the worker sent {error}"
        return True

    def _add_text(self, name: Name, text: str) -> None:
        if not text:
            return
        if name != self._text_name:
            self._end_text()
            self._text_name = name
        self._text.append(text)
        self._text_size += len(text)

    def _end_text(self) -> None:
        if self._text:
            text = events.clean("".join(self._text))
            self._fresh += (events.Stream(name=self._text_name, text=text, cell=self._cell),)
            self._text, self._text_size = [], 0

    async def _emit(self) -> None:
        self._end_text()
        fresh, self._fresh = self._fresh, ()
        for event in fresh:
            await self.outbox.put(event)

    def _take_object(self, body: bytes) -> None:
        """Every field is checked here: the worker is the user's."""
        try:
            frame = json.loads(body, parse_constant=lambda _: None)
            if not isinstance(frame, dict):
                raise wire.BadFrame("a frame that is no object")
            said = self._events(frame)
        except (KeyError, TypeError, ValueError, RecursionError):
            return
        self._end_text()
        self._fresh += tuple(said)

    def _take_artifact(self, of: str, content: bytes) -> None:
        name = of.removeprefix(wire.ARTIFACT).partition(":")[2]
        self._end_text()
        with contextlib.suppress(ValueError):  # a name that no encoding has
            self._fresh += tuple(self.frames.artifacts.take(name, content))

    def _events(self, frame: dict[str, Any]) -> list[Event]:
        match frame["type"]:
            case "cell":
                return [self._take_cell(frame)]
            case "clear_output":
                return [events.ClearOutput(wait=bool(frame["wait"]), cell=self._cell)]
            case "display_data" | "execute_result" | "update_display_data" as kind:
                shown = frame.get("display_id")
                return [
                    _DISPLAYS[kind](
                        data=dict(frame["data"]),
                        metadata=dict(frame["metadata"]),
                        display_id=shown if isinstance(shown, str) else None,
                        cell=self._cell,
                    )
                ]
            case "error":
                frame.setdefault("cell", None)
        said = self.frames.read(frame, places=self._places)
        if self.frames.result is not None:
            self.frames.error = None
        return said

    def _take_cell(self, frame: dict[str, Any]) -> Event:
        index, state = int(frame["index"]), frame["state"]
        self._end_text()
        self._cell = None
        if state == "start":
            self._cell, self.frames.error = index, None  # an error ends a run that goes no further
        if state not in ("start", "done", "error"):
            raise ValueError(state)
        return events.Cell(index=index, count=len(self.source.cells), state=state)


def _offset(source: Source, text: str) -> int:
    """How many empty lines IPython takes off a cell's top."""
    return text[: -len(text.lstrip())].count("\n") if source.kind == "ipynb" else 0
