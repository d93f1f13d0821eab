"""What a run may reach beside its own folder: hosts by name, and values such as a password."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

OPEN = "open"  # the connection that is the server's own network
MOST_HOSTS = 200  # of one run: their sockets cross to the proxy in one message
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)


class Host(NamedTuple):
    """One port of one host; `name` is spelled as the grant spells it, in lower case."""

    name: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Hosts, and environment variables whose values are secrets."""

    hosts: tuple[Host, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse_host(text: str) -> Host:
    """`name:port`, `1.2.3.4:port` or `[::1]:port`. Raises `ValueError` that says what is wrong."""
    name, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ValueError(f"{text!r} does not end in a port: db.internal:5432")
    if name.startswith("[") and name.endswith("]"):
        return Host(str(ipaddress.IPv6Address(name[1:-1])), int(port))
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r} does not begin with the name of a host, or its address")
    return Host(name.lower().removesuffix("."), int(port))
