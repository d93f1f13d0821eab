"""What is planted outside of a wall, and what of the canaries' report is red at a level."""

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import bwrap, nest

NESTED = "nested"  # bwrap, and a wall for each child of a fork server inside it
ALLOWED = {"HOME", "LANG", "LC_CTYPE", "PATH", "PWD", "TMPDIR", "IPYTHONDIR"}
GIVEN = {"PATH", "LANG", "HOME", "TMPDIR", "IPYTHONDIR"}
SIZES = bwrap.Sizes(work=8 << 20, temporary=4 << 20, shared=2 << 20)
ROOM = {"/workdir": SIZES.work, "/tmp": SIZES.temporary, "/dev/shm": SIZES.shared}  # noqa: S108
SYSTEM = tuple(f"/{name}" for name in bwrap.LINKS if Path("/usr", name).exists())


@contextlib.contextmanager
def planting() -> Iterator[dict[str, Any]]:
    """Things of the host that no wall may let through, readable to everybody outside."""
    mark = secrets.token_hex(8)
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        os.chmod(folder, 0o755)  # noqa: S103
        secret = Path(folder, "settings.py")
        secret.write_text("SECRET_KEY = 'planted'")
        secret.chmod(0o644)
        engine = socket.socket(socket.AF_UNIX)
        named = socket.socket(socket.AF_UNIX)
        with engine, named:
            engine.bind(f"{folder}/engine")
            os.chmod(f"{folder}/engine", 0o777)  # noqa: S103
            named.bind(f"\0djsci-canary-{mark}")
            for listener in (server, engine, named):
                listener.listen(8)
                listener.setblocking(False)
            yield {
                "port": server.getsockname()[1],
                "files": [str(secret), "/etc/passwd"],
                "socket": f"{folder}/engine",
                "abstract": f"djsci-canary-{mark}",
                "pid": os.getpid(),
                "exists": ["/dev/null", "/proc/self", *SYSTEM, *bwrap.ETC],
                "hits": lambda: sum(map(_hits, (server, engine, named))),
            }


def _hits(listener: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


def judge(level: str, found: Mapping[str, Any], expected: Sequence[str]) -> list[str]:
    """What of the canaries' report is red at this level; each has its cure in `cures.CANARIES`."""
    checks = {
        "a secret is in the environment": set(found["environment"]) <= ALLOWED,
        "no-new-privileges is off": found["no_new_privileges"] == "1",
        "seccomp is off": found["seccomp"] == "2",
        "a system call was not refused": all(v == "EPERM" for v in found["calls"].values()),
        "a raw socket was had": found["raw"] == "EPERM",
        "a file of the host was read": "done" not in found["files"].values(),
        "another's process was read": "done" not in found["processes"].values(),
        "another's process can be signalled": found["signal"] in ("EPERM", "ESRCH"),
        "the host's loopback was reached": found["listener"] != "done",
        "a unix socket of the host was reached": found["socket"] != "done",
        "an abstract socket of the host was reached": found["abstract"] != "done",
        "the system can be written": found["write"] in ("EACCES", "EROFS", "EPERM", "ENOENT"),
        "core files are written": found["core"] == 0,
        "it runs as root": found["uid"][0] != 0,
        "it has capabilities": found["capabilities"][1] == "0" * 16,
        "it can make user namespaces": found["user_namespace"] == "EPERM",
        "it cannot make its sockets": found["deputy"].pop("socket", "done") == "done",
        "the folder of sockets takes more": "done" not in found["deputy"].values(),
        "a descriptor came along": found["descriptors"] == [0, 1, 2],
        "a part of the system is missing": set(found["exists"]) >= set(expected),
    }
    if level != "landlock":
        checks |= _judge_namespaces(found)
    if level == NESTED:
        checks["a folder takes files without end"] = set(found["inodes"].values()) == {nest.INODES}
    return [name for name, holds in checks.items() if not holds]


def _judge_namespaces(found: Mapping[str, Any]) -> dict[str, bool]:
    return {
        "it has its server's interfaces": found["interfaces"] == ["lo"],
        "it sees others' processes": found["pids"] <= 4 and found["processes"]["environ"] != "done",
        "it shares a namespace": all(
            os.readlink(f"/proc/self/ns/{name}") != place
            for name, place in found["namespaces"].items()
        ),
        "its session is its server's": found["pid"][1] != 0,
        "its user or group is not nobody": found["uid"] == [bwrap.NOBODY] * 2,
        "it can gain capabilities": found["capabilities"] == ["0" * 16] * 4,
        "it has the host's name": found["host"] == "djsci",
        "it starts elsewhere": found["folder"] == bwrap.WORK,
        "a folder is not bounded": found["room"] == ROOM,
        "its environment is not the given one": set(found["environment"]) >= GIVEN,
    }
