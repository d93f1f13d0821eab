"""Run as a program: takes the steps into a wall, in their order, and becomes the command.

Started with `python -I -S`, before anything of the user's: argv is the steps as JSON, then the
command. It has no import beyond the standard library and its siblings.
"""

import contextlib
import ctypes
import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent.parent))

from djsci.isolation import landlock, seccomp, users
from djsci.isolation.limits import Limits

NEW_MOUNTS, BIND, RECURSIVE, PRIVATE = 0x20000, 4096, 16384, 1 << 18
NOSUID, NODEV = 2, 4
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    steps: dict[str, Any] = json.loads(argv[1])
    for folder in steps.get("groups", ()):
        (Path(folder) / "cgroup.procs").write_text(str(os.getpid()))
    if steps.get("uid") is not None:
        folder = os.getcwd()
        reach(steps["reach"], steps["uid"])
        if not steps.get("stays_root"):
            users.become(steps["uid"])
        with contextlib.suppress(OSError):
            os.chdir(folder)  # the same by its name, in the new mounts
    if not steps.get("stays_root"):  # a fork server ends its children first, then itself
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if steps.get("seccomp_fd"):
        pass_program(steps["seccomp_fd"], may_nest=steps["may_nest"])
    if steps.get("limits"):
        Limits(**steps["limits"]).apply()
    if steps.get("rules"):
        landlock.restrict(landlock.rules_from(steps["rules"]))
    if (has_network := steps.get("network")) is not None:
        listens = bool(steps["rules"]["sockets"])
        given = {"has_network": has_network, "shares_ipc": True, "listens": listens}
        seccomp.install(seccomp.program(**given))
    if steps.get("folder"):
        os.environ.update(HOME=steps["folder"], TMPDIR=steps["folder"])
    close_others({*steps.get("keep", ()), steps.get("seccomp_fd") or 0})
    os.execvpe(argv[2], argv[2:], os.environ)  # noqa: S606


def close_others(kept: set[int]) -> None:
    """Close every descriptor but the standard ones and `kept`."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def pass_program(descriptor: int, *, may_nest: bool) -> None:
    """Leave the seccomp profile for bwrap to read, at a descriptor of this number."""
    made = os.memfd_create("seccomp", 0)
    os.write(made, seccomp.program(may_nest=may_nest))
    os.lseek(made, 0, os.SEEK_SET)
    if made != descriptor:
        os.dup2(made, descriptor)
        os.close(made)


def reach(paths: list[str], uid: int) -> None:
    """Let `uid` reach `paths` below folders that are closed to it, in mounts of our own."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(NEW_MOUNTS), "a mount namespace")
    _mount(libc, "none", "/", None, RECURSIVE | PRIVATE)
    _mount(libc, "shm", "/dev/shm", "tmpfs", NOSUID | NODEV, "size=16m,nr_inodes=4096,mode=1777")  # noqa: S108
    closed = closed_folders(paths, uid)
    opened = {
        path: os.open(path, os.O_PATH)
        for path in dict.fromkeys(paths)
        if os.path.exists(path) and any(_is_below(path, folder) for folder in closed)
    }
    for folder in closed:
        _mount(libc, "none", folder, "tmpfs", NOSUID | NODEV, "size=1m,nr_inodes=1024,mode=0755")
    for path, descriptor in sorted(opened.items()):
        source = f"/proc/self/fd/{descriptor}"
        if os.path.exists(path):
            continue  # below another that is bound already
        if os.path.isdir(source):
            os.makedirs(path, 0o755, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            Path(path).touch()
        _mount(libc, source, path, None, BIND | RECURSIVE)
        os.close(descriptor)


def closed_folders(paths: list[str], uid: int) -> list[str]:
    """The outermost folders above `paths` that `uid` may not pass."""
    closed: list[str] = []
    for path in paths:
        for folder in reversed(Path(path).parents):
            if any(_is_below(str(folder), other) for other in closed):
                break
            if not _may_pass(folder, uid):
                closed.append(str(folder))
                break
    return list(dict.fromkeys(closed))


def _may_pass(folder: Path, uid: int) -> bool:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return True
    return bool(status.st_mode & (stat.S_IXUSR if status.st_uid == uid else stat.S_IXOTH))


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _mount(
    libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int, data: str = ""
) -> None:
    texts = (source.encode(), target.encode(), kind.encode() if kind else None)
    _check(libc.mount(*texts, ctypes.c_ulong(flags), data.encode() or None), f"mount on {target}")


def _check(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


if __name__ == "__main__":
    main(sys.argv)
