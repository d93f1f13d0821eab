"""Ready workers of one ground: forked ahead from its server, or spawned, and renewed."""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from djsci.isolation import limits as bounds
from djsci.isolation import users

from . import containers, folders, installed
from .bundle import write_guest
from .ground import Ground, make_folder
from .servers import ForkServer, Refused, remove
from .spawn import spawn
from .workers import StartFailed, Worker

logger = logging.getLogger(__name__)
RETRY = 1.0  # seconds before a failed refill is tried again
IDLE = 300.0  # seconds that a container waits for a run beyond its recycling
Value = TypeVar("Value")


class Supply:
    """`size` ready workers, and more on demand. One server forks them; it is renewed when old."""

    def __init__(
        self,
        ground: Ground,
        *,
        size: int,
        recycle: float,
        preload: Sequence[str],
        root: str | None,
        spawns: bool,
    ) -> None:
        self.ground = ground
        self.size = size
        self.recycle = recycle
        self.preload = list(preload)
        self.root = root
        self.spawns = spawns
        self.ready: list[Worker] = []
        self.server: ForkServer | None = None
        self.folder: Path | None = None
        self._old: list[ForkServer] = []
        self._numbers = itertools.count(1)
        self._users: dict[Worker | ForkServer, socket.socket] = {}
        self._is_closing = False
        self._stamp: tuple[object, ...] = ()
        self._aside: ThreadPoolExecutor | None = None
        self._starting = asyncio.Lock()
        self._refill: asyncio.Task[None] | None = None
        self._burials: set[asyncio.Task[object]] = set()

    @property
    def servers(self) -> int:
        """How many fork servers live: the present one, and old ones whose runs go on."""
        known = [*self._old, *([self.server] if self.server else [])]
        return sum(server.is_alive for server in known)

    def open(self) -> None:
        """Make the folder and the thread that starts everything, and begin to fill."""
        if self.folder is None:
            folders.remove_abandoned(self.root)
            self.folder = folders.make(self.root)
            if self.ground.isolation != "process":
                self.folder.chmod(0o711)  # runs are other users, and have folders in it
            write_guest(self.folder / "guest.zip")
            self._aside = ThreadPoolExecutor(1, thread_name_prefix="djsci-fork")
        self.fill_up()

    async def close(self) -> None:
        """End everything that was started; no process, folder or thread is left."""
        self._is_closing = True
        if self._refill is not None:
            self._refill.cancel()
            await asyncio.gather(self._refill, return_exceptions=True)
            self._refill = None
        for server in (*self._old, self.server):
            if server is not None:
                self._bury(server)
        self.server = None
        self._old.clear()
        await asyncio.gather(*(self.give_back(worker) for worker in self.ready))
        self.ready.clear()
        while self._burials:
            await asyncio.gather(*self._burials, return_exceptions=True)
        folder, self.folder = self.folder, None
        if folder is not None:
            await self.aside(lambda: folders.remove(folder))
        if self._aside is not None:
            self._aside.shutdown()
            self._aside = None
        self._is_closing = False

    async def aside(self, work: Callable[[], Value]) -> Value:
        """Do what would block the loop in this supply's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, work)

    async def take(self) -> Worker:
        """A living worker that has seen no user code. Raises `StartFailed`."""
        now = asyncio.get_running_loop().time()
        if not self.spawns and self.ready:
            await self._serving()  # what is ready is of an environment that has not changed
        while self.ready:
            worker = self.ready.pop(0)
            if worker.is_alive and now - worker.started < self.recycle:
                return worker
            await self.give_back(worker)
        return await self.start_worker()

    async def give_back(self, worker: Worker) -> bool:
        """End a worker that was taken; True when its whole tree is gone."""
        worker.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(worker.ending):
                await asyncio.shield(worker.code)
        worker.close()
        self._later(self._clear(worker))
        self._bury_idle()
        return worker.code.done() and worker.is_gone

    async def _clear(self, worker: Worker) -> None:
        """Remove what a dead worker had; nobody waits for it."""

        def clear() -> None:
            remove(worker.folder)
            if worker.group is not None:
                worker.group.close()

        await self.aside(clear)
        await worker.forget()
        held = self._users.pop(worker, None)
        if held is not None:
            held.close()

    async def start_worker(self, *, waits: bool = False) -> Worker:
        """A worker that is ready; one that `waits` for its run prepares more. Raises `StartFailed`.

        Joining a control group takes the system long: who cannot wait is looked after meanwhile.
        """
        self.open()
        server = None if self.spawns else await self._server_or_none()
        folder, uid, held = self._place(has_server=server is not None)
        try:
            if server is not None:
                worker = await server.fork(folder, uid=uid, waits=waits)
            else:
                worker = await self._spawn(folder, uid)
        except BaseException:
            if held is not None:
                held.close()
            remove(folder)
            raise
        if held is not None:
            self._users[worker] = held
        if worker.is_bounded:
            return worker
        if waits:
            try:
                await self.join_group(worker)
            except BaseException:
                self._later(self.give_back(worker))
                raise
            worker.is_bounded = worker.group is not None
        else:
            self.join_later(worker)
        return worker

    def _place(self, *, has_server: bool) -> tuple[Path | None, int | None, socket.socket | None]:
        """The folder and the user of a new worker, and what holds the user."""
        if self.folder is None:
            raise StartFailed("the engine is closed")
        ground, taken = self.ground, None
        if ground.isolation != "process" and not (ground.isolation == "bwrap" and has_server):
            taken = users.take(ground.uids)
        uid, held = taken or (None, None)
        if ground.has_own_root:
            return None, uid, held
        return make_folder(self.folder / f"r{next(self._numbers)}", uid), uid, held

    async def join_group(self, worker: Worker) -> None:
        """Put it into a control group of its own, where there are any."""
        await self.aside(lambda: self._bound(worker))

    def join_later(self, worker: Worker) -> None:
        """The same beside the run: it takes the system long."""
        self._later(self.join_group(worker))

    def _bound(self, worker: Worker) -> None:
        limits = bounds.Limits(pids=self.ground.pids)
        group = bounds.make_group(f"djsci-{os.getpid()}-{worker.pid}", limits)
        if group is not None:
            try:
                group.add(worker.pid)
            except OSError:
                group.close()
            else:
                worker.bound(group)

    async def _spawn(self, work: Path | None, uid: int | None) -> Worker:
        if self.folder is None or self._aside is None:
            raise StartFailed("the engine is closed")
        if self.ground.isolation == "container":
            return await containers.start(
                self.ground,
                folder=self.folder,
                uid=uid,
                preload=self.preload,
                seconds=self.recycle + IDLE,
                aside=self._aside,
            )
        preload = [self.ground.project.set_up] if self.ground.project else []
        return await spawn(
            self.ground,
            folder=self.folder,
            work=work,
            uid=uid,
            preload=preload,
            aside=self._aside,
        )

    async def _server_or_none(self) -> ForkServer | None:
        try:
            return await self._serving()
        except Refused:
            logger.warning("The project starts threads as it is set up: its runs are spawned.")
            self.spawns = True
            return None

    async def _serving(self) -> ForkServer:
        """The fork server, started where there is none, renewed where it is old."""
        self.open()
        async with self._starting:
            server, stamp = (
                self.server,
                installed.stamp(self.ground.python.packages if self.ground.python else ()),
            )
            age = asyncio.get_running_loop().time() - (server.started if server else 0)
            if server and server.is_alive and age < self.recycle and stamp == self._stamp:
                return server
            if server is not None:
                self._retire(server)
            self.server, self._stamp = await self._start_server(), stamp
            return self.server

    async def _start_server(self) -> ForkServer:
        while True:
            if self.folder is None or self._aside is None:
                raise StartFailed("the engine is closed")
            server = self._new_server(self.folder, self._aside)
            project = self.ground.project
            try:
                await server.start([*([project.set_up] if project else []), *self.preload])
            except Refused as refused:
                await self._end_server(server)
                if str(refused) not in self.preload:
                    raise
                self.preload.remove(str(refused))
                logger.warning("%s starts threads: it cannot be preloaded.", refused)
            except BaseException:
                await self._end_server(server)
                raise
            else:
                return server

    def _new_server(self, folder: Path, aside: ThreadPoolExecutor) -> ForkServer:
        ground = self.ground
        taken = users.take(ground.uids) if ground.isolation == "bwrap" else None
        uid, held = taken or (None, None)
        if ground.isolation == "landlock" and os.geteuid() == 0:
            uid = ground.uids[0]
        server = ForkServer(ground, folder=folder, aside=aside, uid=uid)
        if held is not None:
            self._users[server] = held
        return server

    async def _end_server(self, server: ForkServer) -> None:
        await server.close()
        held = self._users.pop(server, None)
        if held is not None:
            held.close()

    def _retire(self, server: ForkServer) -> None:
        """An old server forks no more; its runs go on. Its ready workers are let go."""
        for worker in self.ready:
            self._bury(worker)
        self.ready.clear()
        self._old.append(server)
        self.server = None
        self._bury_idle()

    def _bury_idle(self) -> None:
        for server in [old for old in self._old if not old.workers or not old.is_alive]:
            self._old.remove(server)
            self._bury(server)

    def _bury(self, what: Worker | ForkServer) -> None:
        self._later(
            self._end_server(what) if isinstance(what, ForkServer) else self.give_back(what)
        )

    def _later(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._burials.add(task)
        task.add_done_callback(self._burials.discard)

    def fill_up(self) -> None:
        """Make what is missing, one after the other, in the background."""
        is_running = self._refill is not None and not self._refill.done()
        is_open = self.folder is not None and not self._is_closing
        if is_open and not is_running and len(self.ready) < self.size:
            self._refill = asyncio.create_task(self._fill())

    async def _fill(self) -> None:
        while len(self.ready) < self.size and self.folder is not None:
            try:
                self.ready.append(await self.start_worker(waits=True))
            except Exception as error:
                logger.warning("A worker did not start: %s", error)
                await asyncio.sleep(RETRY)
