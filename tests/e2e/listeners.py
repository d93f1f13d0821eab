"""Who connects to this machine: a TCP and a UDP listener on loopback that name what came."""

import re
import socket
import threading
from typing import Any, Self

from .accepting import Accepting


class Listeners(Accepting):
    """`hits`: the names of the attacks that arrived; what cannot be told is "tcp" or "udp"."""

    def __init__(self) -> None:
        super().__init__()
        self.hits: set[str] = set()
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self.tcp_port = self.port
        self.udp_port: int = self._udp.getsockname()[1]
        self._receiving = threading.Thread(target=self._receive, daemon=True)

    def __enter__(self) -> Self:
        self._receiving.start()
        return super().__enter__()

    def __exit__(self, *left: Any) -> None:
        super().__exit__(*left)
        self._udp.sendto(b"", ("127.0.0.1", self.udp_port))
        self._receiving.join(5)
        self._udp.close()

    def take(self, near: socket.socket) -> None:
        threading.Thread(target=self._answer, args=(near,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(1.0)
            try:
                said = connection.recv(2000)
                connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            except OSError:
                said = b""
        named = re.match(rb"[A-Z]+ /([\w-]+)", said)
        self.hits.add(named[1].decode() if named else "tcp")

    def _receive(self) -> None:
        while True:
            said, _ = self._udp.recvfrom(2000)
            if self._is_over:
                return
            if said:
                self.hits.add("udp")
