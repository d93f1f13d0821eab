"""Whether a level holds on this machine: the canaries are really run inside it."""

import contextlib
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import bwrap, canaries, contained, container, cures, landlock, nest, users
from .limits import Limits

LEVELS = ("process", "landlock", "bwrap", "container")
NESTED = "nested"  # bwrap, and a wall for each child of a fork server inside it
HOURLY = 3600.0
DEAD = "nothing starts: "
SECONDS = 30.0
SECRET = "DJSCI_PLANTED_SECRET"  # noqa: S105
ALLOWED = {"HOME", "LANG", "LC_CTYPE", "PATH", "PWD", "TMPDIR", "IPYTHONDIR"}
GIVEN = {"PATH", "LANG", "HOME", "TMPDIR", "IPYTHONDIR"}
STARTER = "import subprocess, sys; subprocess.run(sys.argv[1:])"
LIMITS = Limits(memory=256 << 20, pids=32)
SIZES = bwrap.Sizes(work=8 << 20, temporary=4 << 20, shared=2 << 20)

ROOM = {"/workdir": SIZES.work, "/tmp": SIZES.temporary, "/dev/shm": SIZES.shared}  # noqa: S108
SYSTEM = tuple(f"/{name}" for name in bwrap.LINKS if Path("/usr", name).exists())

_lock = threading.Lock()
_known: dict[str, tuple[float, str | None]] = {}
_renewing: set[str] = set()


Change = Callable[[list[str]], list[str]]


def _as_it_is(command: list[str]) -> list[str]:
    return command


def drop(command: Sequence[str], *option: str) -> list[str]:
    """`command` without an option and its values. Raises `ValueError` where it has none."""
    for at in range(len(command)):
        if tuple(command[at : at + len(option)]) == option:
            return [*command[:at], *command[at + len(option) :]]
    raise ValueError(option)


def missing(level: str) -> str | None:
    """Why `level` cannot be had here, as far as it can be seen without running anything in it."""
    if level == "process":
        return None
    if level not in (*LEVELS, NESTED):
        return f"There is no level {level!r}."
    if level == "container":
        return container.missing(container.current())
    facts = cures.look()
    reason = cures.of_landlock(facts) or cures.of_users(facts, cures.users_here(facts))
    if level != "landlock" and not reason:
        try:
            bwrap.find()
        except (OSError, subprocess.SubprocessError) as error:
            return f"The level {level} cannot be had: {error}"
    return reason


def probe(level: str, *, seconds: float = HOURLY) -> str | None:
    """None when `level` holds here, else why not and what to do.

    Asked anew after `seconds`; each hour beside whoever asks, who gets the answer that is known.
    """
    with _lock:
        known = _known.get(level)
        is_old = known is not None and time.monotonic() - known[0] > seconds
        if known is None or (is_old and seconds < HOURLY):
            known = _known[level] = (time.monotonic(), _probe(level))
        elif is_old and level not in _renewing:
            _renewing.add(level)
            threading.Thread(target=_renew, args=(level,), daemon=True).start()
        return known[1]


def _renew(level: str) -> None:
    try:
        answer = _probe(level)
    finally:
        with _lock:
            _renewing.discard(level)
    with _lock:
        _known[level] = (time.monotonic(), answer)


def _probe(level: str) -> str | None:
    if level == "process" or (reason := missing(level)):
        return None if level == "process" else reason
    if level == "container":
        return _probe_container()
    try:
        red = run(level)
        if level == "bwrap" and not red:
            red = bare(level)
        if not red and not ends_with_parent(level):
            red = ["it outlives its server"]
    except (OSError, subprocess.SubprocessError) as error:
        return f"The level {level} cannot be had: {error}. {_cure(f'{DEAD}{error}')}"
    return _said(level, red)


def _probe_container() -> str | None:
    try:
        red = run("container") or contained.red(LIMITS, SIZES)
    except (OSError, subprocess.SubprocessError) as error:
        return f"The level container cannot be had: {error}"
    return f"The level container does not hold: {'; '.join(red)}." if red else None


def _said(level: str, red: Sequence[str]) -> str | None:
    """What is red, with what to change, each cure once."""
    found: dict[str, list[str]] = {}
    for name in red:
        found.setdefault(_cure(name), []).append(name)
    lines = [f"{', '.join(names)}. {cure}" for cure, names in found.items()]
    return f"The level {level} does not hold: {' '.join(lines)}" if red else None


