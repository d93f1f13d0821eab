"""The reference client: one reducer for sockets and HTTP, and how each connection ends.

run = Follower(site.url, headers=made.bearer("ada"))
await run.call("hello", {"name": "Ada"})     # a socket on ws/call/, then ws/runs/ until `end`
await run.follow(run_id)                     # sockets only
await run.poll(run_id)                       # JSON pages over HTTP
run.text("stdout"), run.end["state"], run.result
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

STOP = (4400, 4401, 4403, 4404, 4413)
MOST_FRAME = 1 << 20


class Refused(Exception):
    """The server said no: `code` of the close (403: before it), and the `error` frame."""

    def __init__(self, code: int | None, error: Mapping[str, Any] | None = None) -> None:
        self.code = code
        self.error = dict(error or {})
        super().__init__(f"{code} {self.error}")


class Gap(Exception):
    """Events are missing: the connection is dropped and the rest is asked for again."""


@dataclass
class Transcript:
    """What was seen of a run: every seq once, in order."""

    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.events[-1]["seq"] if self.events else 0

    @property
    def end(self) -> dict[str, Any] | None:
        return self.events[-1] if self.events and self.events[-1]["type"] == "end" else None

    @property
    def result(self) -> Any:
        return next((event.get("value") for event in self.of_type("result")), None)

    def of_type(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] in types]

    def text(self, name: str | None = None) -> str:
        """What was printed, on one stream or on both as they came."""
        streams = self.of_type("stream")
        return "".join(event["text"] for event in streams if name in (None, event["name"]))

    def take(self, events: Sequence[dict[str, Any]]) -> None:
        """Drop what was seen; raise `Gap` at a jump."""
        for event in events:
            if event["seq"] <= self.last:
                continue
            if event["seq"] > self.last + 1:
                raise Gap
            self.events.append(event)


@dataclass
class Follower(Transcript):
    """A client of one run. `closes` are the codes of its connections, `attempts` their number."""

    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""
    closes: list[int | None] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)
    attempts: int = 0
    heartbeat: float = 15.0
    failures: int = 0
    timeout: float = 60.0

    async def call(
        self, ref: str, parameters: Mapping[str, Any] | None = None, **start: Any
    ) -> "Follower":
        """Start a run by a socket and follow it to its end."""
        path = f"/djsci/ws/call/{ref}/"
        asked = {"type": "start", **start}
        if parameters is not None:
            asked["parameters"] = dict(parameters)
        async with asyncio.timeout(self.timeout):
            await self._converse(path, first=asked)
            return await self.follow(self.run_id)

    async def follow(self, run_id: str) -> "Follower":
        """Follow a run by sockets until its `end`, from the last seq that was seen."""
        self.run_id = run_id
        async with asyncio.timeout(self.timeout):
            while self.end is None:
                await self._converse(f"/djsci/ws/runs/{run_id}/?after={self.last}")
        return self

    async def poll(self, run_id: str, *, wait: float = 10) -> "Follower":
        """Follow a run by JSON pages until its `end`."""
        self.run_id = run_id
        path = f"{self.url}/djsci/api/v1/runs/{run_id}/events/"
        async with httpx.AsyncClient(headers=dict(self.headers), timeout=self.timeout) as http:
            while self.end is None:
                asked = {"after": self.last, "wait": wait}
                answer = await http.get(path, params=asked)
                if answer.status_code != 200:
                    raise Refused(answer.status_code, answer.json())
                self.take(answer.json()["events"])
        return self

    @asynccontextmanager
    async def connection(
        self, path: str, subprotocols: Sequence[str] | None = ("djsci.v1",), **options: Any
    ) -> AsyncIterator[ClientConnection]:
        """One bare socket; a refused handshake is `Refused`."""
        try:
            async with connect(
                "ws" + self.url.removeprefix("http") + path,
                subprotocols=[websockets.Subprotocol(each) for each in subprotocols or ()] or None,
                additional_headers=dict(self.headers),
                max_size=MOST_FRAME,
                compression=None,
                proxy=None,
                open_timeout=20,
                **options,
            ) as socket:
                yield socket
        except InvalidStatus as error:
            raise Refused(error.response.status_code) from error

    async def _converse(self, path: str, first: Mapping[str, Any] | None = None) -> None:
        """One connection: all its frames, and what its end means."""
        self.attempts += 1
        said: dict[str, Any] = {}
        try:
            async with self.connection(path) as socket:
                said = await self._read(socket, first)
                if said.get("type") != "error":
                    self.closes.append(1000)
                    return
                await asyncio.wait_for(socket.wait_closed(), 20)
                self.closes.append(socket.close_code)
        except (ConnectionClosed, TimeoutError, Gap, OSError) as error:
            received = getattr(error, "rcvd", None)
            self.closes.append(received.code if received else None)
        await self._after_close(self.closes[-1], said)

    async def _read(
        self, socket: ClientConnection, first: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Frames until `end`, `next` or `error`; silence of 2.5 heartbeats is a dead peer."""
        while True:
            text = await asyncio.wait_for(socket.recv(), 2.5 * self.heartbeat)
            frame = json.loads(text)
            self.frames.append({**frame, "events": len(frame.get("events", ()))})
            match frame["type"]:
                case "hello":
                    self.heartbeat = frame["heartbeat"]
                    if first is not None:
                        await socket.send(json.dumps(first))
                case "started":
                    self.run_id = frame["run"]
                case "events":
                    self.failures = 0
                    self.take(frame["events"])
                    if self.end is not None:
                        return frame
                case "head":
                    self.failures = 0
                case "next" | "error":
                    return frame

    async def _after_close(self, code: int | None, said: Mapping[str, Any]) -> None:
        if code in STOP:
            raise Refused(code, said)
        if code == 4429:
            raise Refused(code, said)  # a test does not wait half a minute
        if code == 4410:
            return await asyncio.sleep(random.uniform(0, 2))
        self.failures += 1
        await asyncio.sleep(random.uniform(0.5, 1) * min(15, 0.25 * 2**self.failures))


async def until(socket: ClientConnection, *types: str, timeout: float = 20) -> dict[str, Any]:
    """The next frame of one of these types, or the close as {"type": "close", "code"}."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            text = await asyncio.wait_for(socket.recv(), deadline - time.monotonic())
        except ConnectionClosed as closed:
            return {"type": "close", "code": closed.rcvd.code if closed.rcvd else None}
        frame = json.loads(text)
        if frame["type"] in types:
            return frame
