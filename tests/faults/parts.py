"""Real processes that a test may kill, stop and start again; each ended by its own pid."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests import live, servers
from tests.waiting import until

GONE = 10.0  # seconds in which what a killed process had started must be gone


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False


class Part:
    """One process of a site, started again with the same command as often as it is killed.

    `orphans` are the processes that a killed one had started: they must not outlive it.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, environment: dict[str, str], log: Path
    ) -> None:
        self.name = name
        self.command = list(command)
        self.environment = environment
        self.log = log
        self.url = ""
        self.folder = live.ROOT
        self.orphans: list[psutil.Process] = []
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        with self.log.open("ab") as said:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=said, stderr=said
            )

    def wait_ready(self) -> None:
        """Return once it answers."""
        raise NotImplementedError

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send the signal and wait for its end; the exit status."""
        assert self.process is not None
        self.orphans += self.tree()
        self.process.send_signal(number)
        return self.process.wait(live.STOP_SECONDS)

    def pause(self) -> None:
        """Stop it, and wait until each of its threads has stopped: one may write until then."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        until(self._is_stopped)

    def _is_stopped(self) -> bool:
        try:
            stats = [stat.read_text() for stat in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        except OSError:  # a thread has just ended
            return False
        return all(stat.rpartition(") ")[2][0] in "TZ" for stat in stats)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def tree(self) -> list[psutil.Process]:
        """What it has started: the fork server, its workers, kernels."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """End it at once, and see that nothing of it is left."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        until(lambda: not any(map(alive, self.orphans)), seconds=GONE)


class Web(Part):
    """`djsci up` on a port of its own."""

    def __init__(self, site: live.Site, kind: str, name: str) -> None:
        port = servers.free_port()
        command = [sys.executable, "-m", "djsci", "up", "--server", kind, "--port", str(port)]
        log = site.log.with_name(name)
        super().__init__(name, command, environment=dict(site.environment), log=log)
        self.url = f"http://127.0.0.1:{port}"

    def wait_ready(self) -> None:
        until(self.answers)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/djsci/health/live", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


class Worker(Part):
    """A Celery worker of the site's project."""

    def __init__(self, site: live.Site, name: str, *, slots: int, queue: str = "default") -> None:
        command = [sys.executable, "-m", "celery", "-A", "asgi_project", "worker", "-P", "threads"]
        more = ["-c", str(slots), "-Q", f"djsci.{queue}", "-n", f"{name}@%h", "-l", "INFO"]
        quiet = ["--without-gossip", "--without-mingle"]
        log = site.log.with_name(name)
        environment = dict(site.environment)
        super().__init__(name, [*command, *more, *quiet], environment=environment, log=log)

    def wait_ready(self) -> None:
        until(lambda: " ready." in self.said())


class Valkey(Part):
    """A Valkey that keeps nothing over a restart."""

    def __init__(self, folder: Path) -> None:
        port = servers.free_port()
        listen = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        command = [servers._valkey_program(), *listen]
        super().__init__("valkey", command, environment={}, log=folder / "valkey")
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"

    def wait_ready(self) -> None:
        assert self.process is not None
        assert servers._answers_ping(self.process, self.port)


@contextmanager
def valkey() -> Iterator[Valkey]:
    """A Valkey of the test's own."""
    with tempfile.TemporaryDirectory(prefix="djsci-valkey-") as folder:
        part = Valkey(Path(folder))
        part.start()
        try:
            part.wait_ready()
            yield part
        finally:
            part.resume()
            part.close()


class Postgres:
    """A PostgreSQL of the test's own; `pause` stops its postmaster and all its backends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control = servers._start_postgres(folder)
        self.url = f"postgresql://postgres@{str(folder).replace('/', '%2F')}/postgres"

    def restart(self) -> None:
        """As after a crash: every connection is cut, then it is there again."""
        options = f"-k {self.folder} -h '' -F -c max_connections=200"
        servers._execute([*self.control, "-m", "immediate", "stop"], self.folder)
        more = ["-l", str(self.folder / "log"), "-o", options]
        servers._execute([*self.control, *more, "start"], self.folder)

    def signal(self, number: int) -> None:
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        server = psutil.Process(pid)
        for process in (server, *server.children(recursive=True)):
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def execute(self, statement: str) -> list[Any]:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(statement)  # type: ignore[arg-type]
            return found.fetchall() if found.description else []


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the test's own, which it may stop and restart."""
    folder = Path(tempfile.mkdtemp(prefix="djsci-pg-", dir="/tmp"))
    try:
        server = Postgres(folder)
        try:
            yield server
        finally:
            server.resume()
            live._templates.pop(server.url, None)
            servers._execute([*server.control, "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def library(name: str) -> str | None:
    """A shared library of this machine that is preloaded, such as libfaketime's."""
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{name}")) if os.name == "posix" else []
    return str(found[0]) if found else None
