"""A worker that is not forked: an interpreter of its own, walled in from its start."""

import asyncio
import os
import secrets
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import tree
from .ground import Ground
from .workers import StartFailed, Worker


class SpawnedWorker(Worker):
    """A worker whose supervisor is its parent: it sees the end itself."""

    def __init__(self, folder: Path | None, *, uid: int | None = None) -> None:
        super().__init__(folder, uid=uid)
        self.mark = secrets.token_hex(8)
        self.process: subprocess.Popen[bytes] | None = None
        self._watched: int | None = None

    def watch(self, ground: Ground) -> None:
        """Hear of the end of the process."""
        process = self.process
        if process is None:
            return
        loop = asyncio.get_running_loop()
        self._watched = os.pidfd_open(process.pid)
        self.abort = process.kill

        def on_end() -> None:
            self._unwatch()
            code = process.wait()
            # bwrap adds 128 to a signal: the same cannot be told from a code that is so large.
            is_signal = ground.isolation == "bwrap" and 128 < code <= 128 + 64
            is_gone = tree.kill(process.pid, self.mark)
            self.ended(128 - code if is_signal else code, is_gone=is_gone)

        loop.add_reader(self._watched, on_end)

    def _unwatch(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = None


async def spawn(
    ground: Ground,
    *,
    folder: Path,
    work: Path | None,
    uid: int | None,
    preload: Sequence[str],
    aside: ThreadPoolExecutor,
) -> SpawnedWorker:
    """A worker that has said hello. `work` is its own folder on this host. Raises `StartFailed`."""
    worker = SpawnedWorker(work, uid=uid)
    run, out, err = worker.ends

    def start() -> "subprocess.Popen[bytes]":
        return ground.start(
            "spawned",
            folder=folder,
            work=work,
            kept=run,
            options={"preload": list(preload), "folder": str(work or "")},
            mark=worker.mark,
            uid=uid,
            stdout=out,
            stderr=err,
        )

    starting = asyncio.get_running_loop().run_in_executor(aside, start)
    try:
        await asyncio.wait({starting})
        worker.process = starting.result()
        worker.watch(ground)
        worker.close_ends()
        await worker.hello()
    except BaseException as error:
        if worker.process is None and starting.done() and not starting.exception():
            worker.process = starting.result()
        if worker.process is not None:
            worker.process.kill()
            await asyncio.wait({worker.code})
        worker.close()
        if isinstance(error, (OSError, TimeoutError, ValueError)):
            raise StartFailed(str(error) or type(error).__name__) from error
        raise
    return worker
