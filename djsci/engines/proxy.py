"""The supervisor's half of the proxy: it is started when a run first has doors, and handed them."""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from djsci.core.connections import Host
from djsci.isolation import proxy

PROGRAM = Path(proxy.__file__)
ENDING = 2.0  # seconds


class Proxy:
    """One process for all runs of an engine; it ends when this side of its socket is closed."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def open(self, run: int, hosts: Sequence[Host], of: Sequence[int], doors: list[int]) -> None:
        """Give a run's doors away: the descriptors are closed here. Raises `OSError`."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        self._say({"run": run, "hosts": hosts, "of": of}, doors)

    def forget(self, run: int) -> None:
        """The run is over: so is everything that it is connected to."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._say({"run": run}, [])

    def close(self) -> None:
        """End it."""
        control, self._control = self._control, None
        if control is not None:
            control.close()
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self) -> None:
        self.close()
        self._control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)  # a proxy that hangs refuses new doors, and blocks nobody
        with far:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", str(PROGRAM), str(far.fileno())],
                pass_fds=[far.fileno()],
                stdin=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )

    def _say(self, values: object, doors: list[int]) -> None:
        if self._control is not None:
            socket.send_fds(self._control, [json.dumps(values).encode()], doors)
