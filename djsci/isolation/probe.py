"""Whether a level holds on this machine: the canaries are really run inside it."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import bwrap, canaries, contained, container, cures, landlock, users
from .evidence import NESTED, ROOM, SIZES, judge, planting
from .limits import Limits

LEVELS = ("process", "landlock", "bwrap", "container")
HOURLY = 3600.0
DEAD = "nothing starts: "
SECONDS = 30.0
SECRET = "DJSCI_PLANTED_SECRET"  # noqa: S105
STARTER = "import subprocess, sys; subprocess.run(sys.argv[1:])"
LIMITS = Limits(memory=256 << 20, pids=32)

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
