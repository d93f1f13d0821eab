"""Run as a program: the other side of the doors that runs have to the hosts they were granted.

It holds no secret and runs no user code. Its supervisor sends the listening sockets of each run,
made in that run's network namespace, with the hosts that they stand for. The first of them takes
any of these hosts by HTTP CONNECT (RFC 9110) or SOCKS 5 (RFC 1928), the others one each.
"""

import asyncio
import contextlib
import encodings.idna  # noqa: F401 - names are resolved after the right to read files is given up
import ipaddress
import json
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

MOST = 1 << 17  # bytes of a message of the supervisor's
DESCRIPTORS = 250
AT_ONCE = 64  # connections of one run
CONNECT, HEAD = 10.0, 10.0  # seconds until a host answers, until a request for one is whole
CHUNK = 1 << 16
RESOLVERS = 8  # names resolved at once
NOBODY = 65534
# Addresses at which clouds give a machine's own credentials away, beside the link-local one.
METADATA = frozenset({"fd00:ec2::254", "100.100.100.200", "168.63.129.16"})
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refused(Exception):
    """Not one of the run's hosts, or not there."""


class Doors:
    """The doors of one run, and who passes through them."""

    def __init__(self, hosts: list[tuple[str, int]]) -> None:
        self.hosts = hosts
        self._servers: list[asyncio.Server] = []
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self, doors: list[socket.socket], served: list[int]) -> None:
        for door, number in zip(doors, served, strict=True):
            host = self.hosts[number] if number >= 0 else None
            self._servers.append(await asyncio.start_server(self._passer(host), sock=door))

    def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._passing:
            task.cancel()

    def _passer(self, host: tuple[str, int] | None) -> Callable[..., Coroutine[Any, Any, None]]:
        async def passes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is None or len(self._passing) >= AT_ONCE:
                writer.transport.abort()
                return
            self._passing.add(task)
            try:
                await self._pass(reader, writer, host)
            except (OSError, TimeoutError, Refused, ValueError, asyncio.IncompleteReadError):
                writer.transport.abort()
            finally:
                self._passing.discard(task)
                writer.close()

        return passes

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: tuple[str, int] | None,
    ) -> None:
        if host is None:
            async with asyncio.timeout(HEAD):
                first = await reader.readexactly(1)
                asked = _socks if first == b"\x05" else _connect
                host, accept, refuse = await asked(first, reader, writer)
            try:
                if host not in self.hosts:
                    raise Refused
                there = await reach(*host)
            except (OSError, TimeoutError, Refused):
                writer.write(refuse)
                await writer.drain()
                return
            writer.write(accept)
        else:
            there = await reach(*host)
        try:
            await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        finally:
            there[1].close()


async def reach(name: str, port: int) -> Streams:
    """A connection to a host. Resolved once: what was checked is what is connected to."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    last: Exception = Refused()
    for address in addresses:
        if not may_reach(address, name):
            continue
        try:
            async with asyncio.timeout(CONNECT):
                return await asyncio.open_connection(address, port)
        except (OSError, TimeoutError) as error:
            last = error
    raise last


def may_reach(address: str, name: str) -> bool:
    """Whether a name may lead to this address; a grant that spells an address means it."""
    found = ipaddress.ip_address(address.partition("%")[0])
    with contextlib.suppress(ValueError):
        return found == ipaddress.ip_address(name)
    if name == "localhost" and found.is_loopback:
        return True
    is_mapped = found.version == 6 and found.ipv4_mapped is not None
    is_own = found.is_loopback or found.is_unspecified or found.is_link_local or found.is_multicast
    return not (is_own or is_mapped or str(found) in METADATA)


Answer = tuple[tuple[str, int], bytes, bytes]  # the host, and what is said if it is, or is not


async def _connect(
    first: bytes, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter
) -> Answer:
    head = first + await reader.readuntil(b"\r\n\r\n")
    method, target, *_rest = head.split(b"\r\n", 1)[0].decode("ascii", "replace").split(" ")
    name, _, port = target.rpartition(":")
    is_asked = method == "CONNECT" and port.isascii() and port.isdigit()
    host = (name.strip("[]").lower().removesuffix("."), int(port) if is_asked else 0)
    text = "Only CONNECT, and only to a host that one of the file's connections names.\n"
    refusal = (
        f"HTTP/1.1 {'403 Forbidden' if is_asked else '405 Method Not Allowed'}\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    )
    return host, b"HTTP/1.1 200 Connection established\r\n\r\n", (refusal + text).encode()


async def _socks(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    await reader.readexactly((await reader.readexactly(1))[0])  # the ways to sign in: none is asked
    writer.write(b"\x05\x00")
    _version, command, _reserved, kind = await reader.readexactly(4)
    match kind:
        case 1 | 4:
            packed = await reader.readexactly(4 if kind == 1 else 16)
            name = str(ipaddress.ip_address(packed))
        case 3:
            packed = await reader.readexactly((await reader.readexactly(1))[0])
            name = packed.decode("ascii", "replace").lower().removesuffix(".")
        case _:
            raise Refused
    port = int.from_bytes(await reader.readexactly(2))
    bound = b"\x00\x01\x00\x00\x00\x00\x00\x00"
    return (name, port if command == 1 else 0), b"\x05\x00" + bound, b"\x05\x02" + bound


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def serve(control: socket.socket) -> None:
    """Until the supervisor is gone."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(RESOLVERS))  # imported before the change of user
    control.setblocking(False)
    runs: dict[int, Doors] = {}
    heard = asyncio.Event()
    loop.add_reader(control, heard.set)
    while True:
        await heard.wait()
        heard.clear()
        with contextlib.suppress(BlockingIOError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(control, MOST, DESCRIPTORS)
                if not data:
                    return
                await _obey(json.loads(data), descriptors, runs)


async def _obey(said: dict[str, Any], descriptors: list[int], runs: dict[int, Doors]) -> None:
    """New doors, or the end of a run's. What a worker sent as its doors may be anything."""
    sockets = []
    for descriptor in descriptors:
        try:
            sockets.append(socket.socket(fileno=descriptor))
        except OSError:
            os.close(descriptor)
    former = runs.pop(said["run"], None)
    if former is not None:
        former.close()
    if sockets:
        doors = Doors([(name, port) for name, port in said["hosts"]])
        try:
            await doors.open(sockets, said["of"])
        except (OSError, ValueError, LookupError, TypeError):
            doors.close()
            for each in sockets:
                each.close()
            return
        runs[said["run"]] = doors


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    asyncio.run(serve(control))


if __name__ == "__main__":
    main()
