"""The engine of `djsci run`: one spawned worker on the user's own machine, as the user."""

import os
import sys
from pathlib import Path
from typing import ClassVar

from .bundle import PACKAGE
from .fork import ForkEngine
from .ground import Project

PIDS = 1 << 16
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class LocalEngine(ForkEngine):
    """Runs have the user's environment and home."""

    name: ClassVar[str] = "local"
    spawns: ClassVar[bool] = True

    def __init__(self) -> None:
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

    @property
    def work(self) -> str:
        """The folder of the one run."""
        return str((self.supply.folder or Path()) / "r1")
