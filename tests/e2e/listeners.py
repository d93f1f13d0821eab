"""Who connects to this machine: a TCP and a UDP listener on loopback that name what came."""

import re
import socket
import threading
from types import TracebackType


class Listeners:
    """`hits`: the names of the attacks that arrived; what cannot be told is "tcp" or "udp"."""

    def __init__(self) -> None:
        self.hits: set[str] = set()
        self._tcp = socket.create_server(("127.0.0.1", 0), backlog=200)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self.tcp_port: int = self._tcp.getsockname()[1]
        self.udp_port: int = self._udp.getsockname()[1]
        self._is_open = True
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._accept, self._receive)
        ]

    def __enter__(self) -> "Listeners":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        with socket.create_connection(("127.0.0.1", self.tcp_port)):
            self._udp.sendto(b"", ("127.0.0.1", self.udp_port))
        for thread in self._threads:
            thread.join(5)
        self._tcp.close()
        self._udp.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            if not self._is_open:
                connection.close()
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

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
            if not self._is_open:
                return
            if said:
                self.hits.add("udp")
