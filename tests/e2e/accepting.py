"""A TCP listener on loopback, in a thread of its own, for as long as it is entered."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Accepting:
    """Hands each connection to `take`, which does not wait."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port: int = self._server.getsockname()[1]
        self._is_over = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def take(self, near: socket.socket) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass
        self._thread.join(5)
        self._server.close()

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            if self._is_over:
                near.close()
                return
            self.take(near)
