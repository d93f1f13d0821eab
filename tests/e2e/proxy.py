"""A small TCP proxy before a server: it can cut, fall silent, refuse, and change the server."""

import socket
import threading
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import urlsplit

from .accepting import Accepting

Mode = Literal["pass", "silent", "refuse"]


class Proxy(Accepting):
    """`silent`: bytes are taken and nothing is said; `refuse`: every connection is closed."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.mode: Mode = "pass"
        self.attempts = 0
        self.target = target
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __exit__(self, *left: Any) -> None:
        super().__exit__(*left)
        self.cut()

    def cut(self) -> None:
        """End every connection that there is."""
        with self._lock:
            found, self._open = self._open, set()
        for each in found:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def take(self, near: socket.socket) -> None:
        self.attempts += 1
        there = urlsplit(self.target)
        try:
            if self.mode == "refuse":
                raise ConnectionRefusedError
            far = socket.create_connection((there.hostname or "", there.port or 0), 5)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        with self._lock:
            self._open |= {near, far}
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while said := one.recv(65536):
                if self.mode != "silent":
                    other.sendall(said)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
