"""Run as a program inside a wall: tries what no user code may do, prints what it found as JSON.

argv is a JSON object of what its caller planted outside: `port`, `files`, `socket`, `pid`.
"""

import ctypes
import errno
import json
import os
import platform
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMESPACES = ("ipc", "mnt", "net", "pid", "user", "uts")
CLONE_NEWUSER = 0x10000000
FOLDERS = ("/tmp", "/workdir", "/dev/shm")  # noqa: S108
EPERM_CALLS = {
    "x86_64": {"ptrace": 101, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "mount": 165}
    | {"userfaultfd": 323, "io_uring_setup": 425, "unshare": 272, "setns": 308, "chroot": 161}
    | {"process_vm_readv": 310, "personality": 135, "open_by_handle_at": 304, "kcmp": 312},
    "aarch64": {"ptrace": 117, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "mount": 40}
    | {"userfaultfd": 282, "io_uring_setup": 425, "unshare": 97, "setns": 268, "chroot": 51}
    | {"process_vm_readv": 270, "personality": 92, "open_by_handle_at": 265, "kcmp": 272},
}


def tried(work: Callable[[], Any]) -> str:
    """What came of it: `done`, or the name of the error."""
    try:
        work()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "done"


def read(path: str) -> str:
    def work() -> None:
        with open(path, "rb") as file:
            file.read(1)

    return tried(work)


def call(number: int) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(number, 0, 0, 0, 0, 0)
    return errno.errorcode.get(ctypes.get_errno(), "done")


def connect(family: int, address: Any) -> str:
    def work() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as made:
            made.settimeout(2)
            made.connect(address)

    return tried(work)


def status(name: str) -> str:
    with open("/proc/self/status") as file:
        return next(line.split(":")[1].strip() for line in file if line.startswith(name + ":"))


def room(path: str) -> int:
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_blocks * found.f_frsize


def inodes(path: str) -> int:
    try:
        return os.statvfs(path).f_files
    except OSError:
        return 0


def user_namespace() -> str:
    """What came of making one, in a child: it is the way to much of the kernel."""
    child = os.fork()
    if child == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        os._exit(ctypes.get_errno() if libc.unshare(CLONE_NEWUSER) else 0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return errno.errorcode.get(code, "done")


def deputy(folder: str) -> dict[str, str]:
    """What can be made in a folder that is for the sockets of the host's clients."""
    path = f"{folder}/canary"
    with socket.socket(socket.AF_UNIX) as made:
        found = {"socket": tried(lambda: made.bind(path))}
    return found | {
        "symlink": tried(lambda: os.symlink("/etc/passwd", path + "-link")),
        "folder": tried(lambda: os.mkdir(path + "-folder")),
        "file": tried(lambda: os.close(os.open(path + "-file", os.O_CREAT | os.O_WRONLY))),
        "swap": tried(lambda: swap(path)),
    }


def swap(path: str) -> None:
    """Put a symlink made elsewhere in the place of a socket."""
    made = os.path.join(os.environ["TMPDIR"], "link")
    os.symlink("/etc/passwd", made)
    os.rename(made, path)


def raw_socket() -> str:
    return tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())


def descriptors() -> list[int]:
    """The open ones, without that of the look itself."""
    return sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1]


def interfaces() -> list[str]:
    try:
        return [name for _, name in socket.if_nameindex()]
    except OSError:
        return []


def main(planted: dict[str, Any]) -> dict[str, Any]:
    tables = EPERM_CALLS.get(platform.machine(), {})
    pid = planted["pid"]
    return {
        "environment": sorted(os.environ),
        "uid": [os.getuid(), os.getgid()],
        "pid": [os.getpid(), os.getsid(0)],
        "host": socket.gethostname(),
        "folder": os.getcwd(),
        "capabilities": [status(name) for name in ("CapPrm", "CapEff", "CapBnd", "CapInh")],
        "no_new_privileges": status("NoNewPrivs"),
        "seccomp": status("Seccomp"),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES},
        "user_namespace": user_namespace(),
        "deputy": deputy(planted["sockets"]) if planted["sockets"] else {},
        "inodes": {path: inodes(path) for path in FOLDERS},
        "descriptors": descriptors(),
        "exists": [path for path in planted["exists"] if os.path.exists(path)],
        "room": {path: room(path) for path in FOLDERS},
        "files": {path: read(path) for path in planted["files"]},
        "processes": {name: read(f"/proc/{pid}/{name}") for name in ("environ", "mem", "maps")},
        "pids": sum(name.isdigit() for name in os.listdir("/proc")),
        "signal": tried(lambda: os.kill(pid, 0)),
        "interfaces": interfaces(),
        "listener": connect(socket.AF_INET, ("127.0.0.1", planted["port"])),
        "socket": connect(socket.AF_UNIX, planted["socket"]),
        "abstract": connect(socket.AF_UNIX, "\0" + planted["abstract"]),
        "raw": raw_socket(),
        "calls": {name: call(number) for name, number in tables.items()},
        "write": tried(lambda: os.open("/usr/djsci", os.O_CREAT | os.O_WRONLY)),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
    }


def nested(sizes: dict[str, int]) -> None:
    """Go on in a wall inside the wall, as a fork server's child does."""
    sys.path.append(str(Path(__file__).parent.parent.parent))
    from djsci.isolation import nest
    from djsci.isolation.limits import Limits

    child = nest.fork()
    if child == 0:
        nest.separate([nest.Folder(*item) for item in sizes.items()])
        os.setsid()
        os.chdir("/workdir")
        nest.close(Limits(pids=32), writable=tuple(sizes))
        return
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)


if __name__ == "__main__":
    if "nested" in sys.argv[2:]:
        nested(json.loads(sys.argv[1])["sizes"])
    print(json.dumps(main(json.loads(sys.argv[1]))))  # noqa: T201 - it is what it is for
