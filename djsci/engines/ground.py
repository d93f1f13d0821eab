"""What a guest stands on: its level, its users, and the command that starts it there."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from djsci.isolation import bwrap, fonts, landlock, users
from djsci.isolation import process as bare
from djsci.isolation.container import Settings
from djsci.isolation.limits import Limits
from djsci.isolation.python import Python

from . import bundle, tree

BACKEND = "module://matplotlib_inline.backend_inline"
BOOT = (
    "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); "
    "from djsci.isolation.levels import LEVELS; from djsci.guest.{} import main; "
    "main(LEVELS[sys.argv[2]])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A Django project that a guest has: for trusted versions only."""

    environment: Mapping[str, str]
    paths: Sequence[str]
    folder: str
    set_up: str = "djsci.project:set_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Guests of one kind have one; each kind has a fork server of its own."""

    isolation: str = "process"
    project: Project | None = None
    python: Python | None = None  # another environment's
    has_network: bool = False  # the server's own, at a level that otherwise has none
    pids: int = Limits().pids
    uids: tuple[int, int] = users.RANGE
    calls: int = 1  # how many runs may share a worker's user at once
    container: Settings = Settings()  # noqa: RUF009 - immutable
    memory: int = Limits().memory  # bytes, of a container until its run is known
    longest: float = 310.0  # seconds that any run may take, its end included

    @property
    def has_own_root(self) -> bool:
        """Whether a run's folder is in memory of its own, not on this host's disk."""
        return self.isolation in ("bwrap", "container")

    @property
    def is_guarded(self) -> bool:
        """Whether only workers have its Python, each in its wall: the fork server has another."""
        return self.python is not None and bool(self.python.starter)

    @property
    def level(self) -> str:
        """The name in `LEVELS` of what its forks wall themselves in by."""
        return self.isolation + ("+network" if self.has_network else "")

    def limits(self) -> Limits:
        return Limits(memory=self.memory, pids=self.pids * self.calls)

    def hidden(self) -> list[str]:
        """Folders that no run imports from."""
        return [] if self.project else bundle.hidden()

    def start(
        self,
        module: str,
        *,
        folder: Path,
        kept: int,
        options: Mapping[str, Any],
        mark: str,
        uid: int | None = None,
        work: Path | None = None,
        **popen: Any,
    ) -> "subprocess.Popen[bytes]":
        """Start a program of the guest. Called in the engine's own long-lived thread.

        `kept` is its socket. A `forkserver` lets its children enter the level; any other program is
        walled in from its start, as `uid` where the server is root, and writes to `work`.
        """
        paths = list(self.project.paths) if self.project else [str(folder / "guest.zip")]
        program = self.python.program if self.python else sys.executable
        starter = [program, "-I"]
        if self.python and self.is_guarded and module == "forkserver":
            starter = [self.python.starter, "-I", "-S"]
        argv = [*starter, "-c", BOOT.format(module), json.dumps(paths)]
        argv += [self.level, str(kept), json.dumps(dict(options))]
        given = self.project.environment if self.project else bare.environment(folder)
        environment = {**bare.ONE_THREAD, **given, "MPLBACKEND": BACKEND, tree.MARK: mark}
        if self.python:
            environment["PATH"] = f"{os.path.dirname(program)}:{environment['PATH']}"
        is_walled = self.isolation != "process" and module != "forkserver"
        if self.has_own_root or is_walled:
            home = "/tmp" if self.has_own_root else str(work)  # noqa: S108
            environment |= {"MPLCONFIGDIR": f"{home}/.matplotlib", "IPYTHONDIR": f"{home}/.ipython"}
            environment |= fonts_offered()
        wrapped = self._walled if is_walled else self._forking
        return subprocess.Popen(  # noqa: S603 - our own program
            wrapped(argv, environment, folder, work or folder, [kept], uid),
            cwd=self.project.folder if self.project else work or folder,
            env=environment,
            pass_fds=[kept],
            stdin=subprocess.DEVNULL,
            **bare.START,
            **popen,
        )

    def own_paths(self) -> tuple[str, ...]:
        """What its Python reads, where that is not the server's."""
        return self.python.paths if self.python else ()

    def _readable(self, folder: Path) -> list[str]:
        return [str(folder / "guest.zip"), *fonts_offered().values(), *self.own_paths()]

    def _forking(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        _: Path,
        keep: Sequence[int],
        uid: int | None,
    ) -> list[str]:
        if self.isolation == "bwrap":
            return bwrap.command(
                argv,
                environment=environment,
                limits=self.limits(),
                readable=self._readable(folder),
                uid=uid,
                keep=keep,
                may_nest=True,
                has_network=self.has_network,
            )
        if self.isolation == "landlock" and uid is not None:
            return landlock.reached(argv, [str(folder), *self.own_paths()], uid=uid, keep=keep)
        return bare.command(argv)

    def _walled(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        work: Path,
        keep: Sequence[int],
        uid: int | None,
    ) -> list[str]:
        readable, limits = self._readable(folder), self.limits()
        if self.isolation == "bwrap":
            return bwrap.command(
                argv,
                environment=environment,
                limits=limits,
                readable=readable,
                uid=uid,
                keep=keep,
                has_network=self.has_network,
            )
        if self.isolation == "landlock":
            return landlock.command(
                argv,
                limits=limits,
                folder=str(work),
                readable=readable,
                uid=uid,
                keep=keep,
                has_network=self.has_network,
            )
        return bare.command(argv)


def fonts_offered() -> dict[str, str]:
    """What tells a walled guest where matplotlib's list of fonts can be read."""
    found = fonts.offered()
    return {} if found is None else {fonts.VARIABLE: found}


def make_folder(path: Path, uid: int | None) -> Path:
    """A run's own folder, for a user of its own where it has one."""
    path.mkdir(mode=0o700)
    if uid is not None:
        os.chown(path, uid, uid)
    return path
