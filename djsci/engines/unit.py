"""Starts one kernel process in its own environment, and ends its whole tree."""

import asyncio
import contextlib
import os
import resource
import secrets
import select
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from queue import Empty
from typing import cast

import zmq.asyncio
from zmq.error import ZMQError

from djsci.isolation import process as isolation

from . import folders, tree
from .ground import Ground
from .provisioner import Client, KernelManager, Provisioner, own_launch
from .wall import Wall

SOCKET_PATH = 107  # bytes that a unix socket's path may have
CHANNELS = ("shell", "iopub", "control")
WARM = (
    "__import__('sys').path.insert(0, {guest!r}); "
    "__import__('djsci.guest.kernel', fromlist=['warm']).warm({preload!r})"
)


class StartFailed(Exception):
    """The kernel did not start."""


class Unit:
    """One kernel with its folder, its process and the one client that is connected to it."""

    def __init__(
        self,
        *,
        kernelspec: str,
        folder: Path,
        context: zmq.asyncio.Context,
        ground: Ground = Ground(),  # noqa: B008 - immutable
    ) -> None:
        self.kernelspec = kernelspec
        self.folder = folder
        self.wall = Wall(ground, folder)
        self.mark = secrets.token_hex(8)
        self.pid = 0  # of the process that we started
        self.kernel_pid = 0  # of its child, where our front is between
        self.started = time.monotonic()
        self.is_guest = False  # ours: the guest can be loaded into it
        self.context = context
        self._client: Client | None = None
        self.manager = KernelManager(
            kernel_name=kernelspec,
            transport="ipc",
            ip=str(self.wall.sockets / "s"),
            connection_file=str(folder / "c.json"),
            context=context,
            client_factory=Client,
        )
        self._pidfd: int | None = None
        self._is_gone = False
        self._loop = asyncio.get_running_loop()
        self.died: asyncio.Future[None] = self._loop.create_future()

    @property
    def work(self) -> Path:
        """The folder in which the run's files are, and where user code starts."""
        return self.folder / "work"

    @property
    def is_alive(self) -> bool:
        if self._pidfd is None:
            return False
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return not poller.poll(0)  # asked now: the loop may not have heard of the death yet

    @property
    def client(self) -> Client:
        """The client on shell, iopub and control."""
        if self._client is None:
            raise StartFailed("the kernel has no client")
        return self._client

    async def launch(self) -> None:
        """Start the process. Its sockets come later."""
        spec = self.manager.kernel_spec
        self.is_guest = own_launch(spec.argv) != list(spec.argv)
        self.wall.open()
        provisioner = Provisioner(kernel_id=self.mark, kernel_spec=spec, parent=self.manager)
        provisioner.wall = self.wall
        provisioner.environment = self.wall.environment(
            {
                **isolation.environment(self.folder / "home"),
                "MPLBACKEND": "module://matplotlib_inline.backend_inline",
                tree.MARK: self.mark,
            }
        )
        provisioner.on_start = self._on_start
        self.manager.provisioner = provisioner
        with (self.folder / "startup.log").open("wb") as log:
            await self.manager.start_kernel(cwd=str(self.work), stdout=log, stderr=log)

    def _on_start(self, pid: int) -> None:
        self.pid = pid
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(pid)
            self._loop.add_reader(self._pidfd, self._on_death)
            return
        self._on_death()

    def _on_death(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if not self.died.done():
            self.died.set_result(None)

    async def ready(self, *, guest: Path, preload: Sequence[str], seconds: float) -> None:
        """Connect, hear the iopub channel, run the warm-up cell. Raises `StartFailed`."""
        try:
            async with asyncio.timeout(seconds):
                await self._sockets()
                self._connect()
                await self._while_alive(self._hear())
                if self.is_guest:
                    await self._while_alive(self._warm(guest, preload))
        except TimeoutError:
            raise StartFailed(f"no kernel after {seconds:g} s{self._said()}") from None

    async def _sockets(self) -> None:
        names = ("shell", "iopub", "stdin", "control", "hb")
        paths = [f"{self.manager.ip}-{getattr(self.manager, name + '_port')}" for name in names]
        while not all(_is_socket(path, self.wall) for path in paths):
            if self.died.done():
                raise StartFailed(f"the kernel ended at its start{self._said()}")
            await asyncio.sleep(0.005)

    def _said(self) -> str:
        text = (self.folder / "startup.log").read_text(errors="replace").strip()
        return f": {text[-2000:]}" if text else ""

    def _connect(self) -> None:
        client = self.manager.client(context=self.context)
        client.start_channels(stdin=False, hb=False)
        client.allow_stdin = False
        self._client = client

    async def _while_alive(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self.died}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise StartFailed(f"the kernel ended at its start{self._said()}")
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _hear(self) -> None:
        client = self.client
        while True:
            try:
                message = await client.get_iopub_msg(timeout=2.0 if self.is_guest else 0.3)
            except Empty:
                client.kernel_info()
                continue
            if message["msg_type"] in ("iopub_welcome", "status"):
                return

    async def _warm(self, guest: Path, preload: Sequence[str]) -> None:
        client = self.client
        code = WARM.format(guest=str(guest), preload=list(preload))
        sent, text = client.execute(code, silent=True, store_history=False), ""
        while True:
            message = await client.get_iopub_msg()
            content = message["content"]
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["msg_type"] == "error":
                raise StartFailed(f"{content['ename']}: {content['evalue']}")
            if message["msg_type"] == "stream":
                text += content["text"]
            if content.get("execution_state") == "idle":
                break
        candidates = tree.members(self.pid, self.mark, tree.snapshot())
        self.kernel_pid = self.wall.host_pid(int(text.split()[-1]), sorted(candidates))
        while (await client.get_shell_msg())["parent_header"].get("msg_id") != sent:
            pass

    def limit(self, *, cpu_seconds: float) -> None:
        """Bound the processor time and the core files of the process."""
        pid = self.kernel_pid or self.pid
        with contextlib.suppress(OSError, ValueError):
            seconds = int(cpu_seconds + _cpu_seconds(pid)) + 1
            resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds))
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))

    def interrupt(self) -> None:
        """Ask for KeyboardInterrupt on the control channel, which works across namespaces."""
        client = self._client
        if client is None or not self.is_alive:
            return
        if self.is_guest or self.manager.kernel_spec.interrupt_mode == "message":
            message = client.session.msg("interrupt_request", content={})
            with contextlib.suppress(ZMQError):
                client.control_channel.send(message)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGINT)

    def exit_text(self) -> str:
        """How the process ended: `exit 9` or `signal 11 (SIGSEGV)`."""
        code = self._process.poll()
        if code is None:
            return "the kernel is gone"
        code = self.wall.signal_of(code)
        if code >= 0:
            return f"exit {code}"
        try:
            return f"signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"signal {-code}"

    def kill(self) -> bool:
        """SIGKILL everything that the unit started; True when none is left."""
        if self.pid == 0 or self._is_gone:
            return True
        is_gone = tree.kill(self.pid, self.mark)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # its threads may outlive its first one by a moment
            self._is_gone = is_gone
        return self._is_gone

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        return cast("subprocess.Popen[bytes]", self.manager.provisioner.process)

    async def end(self) -> bool:
        """`close`, for who can wait for it."""
        return self.close()

    def close(self) -> bool:
        """Kill the tree, then give back sockets and descriptors; True when none is left."""
        is_gone = self.kill()
        self.hang_up()
        if is_gone:
            self.wall.close()
        return is_gone

    def hang_up(self) -> None:
        """Give back the sockets: nothing is said to the kernel any more, nor heard of it."""
        if self._client is not None:
            for name in CHANNELS:
                getattr(self._client, f"{name}_channel").stop()
            self._client = None
        self._on_death()
        self.manager.cleanup_connection_file()


def _cpu_seconds(pid: int) -> float:
    values = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def _is_socket(path: str, wall: Wall) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISSOCK(status.st_mode) and wall.is_mine(status.st_uid)


def make_folder(root: str | None) -> Path:
    """A new 0700 folder whose sockets' paths are short enough."""
    for parent in (root or tempfile.gettempdir(), "/tmp", "/dev/shm"):  # noqa: S108
        folders.remove_abandoned(parent)
        folder = folders.make(parent)
        if len(os.fsencode(folder / "k999999" / "s" / "s-5")) <= SOCKET_PATH:
            return folder
        folders.remove(folder)
    raise StartFailed("no folder has a path short enough for unix sockets")
