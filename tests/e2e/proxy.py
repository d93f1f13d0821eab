"""A small TCP proxy before a server: it can cut, fall silent, refuse, and change the server."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["pass", "silent", "refuse"]


class Proxy:
    """`silent`: bytes are taken and nothing is said; `refuse`: every connection is closed."""

    def __init__(self, target: str) -> None:
        self.mode: Mode = "pass"
        self.attempts = 0
        self.target = target
        self._server = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_over = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        with suppress(OSError), socket.create_connection(self._server.getsockname()):
            pass
        self._thread.join(5)
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """End every connection that there is."""
        with self._lock:
            found, self._open = self._open, set()
        for each in found:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            if self._is_over:
                near.close()
                return
            self.attempts += 1
            if self.mode == "refuse":
                near.close()
                continue
            try:
                there = urlsplit(self.target)
                far = socket.create_connection((there.hostname or "", there.port or 0), 5)
            except OSError:
                near.close()
                continue
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
