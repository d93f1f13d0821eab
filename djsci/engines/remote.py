"""A worker in a container: the guest is sent on its stdin, and the run's socket is relayed."""

import asyncio
import codecs
import contextlib
import json
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from djsci.guest import frames
from djsci.guest.remote import DEADLINE, ERR, EXITED, HEAD, OUT, PACKET, PREAMBLE, SIGNAL
from djsci.isolation import container
from djsci.isolation import process as bare
from djsci.isolation.limits import Group

from .ground import Ground
from .workers import StartFailed, Worker

BANNER = 64 << 10  # bytes that a program may say before the guest does
POLITE = 5.0  # seconds until a container whose guest was told to end is removed by force
SPARE = 60.0  # seconds that the guest's own deadline comes after the engine's


class RemoteWorker(Worker):
    """A worker that is reached through a program's stdin and stdout.

    Its memory and processes are bounded by the container's own groups from its start.
    """

    ending = 15.0

    def __init__(self, ground: Ground, *, uid: int | None) -> None:
        super().__init__(None, uid=uid)
        self.settings = ground.container
        self.name = f"djsci-{secrets.token_hex(8)}"
        self.is_bounded = True
        self.lost = "its container was lost"
        self.process: subprocess.Popen[bytes] | None = None
        self.abort = self.end
        self._given = ground.memory
        self._bounding: asyncio.Task[None] | None = None  # until then nothing is sent
        self._to: asyncio.StreamWriter | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._relays: list[asyncio.Task[None]] = []  # from it, to it
        self._said: dict[str, Any] = {}  # how the worker ended, by the guest in front of it
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._asked = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None

    def start(self, command: Sequence[str], folder: Path) -> None:
        """Start the program. Called in the engine's own long-lived thread.

        podman leaves a file where it was started when a container has too little memory.
        """
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=folder,
            env=container.environment(),
            **bare.START,
        )

    async def greet(self, guest: bytes, mark: str) -> None:
        """Send the guest, hear it, and relay from now on. Raises `StartFailed`."""
        process, loop = self.process, asyncio.get_running_loop()
        if process is None or process.stdin is None or process.stdout is None:
            raise StartFailed("the container's program did not start")
        self._waiting = loop.create_task(self._wait(process))
        said = asyncio.StreamReader(limit=BANNER)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(said), process.stdout)
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, process.stdin
        )
        self._to = asyncio.StreamWriter(transport, protocol, None, loop)
        self._to.write(len(guest).to_bytes(4, "big") + guest)
        try:
            await said.readuntil(f"{PREAMBLE} {mark}\n".encode())
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise StartFailed(f"no guest in the container{self._last_words()}") from None
        self._far.setblocking(False)
        for pipe in self.ends[1:]:  # raw output comes on the run's socket too: one order
            os.close(pipe)
        del self.ends[1:]
        self._relays = [loop.create_task(self._hear(said)), loop.create_task(self._tell())]

    async def hello(self) -> None:
        """Wait until it is ready; what libraries print as they load is no run's. Raises
        `StartFailed`.
        """
        kind = frames.STDERR
        while kind in (frames.STDOUT, frames.STDERR):
            await self._heard()
            data = self.sock.recv(frames.MOST)
            kind, body = frames.parse(data) if data else (b"", b"")
            if kind == frames.STDERR:
                self._errors.write(body)
        said = json.loads(body) if kind == frames.OBJECT else {}
        if said.get("type") != "hello" or said.get("v") != frames.VERSION:
            raise StartFailed(f"the container's worker was not ready{self._last_words()}")

    async def _hear(self, said: asyncio.StreamReader) -> None:
        """Give on what comes, in its order; who reads it makes it wait."""
        loop = asyncio.get_running_loop()
        raw = {OUT: (frames.STDOUT, _decoder()), ERR: (frames.STDERR, _decoder())}
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await said.readexactly(HEAD)
                size, channel = int.from_bytes(head[:4], "big"), head[4:]
                if size > frames.MOST + 1:
                    break  # no guest of ours
                body = await said.readexactly(size)
                if channel == PACKET:
                    await loop.sock_sendall(self._far, body)
                elif channel in raw:
                    kind, decoder = raw[channel]
                    text = decoder.decode(body).encode()
                    await loop.sock_sendall(self._far, frames.frame(kind, text))
                elif channel == EXITED:
                    self._said = _end_of(body)

    async def _tell(self) -> None:
        """Send on what its run is sent."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while packet := await loop.sock_recv(self._far, frames.MOST):
                if self._bounding is not None:
                    await self._bounding
                if self._to is None or self._to.is_closing():
                    return
                self._to.write(frames.frame(PACKET, packet))
                await self._to.drain()

    def bound(
        self, group: Group | None = None, *, memory: int | None = None, seconds: float | None = None
    ) -> None:
        """What its run may hold and how long it may take; it begins when this is so."""
        if seconds is not None:
            self._say(DEADLINE, seconds + SPARE)
        if memory is not None and memory < self._given:
            command = container.bounded(self.settings, self.name, memory)
            self._bounding = asyncio.get_running_loop().create_task(self._bound(command))

    async def _bound(self, command: Sequence[str]) -> None:
        done = await asyncio.to_thread(container.ask, command)
        if done.returncode:
            self.lost = f"its memory could not be bounded: {container.last_line(done.stderr)}"
            self._said = {"code": None}
            self.end()

    def is_over_memory(self) -> bool:
        return bool(self._said.get("memory"))

    def interrupt(self) -> None:
        """SIGINT to its group, by the guest in front of it."""
        self._say(SIGNAL, int(signal.SIGINT))

    def _say(self, channel: bytes, value: float) -> None:
        if self._to is not None and not self._to.is_closing():
            self._to.write(frames.frame(channel, str(value).encode()))

    def end(self) -> None:
        """The guest kills all at the end of its stdin; what does not hear is removed by force."""
        self._asked.set()
        self._hang_up()
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._force())

    def _hang_up(self) -> None:
        if self._to is not None and not self._to.is_closing():
            self._to.transport.abort()
        elif self._to is None and self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    async def _force(self) -> None:
        await asyncio.wait({self.code}, timeout=POLITE)
        if not self.code.done():
            await self.forget()

    async def forget(self) -> None:
        """End the container, whatever it does; nothing happens where it is gone already."""
        command = container.removed(self.settings, self.name)
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            await asyncio.to_thread(container.ask, command)

    async def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        """Until the program has ended: with it the container; what it said is read, if wanted."""
        await _end_of_process(process.pid)
        code = process.wait()
        if self._relays:
            asked = asyncio.ensure_future(self._asked.wait())
            await asyncio.wait({self._relays[0], asked}, return_when=asyncio.FIRST_COMPLETED)
            for task in (asked, *self._relays):
                task.cancel()
            await asyncio.gather(asked, *self._relays, return_exceptions=True)
        self.close_ends()
        self.ended(self._said.get("code", 128 - code if 128 < code <= 128 + 64 else code))

    async def give_up(self) -> None:
        """After a start that failed: nothing is left."""
        if self.process is not None:
            self.end()
            if self._waiting is None:
                self._waiting = asyncio.get_running_loop().create_task(self._wait(self.process))
            await asyncio.wait({self.code}, timeout=self.ending)
            await self.forget()
        self.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        said = self._errors.read(1 << 16).decode("utf-8", "replace")
        return f": {container.last_line(said)}" if said.strip() else ""

    def close(self) -> None:
        if self.is_open:
            for task in (self._waiting, *self._relays):
                if task is not None:
                    task.cancel()
            self._hang_up()
            self._errors.close()
        super().close()


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def _end_of(body: bytes) -> dict[str, Any]:
    """How a worker ended, as whoever sits in the container says."""
    said = json.loads(body)
    return {"code": max(-64, min(255, int(said["code"]))), "memory": said["memory"] is True}


async def _end_of_process(pid: int) -> None:
    loop = asyncio.get_running_loop()
    descriptor, ended = os.pidfd_open(pid), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
