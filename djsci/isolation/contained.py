"""The canaries of the level `container`: what holds in a real one, and what its limits stop."""

import contextlib
import json
import secrets
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import bwrap, canaries, container, cures, users
from .limits import Limits

SECONDS = 60.0
EXISTS = ("/dev/null", "/proc/self")
SECRET = "DJSCI_PLANTED_SECRET"  # noqa: S105
OWN = {"environment": ["HOME", "IPYTHONDIR", "LANG", "PATH", "TMPDIR"]}
CURES = {
    "cgroups in hybrid mode": "name another runtime: DJSCI['CONTAINER']['runtime'] = 'runc'",
    "OCI runtime": "is that runtime installed? DJSCI['CONTAINER']['runtime'] names it",
    "python3": "the image needs python3 in its PATH, 3.11 or later",
    "daemon": "start it, or name another program in DJSCI['CONTAINER']['command']",
}
STARTER = "import subprocess as s, sys; s.Popen(sys.argv[1:], stdin=s.PIPE).wait()"
WAITS = "import sys; print('up', flush=True); sys.stdin.read()"
FILLS = """
import os, sys, time
for folder in sys.argv[3:]:
    open(folder + "/canary", "w").close()
children = 0
try:
    while children < 4 * int(sys.argv[1]):
        if not os.fork():
            time.sleep(60)
        children += 1
except OSError:
    pass
print(children, flush=True)
bytearray(b"x") * int(sys.argv[2])
print("full", flush=True)
"""

Change = Callable[[list[str]], list[str]]


def canaries_in(
    planted: Mapping[str, Any], *, limits: Limits, sizes: bwrap.Sizes, change: Change
) -> dict[str, Any] | str:
    """What the canaries report out of a container, as `evidence.judge` takes it, or the reason.

    What a container has of its own is taken out: users, a list of them, variables of the image,
    where it starts: docker makes that folder, and runc gives what covers it the same rights.
    """
    known = ("port", "socket", "abstract", "pid")
    files = [path for path in planted["files"] if not path.startswith("/etc/")]
    given = {name: planted[name] for name in known} | {"files": files, "exists": EXISTS}
    given |= {"sockets": None, "sizes": {}}
    program = Path(canaries.__file__).read_text()
    with _command(["-I", "-S", "-", json.dumps(given)], limits=limits, sizes=sizes) as (
        made,
        uid,
        _,
    ):
        done = subprocess.run(  # noqa: S603
            change(made),
            input=program,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**container.environment(), SECRET: "x"},
            start_new_session=True,
        )
    if done.returncode:
        return f"nothing starts: {_with_cure(container.last_line(done.stderr))}"
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return "what should start the canaries started something else"
    found["environment"] = [*OWN["environment"], *({SECRET} & set(found["environment"]))]
    found["folder"] = container.WORK
    if found["uid"] == [uid, uid]:
        found["uid"] = [bwrap.NOBODY] * 2
    del found["namespaces"]["user"]  # a server that is root shares it: no capability is left
    return found


def _with_cure(said: str) -> str:
    """What the program says, with what to do where that is known."""
    return next((f"{said} ({cure})" for sign, cure in CURES.items() if sign in said), said)


def red(limits: Limits, sizes: bwrap.Sizes, *, change: Change = list) -> list[str]:
    """What of the limits does not hold: each is really met."""
    sizes_of = (str(limits.pids), str(2 * limits.memory))
    argv = ["-I", "-S", "-c", FILLS, *sizes_of, *(path for path, _ in container.rooms(sizes))]
    with _command(argv, limits=limits, sizes=sizes) as (made, _, folder):
        done = container.ask(change(made), seconds=SECONDS, folder=folder)
    said = done.stdout.split()
    if not said:
        return [f"its folders cannot be used: {container.last_line(done.stderr)}"]
    found = [] if ends_with_parent(limits, sizes) else ["it outlives its server"]
    if int(said[0]) > limits.pids:
        found.append("the number of its processes is not bounded")
    if "full" in said:
        found.append("its memory is not bounded")
    return found


def ends_with_parent(limits: Limits, sizes: bwrap.Sizes) -> bool:
    """Whether a container hears that the process that started it is killed."""
    with (
        _command(["-I", "-S", "-c", WAITS], limits=limits, sizes=sizes) as (made, _, _),
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", "-c", STARTER, *made],
            stdout=subprocess.PIPE,
            env=container.environment(),
            start_new_session=True,
        ) as started,
    ):
        if started.stdout is None or started.stdout.readline() != b"up\n":
            started.kill()
            return False
        started.kill()
        ended = select.select([started.stdout], [], [], SECONDS / 2)[0]
        return bool(ended) and started.stdout.read() == b""


def _lease() -> contextlib.AbstractContextManager[int | None]:
    return users.lease(cures.users_here(cures.look()))


@contextlib.contextmanager
def _command(
    argv: Sequence[str], *, limits: Limits, sizes: bwrap.Sizes
) -> Iterator[tuple[list[str], int, str]]:
    """The command line of a container that is removed in the end, its user, where to start it."""
    settings, name = container.current(), f"djsci-probe-{secrets.token_hex(6)}"
    with _lease() as uid, tempfile.TemporaryDirectory(prefix="djsci-probe-") as folder:
        run = container.Run(name, container.owner(), SECONDS, uid)
        profile = container.write_profile(Path(folder, "seccomp.json"))
        try:
            yield (
                container.command(
                    argv, run, settings=settings, limits=limits, seccomp=profile, sizes=sizes
                ),
                bwrap.NOBODY if uid is None else uid,
                folder,
            )
        finally:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                container.ask(container.removed(settings, name))
