"""Level `container`: a container of its own for each run, by podman, docker or nerdctl.

All of a command line is made here, by pure functions; images come from this machine, never from a
registry.
"""

import json
import os
import platform
import resource
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from . import bwrap
from .limits import Limits
from .profile import profile

PROGRAMS = ("podman", "docker", "nerdctl")
IMAGE = "djsci-guest"
WORK = bwrap.WORK
GUEST = "/djsci"  # where the guest lies, sent on stdin
GUEST_SIZE = 4 << 20
OWNER, RUN = "djsci.owner", "djsci.run"
ASKING = 60.0  # seconds that the program may take to answer
TOLD = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_", "DBUS_SESSION_BUS_ADDRESS"),
    *("CONTAINER_", "CONTAINERS_", "STORAGE_", "DOCKER_", "CONTAINERD_", "NERDCTL_", "LIMA_"),
)
INSTALL = "Install podman (or docker, or nerdctl), or name it in DJSCI['CONTAINER']['command']."
BUILD = "Make it with `djsci image --from-environment`, or with `djsci image --containerfile PATH`."


class Settings(NamedTuple):
    """What a site says of its containers. `options` are more of the program's, before the image."""

    command: str | None = None
    image: str = IMAGE
    runtime: str | None = None
    options: tuple[str, ...] = ()

    @classmethod
    def read(cls, values: Mapping[str, object]) -> "Settings":
        """Out of the setting. Raises `ValueError`, which says what is wrong."""
        unknown = sorted(set(values) - set(cls._fields))
        if unknown:
            raise ValueError(f"there is no {unknown[0]!r}, only {', '.join(cls._fields)}")
        options = values.get("options") or ()
        texts = [values[name] for name in cls._fields[:3] if values.get(name) is not None]
        if not isinstance(options, list | tuple) or not all(
            isinstance(text, str) and text for text in (*texts, *options)
        ):
            raise ValueError("command, image and runtime are texts, options a list of texts")
        given = {name: value for name, value in values.items() if value is not None}
        return cls(**{**given, "options": tuple(options)})  # type: ignore[arg-type]


current: Callable[[], Settings] = Settings  # a project's app puts its setting here


class Run(NamedTuple):
    """One container: what it is called, whose it is, how long it may live."""

    name: str
    owner: str
    seconds: float  # from its start, waiting for a run included
    uid: int | None = None  # where the server is root: a user of its own
    has_network: bool = False


def find(settings: Settings) -> str:
    """The program. Raises `FileNotFoundError` that says what to do."""
    for name in (settings.command,) if settings.command else PROGRAMS:
        found = shutil.which(name) or shutil.which(name, path=bwrap.PROGRAMS)
        if found:
            return found
    wanted = settings.command or "A program for containers"
    raise FileNotFoundError(f"{wanted} is not here. {INSTALL}")


def _is_podman(program: str) -> bool:
    return os.path.basename(program) == "podman"


def command(
    argv: Sequence[str],
    run: Run,
    *,
    settings: Settings,
    limits: Limits,
    seccomp: Path,
    sizes: bwrap.Sizes = bwrap.Sizes(),  # noqa: B008 - immutable
) -> list[str]:
    """The command line that starts `argv`, arguments of the image's Python, in a container."""
    program = find(settings)
    options = arguments(
        run,
        is_podman=_is_podman(program),
        settings=settings,
        limits=limits,
        seccomp=seccomp,
        sizes=sizes,
    )
    outer = [part for option in options for part in option]
    return [program, "run", *outer, settings.image, *argv]


def arguments(
    run: Run,
    *,
    is_podman: bool,
    settings: Settings,
    limits: Limits,
    seccomp: Path,
    sizes: bwrap.Sizes,
) -> list[list[str]]:
    """Options with their values. Every limit is djsci's own: the program's defaults are wider."""
    user = bwrap.NOBODY if run.uid is None else run.uid
    return [
        *(["--rm"], ["--interactive"], ["--pull", "never"], ["--log-driver", "none"]),
        *(["--name", run.name], ["--label", f"{RUN}={run.name}"]),
        ["--label", f"{OWNER}={run.owner}"],
        *([] if run.has_network else [["--network", "none"]]),
        *(["--read-only"], ["--cap-drop", "ALL"], ["--security-opt", "no-new-privileges"]),
        ["--security-opt", f"seccomp={seccomp}"],
        *(["--user", f"{user}:{user}"], ["--hostname", "djsci"], ["--workdir", "/"]),
        *(["--memory", str(limits.memory)], ["--memory-swap", str(limits.memory)]),
        *(["--pids-limit", str(limits.pids + 1)], ["--cpus", "1"]),  # our first process is one
        *(["--ulimit", f"{name}={most}:{most}"] for name, most in _ulimits(run, limits).items()),
        *(["--ipc", "private"], ["--shm-size", str(sizes.shared)]),
        *(
            ["--tmpfs", f"{path}:rw,nosuid,nodev,mode=1777,size={size}"]
            for path, size in rooms(sizes)
        ),
        *(_of_podman(run) if is_podman else []),
        *([["--runtime", settings.runtime]] if settings.runtime else []),
        *([option] for option in settings.options),
        ["--entrypoint", "python3"],
    ]


