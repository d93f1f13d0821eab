"""The engine of `djsci run`: one spawned worker on the user's own machine, as the user."""

import asyncio
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from .bundle import PACKAGE
from .conversation import Conversation
from .fork import ForkEngine
from .ground import Project

ENDING = 2.0  # seconds that a killed worker may take to be gone
PIDS = 1 << 16
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class LocalEngine(ForkEngine):
    """Runs have the user's environment and home; the files that they leave come into `target`.

    `left` names them after the run; `lost` says why one could not be had.
    """

    name: ClassVar[str] = "local"
    spawns: ClassVar[bool] = True

    def __init__(self, target: Path) -> None:
        here = os.getcwd()
        # What is imported from here must be here for the server too: named, and so a companion.
        paths = [path for path in sys.path if path not in ("", here)]
        threads = dict.fromkeys(THREADS, str(os.cpu_count() or 1))
        project = Project(
            environment={**threads, **os.environ, "DJSCI_LOCAL": "1"},
            paths=[*paths, str(PACKAGE.parent)],
            folder=here,
            set_up="djsci",
        )
        super().__init__(size=0, project=project, pids=PIDS)
        self.target = target
        self.left: list[str] = []
        self.lost: list[str] = []

    @property
    def work(self) -> str:
        """The folder of the one run."""
        return str((self.supply.folder or Path()) / "r1")

    async def _release(self, run: Conversation) -> bool:
        worker = run.worker
        worker.kill(is_done=run.frames.is_done)
        await asyncio.wait({worker.code}, timeout=ENDING)
        if worker.folder is not None:
            await self.supply.aside(partial(self._keep, worker.folder, run.source.files))
        return await super()._release(run)

    def _keep(self, folder: Path, given: Mapping[str, bytes]) -> None:
        for name in _files(folder):
            if name in given and _holds(folder / name, given[name]):
                continue
            place = self.target / name
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                if place.is_dir():
                    raise IsADirectoryError(f"{place} is a folder")
                shutil.move(folder / name, place)
            except OSError as error:
                self.lost.append(f"{name}: {error}")
            else:
                self.left.append(name)


def _holds(path: Path, content: bytes) -> bool:
    return path.stat().st_size == len(content) and path.read_bytes() == content


def _files(folder: Path) -> Iterator[str]:
    """The regular files below `folder`, hidden ones and caches left out."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if one[0] != "." and one != "__pycache__")
        for name in sorted(names):
            path = Path(base, name)
            if name[0] != "." and stat.S_ISREG(path.lstat().st_mode):
                yield str(path.relative_to(folder))
