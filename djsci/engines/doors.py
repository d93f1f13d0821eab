"""A run's doors: taken from its worker, before any user code, and given to the proxy."""

import json
import os
import socket
from collections.abc import Sequence

from djsci.core.connections import Host
from djsci.guest import frames

from .proxy import Proxy
from .workers import Worker


async def hand_over(worker: Worker, hosts: Sequence[Host], proxy: Proxy) -> list[bytes]:
    """Wait for the worker's listening sockets. Returns what it says before: objects as JSON.

    Raises `OSError`, `ValueError`, `LookupError` or `TypeError` where they cannot be handed over;
    a worker that dies meanwhile is its reader's affair.
    """
    said: list[bytes] = []
    while True:
        await worker.heard([worker.sock.fileno()])
        try:
            data, doors, _, _ = socket.recv_fds(worker.sock, frames.MOST + 1, len(hosts) + 1)
        except (BlockingIOError, ConnectionError):
            if worker.is_alive:
                continue
            return said
        try:
            if not data:
                return said
            body = frames.parse(data)[1]
            if doors:
                proxy.open(id(worker), hosts, json.loads(body)["of"], doors)
                return said
            said.append(body)
        finally:
            for door in doors:
                os.close(door)