def _of_podman(run: Run) -> list[list[str]]:
    """What only podman has: no more folders, no proxies of the server's, a deadline outside too."""
    return [
        ["--read-only-tmpfs=false"],
        ["--http-proxy=false"],
        ["--timeout", f"{run.seconds:.0f}"],
    ]


def rooms(sizes: bwrap.Sizes) -> Sequence[tuple[str, int]]:
    return (("/tmp", sizes.temporary), (WORK, sizes.work), (GUEST, GUEST_SIZE))  # noqa: S108


def _ulimits(run: Run, limits: Limits) -> dict[str, int]:
    """The number of processes counts per user of the host: only one of its own can be bounded."""
    own, ours = limits.pids + 1, resource.getrlimit(resource.RLIMIT_NPROC)[1]
    processes = own if run.uid is not None else ours
    found = {"nofile": limits.files, "core": 0, "fsize": limits.file_size, "memlock": 64 << 10}
    return found if processes == resource.RLIM_INFINITY else {**found, "nproc": processes}


def bounded(settings: Settings, name: str, memory: int) -> list[str]:
    """The command line that gives a running container another bound on its memory, in bytes."""
    size = str(memory)
    return [find(settings), "update", "--memory", size, "--memory-swap", size, name]


def removed(settings: Settings, *names: str) -> list[str]:
    """The command line that ends containers, whatever they do, and forgets them.

    podman removes none of them where one is gone already, unless it is told to ignore that.
    """
    program = find(settings)
    ignored = ["--ignore"] if _is_podman(program) else []
    return [program, "rm", "--force", *ignored, *names]


def missing(settings: Settings) -> str | None:
    """Why there are no containers here, as far as is seen without starting one; what to do."""
    if platform.machine() not in ("x86_64", "aarch64"):
        return f"djsci has no table of system calls for {platform.machine()}."
    try:
        program = find(settings)
        asked = ask([program, "image", "inspect", "--format", "{{.Id}}", settings.image])
    except (OSError, subprocess.SubprocessError) as error:
        return f"The level container cannot be had: {error}"
    if asked.returncode == 0:
        return None
    said = last_line(asked.stderr)
    if "no such" in said.lower() or "not known" in said or "not found" in said.lower():
        return f"{os.path.basename(program)} has no image {settings.image!r}. {BUILD}"
    return f"The level container cannot be had: {os.path.basename(program)} says: {said}"


def ask(
    command: Sequence[str], *, seconds: float = ASKING, folder: str = "/"
) -> "subprocess.CompletedProcess[str]":
    """What the program answers, started in `folder`: podman may leave a file there."""
    return subprocess.run(  # noqa: S603 - our own program
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=folder,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """What the program is told by variables: where its things are, nothing of the server's."""
    return {name: value for name, value in os.environ.items() if name.startswith(TOLD)}


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:400] if lines else "nothing"


def write_profile(path: Path) -> Path:
    """djsci's seccomp profile as a file that the program reads; it is written once."""
    if not path.exists():
        path.write_text(json.dumps(profile()))
    return path


def owner() -> str:
    """This process, as the labels of its containers name it."""
    return _owner(os.getpid())


def _owner(pid: int) -> str:
    return f"{_machine()}:{pid}:{_started(pid)}"


@lru_cache(maxsize=1)
def _machine() -> str:
    """This host in this boot, and who counts processes: elsewhere a pid means another."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{platform.node()}:{boot}:{os.stat('/proc/self/ns/pid').st_ino}"


def _started(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def remove_leftovers(settings: Settings) -> int:
    """Remove this host's containers whose process has ended; how many. Raises `OSError`.

    A container whose process may live elsewhere, or in another boot of a host of this name that
    shares the program, is left: it has its deadline.
    """
    program = find(settings)
    listed = ask([program, "ps", "--all", "--quiet", "--filter", f"label={OWNER}"])
    found = listed.stdout.split()
    if not found:
        return 0
    form = f'{{{{.Id}}}} {{{{index .Config.Labels "{OWNER}"}}}}'
    labelled = ask([program, "inspect", "--type", "container", "--format", form, *found])
    dead = []
    for line in labelled.stdout.splitlines():
        name, _, whose = line.partition(" ")
        if _is_dead(whose):
            dead.append(name)
    if dead:
        ask(removed(settings, *dead))
    return len(dead)


def _is_dead(whose: str) -> bool:
    machine, _, process = whose.rpartition(":")[0].rpartition(":")
    if not process.isdigit():
        return False
    host, boot = machine.split(":")[:2] if machine.count(":") >= 2 else ("", "")
    here = _machine().split(":")
    if machine == _machine():
        return _owner(int(process)) != whose
    return host == here[0] and boot != here[1]