def _cure(red: str) -> str:
    if red.startswith(DEAD):
        return cures.of_start(red, cures.look())
    return cures.of_canary(red)


def run(level: str, *, change: Change = _as_it_is) -> list[str]:
    """Run the canaries at a level; what is red. `change` is for a proof that options are needed."""
    found, hits, expected = _found(level, change)
    if isinstance(found, str):
        return [found]
    return [*judge(level, found, expected), *(["the host was reached"] if hits else [])]


def bare(level: str, *, change: Change = _as_it_is) -> list[str]:
    """The same without seccomp: what the namespaces refuse by themselves."""
    found = _found(level, lambda command: drop(change(command), "--seccomp", "3"))[0]
    if isinstance(found, str):
        return [found]
    return [] if found["user_namespace"] == "ENOSPC" else ["it can make user namespaces"]


def _found(level: str, change: Change) -> tuple[dict[str, Any] | str, int, Sequence[str]]:
    if level == "container":
        with planting() as planted:
            found = contained.canaries_in(planted, limits=LIMITS, sizes=SIZES, change=change)
            return found, planted["hits"](), contained.EXISTS
    with planting() as planted, _lease() as uid, _folder(uid) as folder:
        place = {"bwrap": bwrap.SOCKETS, NESTED: None}.get(level, f"{folder}/s")
        given = {name: value for name, value in planted.items() if name != "hits"}
        argv = [canaries.__file__, json.dumps({**given, "sockets": place, "sizes": ROOM}), level]
        done = subprocess.run(  # noqa: S603
            _command(level, argv, folder=folder, uid=uid, change=change),
            cwd="/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8", SECRET: "x"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            start_new_session=True,
        )
        expected = [path for path in planted["exists"] if os.path.exists(path)]
        if done.returncode:
            return f"{DEAD}{_last(done.stderr)}", 0, expected
        try:
            return json.loads(done.stdout), planted["hits"](), expected
        except ValueError:
            return "what should start the canaries started something else", 0, expected


def _lease() -> contextlib.AbstractContextManager[int | None]:
    return users.lease(cures.users_here(cures.look()))


@contextlib.contextmanager
def _folder(uid: int | None) -> Iterator[str]:
    """A run's folder, with one for its work and one for its sockets."""
    with tempfile.TemporaryDirectory(prefix="djsci-probe-") as folder:
        for name in ("work", "s"):
            os.mkdir(f"{folder}/{name}", 0o700)
            if uid is not None:
                os.chown(f"{folder}/{name}", uid, uid)
        yield folder


def ends_with_parent(level: str, *, change: Change = _as_it_is) -> bool:
    """Whether a run ends when the process that started it is killed."""
    with _lease() as uid, _folder(uid) as folder:
        argv = ["-c", "import time; print('up', flush=True); time.sleep(20)"]
        command = _command(level, argv, folder=folder, uid=uid, change=change)
        starter = [sys.executable, "-I", "-S", "-c", STARTER, *command]
        environment = {"PATH": os.defpath}
        with subprocess.Popen(  # noqa: S603
            starter,
            stdout=subprocess.PIPE,
            cwd=f"{folder}/work",
            env=environment,
            start_new_session=True,
        ) as started:
            if started.stdout is None or started.stdout.readline() != b"up\n":
                started.kill()
                return False
            started.kill()
            ended = select.select([started.stdout], [], [], 2.0)[0]
            return bool(ended) and started.stdout.read() == b""


def _command(
    level: str, argv: Sequence[str], *, folder: str, uid: int | None, change: Change
) -> list[str]:
    argv = [sys.executable, "-I", "-S", *argv]
    work, sockets = f"{folder}/work", f"{folder}/s"
    if level == "landlock":
        command = landlock.command(argv, limits=LIMITS, folder=work, sockets=[sockets], uid=uid)
        return ["/usr/bin/env", "-u", SECRET, *change(command)]
    command = bwrap.command(
        argv,
        environment={"PATH": os.defpath, "LANG": "C.UTF-8"},
        limits=LIMITS,
        sizes=SIZES,
        sockets=None if level == NESTED else sockets,
        uid=uid,
        may_nest=level == NESTED,
    )
    return change(command)


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].removesuffix(".") if lines else "it said nothing"


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
