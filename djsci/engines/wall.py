"""The wall around one kernel: its user, its folders, and the command that starts it inside."""

import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from djsci.isolation import bwrap, landlock, users
from djsci.isolation import process as bare

from .ground import Ground, fonts_offered

PROGRAMS = tuple(str(Path(__file__).with_name(name)) for name in ("front.py", "launch.py"))


class Wall:
    """One kernel's wall at a level; at `process` there is none."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        self.ground = ground
        self.level = ground.isolation
        self.folder = folder
        self.uid: int | None = None
        self._held: socket.socket | None = None

    @property
    def sockets(self) -> Path:
        """The folder of the kernel's sockets, and of nothing else."""
        return self.folder if self.level == "process" else self.folder / "s"

    def open(self) -> None:
        """Make the folders, for a user of the run's own where the server is root."""
        names = ("work", "home") if self.level == "process" else ("work", "home", "s", "c")
        for name in names:
            (self.folder / name).mkdir(mode=0o700, parents=True)
        if self.level != "process" and (taken := users.take(self.ground.uids)) is not None:
            self.uid, self._held = taken
            for name in names:
                os.chown(self.folder / name, self.uid, self.uid)

    def is_mine(self, uid: int) -> bool:
        """Whether a file of this user can be the kernel's."""
        return uid == (os.getuid() if self.uid is None else self.uid)

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The environment of the kernel, with folders that it can write to."""
        if self.level == "process":
            return dict(given)
        home = "/tmp" if self.level == "bwrap" else str(self.folder / "home")  # noqa: S108
        folders = {"MPLCONFIGDIR": f"{home}/matplotlib", "IPYTHONDIR": f"{home}/.ipython"}
        return {**given, **folders, **fonts_offered()}

    def command(
        self, argv: Sequence[str], *, environment: Mapping[str, str], connection: Path
    ) -> list[str]:
        """The command line that starts the kernel. `connection` is its connection file."""
        if self.level == "process":
            return bare.command(argv)
        given = self._connection(connection)
        known = {str(connection), os.path.realpath(connection)}
        argv = [str(given) if part in known else part for part in argv]
        readable = [*PROGRAMS, str(self.folder.parent / "guest.zip"), str(given)]
        readable += fonts_offered().values()
        if self.level == "bwrap":
            return bwrap.command(
                argv,
                environment=environment,
                limits=self.ground.limits(),
                readable=readable,
                sockets=str(self.sockets),
                uid=self.uid,
            )
        return landlock.command(
            argv,
            limits=self.ground.limits(),
            folder=str(self.folder / "home"),
            writable=[str(self.folder / "work")],
            readable=readable,
            sockets=[str(self.sockets)],
            uid=self.uid,
        )

    def _connection(self, path: Path) -> Path:
        """A copy for the kernel, with the sockets where it finds them."""
        values = json.loads(path.read_text())
        if self.level == "bwrap":
            values["ip"] = f"{bwrap.SOCKETS}/s"
        copy = self.folder / "c" / path.name
        copy.write_text(json.dumps(values))
        copy.chmod(0o400)
        if self.uid is not None:
            os.chown(copy, self.uid, self.uid)
        return copy

    def host_pid(self, pid: int, candidates: Sequence[int]) -> int:
        """Which of our pids is the process that calls itself `pid`; 0 where none is."""
        for candidate in candidates:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{candidate}/status").read_text().splitlines():
                    if line.startswith("NSpid:") and line.split()[-1] == str(pid):
                        return candidate
        return 0

    def signal_of(self, code: int) -> int:
        """An exit code as `Popen` would give it: bwrap adds 128 to a signal."""
        return 128 - code if self.level == "bwrap" and 128 < code <= 128 + 64 else code

    def close(self) -> None:
        """Give the user back, once nothing of the run is alive."""
        if self._held is not None:
            self._held.close()
            self._held = None
