"""Level `bwrap`: a minimal root and namespaces of its own for a run, by bubblewrap."""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from . import landlock
from .limits import Limits

LEAST_VERSION = (0, 8)
NOBODY = 65534
WORK, SOCKETS = "/workdir", "/sockets"
ETC = ("/etc/alternatives", "/etc/fonts", "/etc/ssl", "/etc/ca-certificates", "/etc/localtime")
TERMINALS = "/dev/pts"  # of the wall alone
HOSTS = "/dev/shm/hosts"  # noqa: S108 - which the guest writes
NETWORK = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/services")
LINKS = ("bin", "sbin", "lib", "lib64", "lib32")
PROGRAMS = "/usr/local/bin:/usr/bin:/bin"
INSTALL = "Install bubblewrap (its package is named bubblewrap), version 0.8 or later."


class Sizes(NamedTuple):
    """Bytes of the folders that a run may write to; all are in memory."""

    work: int = 448 << 20
    temporary: int = 64 << 20
    shared: int = 16 << 20


def arguments(
    program: str,
    *,
    environment: Mapping[str, str],
    readable: Sequence[str],
    sockets: str | None = None,
    sizes: Sizes = Sizes(),  # noqa: B008 - immutable
    seccomp: int,
    may_nest: bool = False,
    has_network: bool = False,
) -> list[list[str]]:
    """bwrap's command line as options with their values; the program's own comes after it.

    `readable` paths keep their names. `sockets` is the only folder of the host that can be reached
    to write: for unix sockets, under the name of `SOCKETS`. `may_nest` leaves user namespaces to a
    fork server, which takes them from its children. `has_network`: the server's own.
    """
    options = [
        [program],
        *(["--unshare-all"], ["--unshare-user"], ["--disable-userns"]),
        *(["--die-with-parent"], ["--new-session"], ["--clearenv"], ["--hostname", "djsci"]),
        *(["--uid", str(NOBODY)], ["--gid", str(NOBODY)], ["--cap-drop", "ALL"]),
        ["--ro-bind", "/usr", "/usr"],
        *(["--symlink", f"usr/{name}", f"/{name}"] for name in LINKS if _is_link(name)),
        *(["--ro-bind-try", path, path] for path in ETC),
        *([["--symlink", HOSTS, "/etc/hosts"]] if not has_network else []),
        *(["--ro-bind-try", path, path] for path in (NETWORK if has_network else ())),
        *([["--share-net"]] if has_network else []),
        *(["--proc", "/proc"], ["--dev", "/dev"]),
        *_memory(sizes),
        *(["--ro-bind", path, path] for path in readable if not path.startswith("/usr/")),
        *([["--bind", sockets, SOCKETS]] if sockets else []),
        ["--chdir", WORK],
        ["--seccomp", str(seccomp)],
        *(["--setenv", name, value] for name, value in environment.items()),
    ]
    return [option for option in options if not (may_nest and option == ["--disable-userns"])]


def _memory(sizes: Sizes) -> list[list[str]]:
    places = (("/tmp", sizes.temporary), ("/dev/shm", sizes.shared), (WORK, sizes.work))  # noqa: S108
    return [["--size", str(size), "--tmpfs", path] for path, size in places]


def _is_link(name: str) -> bool:
    return Path("/usr", name).exists()


def command(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    limits: Limits,
    readable: Sequence[str] = (),
    sockets: str | None = None,
    sizes: Sizes = Sizes(),  # noqa: B008
    uid: int | None = None,
    groups: Sequence[str] = (),
    keep: Sequence[int] = (),
    may_nest: bool = False,
    has_network: bool = False,
) -> list[str]:
    """The command line that starts `argv` inside the wall. Raises `OSError` without bubblewrap.

    `uid`, for a server that is root: who bwrap is started as, with `sockets` its own. `keep` are
    descriptors that reach `argv`.
    """
    program = find()
    paths = [path for path in (*landlock.interpreter_paths(), *readable) if os.path.exists(path)]
    home = {"HOME": WORK, "TMPDIR": "/tmp", "IPYTHONDIR": f"{WORK}/.ipython"}  # noqa: S108
    descriptor = max((2, *keep)) + 1
    options = arguments(
        program,
        environment={**environment, **home},
        readable=paths,
        sockets=sockets,
        sizes=sizes,
        seccomp=descriptor,
        may_nest=may_nest,
        has_network=has_network,
    )
    outer = [part for option in options for part in option]
    return landlock.stub(
        [*outer, "--", *_inner(argv, paths, limits=limits, may_nest=may_nest, keep=keep)],
        uid=uid,
        reach=[*paths, *([sockets] if sockets else [])],
        groups=list(groups),
        seccomp_fd=descriptor,
        may_nest=may_nest,
        keep=list(keep),
    )


def _inner(
    argv: Sequence[str],
    paths: Sequence[str],
    *,
    limits: Limits,
    may_nest: bool,
    keep: Sequence[int],
) -> list[str]:
    """`argv` below Landlock, which forbids the mounts of a fork server: its children enter it."""
    if may_nest:
        return list(argv)
    writable = ("/tmp", WORK, "/dev/shm", TERMINALS)  # noqa: S108
    rules = landlock.Rules((*paths, "/etc"), writable, (SOCKETS,), is_only_wall=False)
    return landlock.stub(
        argv, limits=limits._asdict(), rules=rules._asdict(), keep=list(keep), groups=[]
    )


def find() -> str:
    """bubblewrap's program. Raises `OSError` that says what to do."""
    program = shutil.which("bwrap") or shutil.which("bwrap", path=PROGRAMS)
    if program is None:
        raise FileNotFoundError(f"bubblewrap is not here. {INSTALL}")
    status = os.stat(program)
    _check(program, status.st_mtime_ns)
    if status.st_mode & stat.S_ISUID:
        raise PermissionError(f"{program} is setuid: remove that (chmod u-s), it is not needed.")
    return program


@lru_cache(maxsize=4)
def _check(program: str, _: int) -> None:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10).stdout  # noqa: S603
    found = re.fullmatch(r"bubblewrap (\d+)\.(\d+)\S*\s*", said)
    if found is None:
        raise OSError(f"{program} is not bubblewrap. {INSTALL}")
    if (int(found[1]), int(found[2])) < LEAST_VERSION:
        raise OSError(f"{program} is {said.strip()}. {INSTALL}")
