"""A run's doors to the hosts it was granted: sockets here, whose other side is a proxy outside.

The run listens in its own network namespace; the listening sockets themselves are handed out of
it, before any user code, and whoever holds them answers. No byte of the run's is relayed in here.
"""

import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import frames

HOSTS = "/dev/shm/hosts"  # noqa: S108 - where /etc/hosts leads to in a wall with its own root
PROXY = "DJSCI_PROXY"
LOOPBACK = "127.0.0.1"
BACKLOG = 64


def reach(sock: socket.socket, granted: Mapping[str, Any], say: Callable[..., None]) -> None:
    """Take what this run was granted: its variables, and doors where it is walled off."""
    os.environ.update(granted["values"])
    if not granted["doors"]:
        return
    hosts: list[tuple[str, int]] = [(name, port) for name, port in granted["doors"]]
    addresses = _addresses([name for name, _ in hosts])
    _write_hosts(addresses)
    proxy = _listen(LOOPBACK, 0)
    os.environ[PROXY] = f"http://{LOOPBACK}:{proxy.getsockname()[1]}"
    doors, served = [proxy], [-1]  # -1: any of them, asked for by name
    for number, (name, port) in enumerate(hosts):
        if name not in addresses:
            continue  # an address of elsewhere: only the proxy leads there
        try:
            doors.append(_listen(addresses[name], port))
        except OSError as error:
            text = f"{name}:{port} is reached by {PROXY} only: {error.strerror}"
            say({"type": "log", "level": "warning", "message": text, "fields": {}})
            continue
        served.append(number)
    [packet] = frames.message({"type": "doors", "of": served})
    socket.send_fds(sock, [packet], [door.fileno() for door in doors])
    for door in doors:
        door.close()


def _addresses(names: Sequence[str]) -> dict[str, str]:
    """Where each name is in here: a loopback address of its own."""
    found: dict[str, str] = {}
    for number, name in enumerate(dict.fromkeys(names)):
        try:
            if ipaddress.ip_address(name).is_loopback:
                found[name] = name
        except ValueError:
            own = f"127.0.{1 + number // 250}.{1 + number % 250}"
            found[name] = LOOPBACK if name == "localhost" else own
    return found


def _write_hosts(addresses: Mapping[str, str]) -> None:
    lines = [f"{LOOPBACK} localhost", *(f"{at} {name}" for name, at in addresses.items())]
    with contextlib.suppress(OSError), open(HOSTS, "w") as file:
        file.write("\n".join(lines) + "\n")


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    try:
        door.bind((address, port))
        door.listen(BACKLOG)
    except BaseException:
        door.close()
        raise
    return door
