"""Containers: their command lines, their profile, their images; and what holds in real ones."""

import errno
import itertools
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from djsci.core import events
from djsci.engines.base import Limits as RunLimits
from djsci.engines.fork import SpawnEngine
from djsci.isolation import bwrap, contained, container, evidence, image, probe, profile, seccomp
from djsci.isolation.container import Run, Settings
from djsci.isolation.limits import Limits
from djsci.isolation.syscalls import CHECKED, REFUSED
from tests.engines.test_engines import play, text_of

from .conftest import need
from .test_seccomp import decide

WAIT = 60.0
RUN = Run("djsci-x", "host:boot:1:2:3", 100.5, uid=62500)
LIMITS = Limits(memory=1 << 28, pids=9)


@pytest.fixture
def containers() -> Settings:
    need("container")
    return container.current()


def flags(run: Run = RUN, *, is_podman: bool = True, **said: Any) -> list[str]:
    found = container.arguments(
        run,
        is_podman=is_podman,
        settings=Settings(**said),
        limits=LIMITS,
        seccomp=Path("/x/seccomp.json"),
        sizes=bwrap.Sizes(work=3, temporary=2, shared=1),
    )
    return [" ".join(option) for option in found]


def test_every_option_of_a_container_is_said() -> None:
    expected = """--rm|--interactive|--pull never|--log-driver none|--name djsci-x|
    --label djsci.run=djsci-x|--label djsci.owner=host:boot:1:2:3|--network none|--read-only|
    --cap-drop ALL|--security-opt no-new-privileges|--security-opt seccomp=/x/seccomp.json|
    --user 62500:62500|--hostname djsci|--workdir /|--memory 268435456|
    --memory-swap 268435456|--pids-limit 10|--cpus 1|--ulimit nofile=1024:1024|--ulimit core=0:0|
    --ulimit fsize=469762048:469762048|--ulimit memlock=65536:65536|--ulimit nproc=10:10|
    --ipc private|--shm-size 1|--tmpfs /tmp:rw,nosuid,nodev,mode=1777,size=2|
    --tmpfs /workdir:rw,nosuid,nodev,mode=1777,size=3|
    --tmpfs /djsci:rw,nosuid,nodev,mode=1777,size=4194304|--read-only-tmpfs=false|
    --http-proxy=false|--timeout 100|--entrypoint python3"""
    wanted = [option.strip() for option in expected.split("|")]
    assert flags() == wanted
    podmans = {"--read-only-tmpfs=false", "--http-proxy=false", "--timeout 100"}
    assert set(wanted) - set(flags(is_podman=False)) == podmans


def test_a_site_names_runtime_options_and_network() -> None:
    added = set(flags(RUN._replace(has_network=True), runtime="runsc", options=("--x=1",)))
    assert added ^ set(flags()) == {"--network none", "--runtime runsc", "--x=1"}
    shared = flags(RUN._replace(uid=None))
    assert "--user 65534:65534" in shared
    assert "--ulimit nproc=10:10" not in shared  # others' processes would count


@pytest.mark.parametrize(
    ("value", "wrong"),
    [({"imag": "x"}, "no 'imag'"), ({"image": 3}, "texts"), ({"options": "--privileged"}, "list")],
    ids=str,
)
def test_a_setting_that_cannot_be_is_told(value: Mapping[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Settings.read(value)
    assert Settings.read({"options": ["-v"], "runtime": None}) == Settings(options=("-v",))


def test_the_program_is_the_named_one_or_the_first_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("podman", "docker", "nerdctl"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert container.find(Settings()) == str(tmp_path / "podman")
    assert container.find(Settings(command="nerdctl")) == str(tmp_path / "nerdctl")
    reason = container.missing(Settings(command="no-such-program"))
    assert "no-such-program is not here. Install podman" in str(reason)


def json_decides(rules: dict[str, Any], name: str, arguments: tuple[int, ...]) -> int:
    for rule in rules["syscalls"]:
        conditions = rule.get("args", [])
        if name in rule["names"] and all(
            arguments[one["index"]] & one["value"] == one["valueTwo"] for one in conditions
        ):
            return int(seccomp.ERRNO | rule["errnoRet"])
    return seccomp.ALLOW


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_the_profile_decides_as_the_compiled_one_does(architecture: str) -> None:
    value, column = seccomp.ARCHITECTURES[architecture]
    code, rules = seccomp.program(architecture), profile.profile(architecture)
    interesting = (0, 1, 2, 16, 17, 38, 40, 0x5412, 0x541C, 0x10000, 0x10000000, 0x40000080)
    for name, numbers in (REFUSED | CHECKED).items():
        number = numbers[column]
        if number is None:
            continue
        for arguments in itertools.product(interesting, repeat=2):
            wide = arguments[0] | 1 << 40, arguments[1] | 1 << 40  # the kernel reads 32 bits
            for given in (arguments, wide):
                expected = decide(code, value, number, *given)
                assert json_decides(rules, name, given) == expected, (name, given)
    assert json_decides(rules, "clone3", (0, 0)) == seccomp.ERRNO | errno.ENOSYS


def test_a_layer_holds_what_is_named_with_its_links_and_libraries(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    (closed / "data").write_text("x")
    (closed / "data").chmod(0o600)
    (closed / "link").symlink_to("data")
    (tmp_path / "way").symlink_to(closed)
    with tempfile.TemporaryFile() as file:
        image.write_layer(file, [tmp_path / "way" / "link", Path("/bin/sh")])
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            found = {member.name: member for member in archive}
    inside = str(tmp_path).lstrip("/")
    assert found[f"{inside}/way"].issym()
    assert found[f"{inside}/closed/link"].linkname == "data"
    assert (found[f"{inside}/closed"].mode, found[f"{inside}/closed/data"].mode) == (0o755, 0o644)
    assert {(member.uid, member.gid) for member in found.values()} == {(0, 0)}
    assert any(name.rpartition("/")[2].startswith("libc.so") for name in found)
    assert {"etc/passwd", "tmp"} <= found.keys()


def test_packages_bring_what_they_need() -> None:
    names = {path.parts[-2] for path in image.paths_of(["nbclient"])}
    assert {"nbclient", "traitlets", "jupyter_core"} <= names
    assert not {"django", "numpy"} & names
    with pytest.raises(LookupError, match="no-such-package"):
        image.paths_of(["no-such-package"])


HOLDS = """
import os, socket, sys
print(os.getpid() > 1, os.listdir("/djsci"))
os.system("echo raw")
def djsci_handler(request, fills: int = 0):
    print("err", file=sys.stderr)
    return [len(bytearray(b"x") * fills), [name for _, name in socket.if_nameindex()]]
"""


def listed(*options: str) -> list[str]:
    program = container.find(container.current())
    return container.ask([program, "ps", "--all", "--quiet", *options]).stdout.split()


async def test_a_container_runs_one_run_within_its_limits_and_is_gone(
    containers: Settings,
) -> None:
    assert probe.run("container") == []
    engine = SpawnEngine(size=1, isolation="container", container=containers)
    mine = f"label={container.OWNER}={container.owner()}"
    await engine.open()
    try:
        heard = await play(engine, HOLDS)
        assert text_of(heard).splitlines() == ["True ['guest.zip']", "raw"]
        [result] = [event for event in heard if isinstance(event, events.Result)]
        assert (result.value, text_of(heard, "stderr")) == (events.Json(text='[0,["lo"]]'), "err\n")
        small = RunLimits(timeout=30, memory=128 << 20)
        heard = await play(engine, HOLDS, parameters={"fills": 256 << 20}, limits=small)
        end = heard[-1]
        assert isinstance(end, events.End)
        assert (end.state, end.reason) == ("crashed", "memory limit (128 MiB) exceeded")
    finally:
        await engine.close()
    assert listed("--filter", mine) == []


EXECUTOR = """
import asyncio, sys
from djsci.isolation import container
container.current = lambda: container.Settings.read({settings!r})
from djsci.engines.fork import SpawnEngine
async def main():
    engine = SpawnEngine(isolation="container", container=container.current())
    await engine.open()
    worker = await engine.supply.take()
    print(worker.name, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture
def executor(containers: Settings, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    code = EXECUTOR.format(settings=containers._asdict())
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


def test_the_sweep_removes_what_a_dead_executor_left_and_nothing_else(
    containers: Settings, executor: "subprocess.Popen[str]"
) -> None:
    """Z10: a container hears of the death itself; what does not is removed by the next look."""
    assert executor.stdout is not None
    name = executor.stdout.readline().strip()
    program = container.find(containers)
    living = container.owner()
    dead = f"{living.rpartition(':')[0].rpartition(':')[0]}:{os.getpid()}:1"
    made = []
    for whose in (living, dead):
        given = ["--label", f"{container.OWNER}={whose}", "--network", "none", "--pull", "never"]
        argv = [program, "create", "--rm", *given, containers.image, "true"]
        made.append(container.ask(argv).stdout.strip())
    try:
        assert container.remove_leftovers(containers) == 1
        left = listed("--no-trunc")
        assert made[0] in left
        assert made[1] not in left
        assert listed("--filter", f"name={name}")
        executor.send_signal(signal.SIGKILL)
        end = time.monotonic() + WAIT
        while listed("--filter", f"name={name}"):
            assert time.monotonic() < end
    finally:
        container.ask(container.removed(containers, *made))


SEEN = (
    ("--network", "none"),
    ("--cap-drop", "ALL"),
    ("--security-opt", "no-new-privileges"),
    ("--hostname", "djsci"),
    ("--shm-size", str(evidence.SIZES.shared)),
)


@pytest.mark.faults
@pytest.mark.parametrize("option", SEEN, ids=" ".join)
def test_without_the_option_a_canary_is_red(option: tuple[str, ...], containers: Settings) -> None:
    assert probe.run("container", change=lambda command: probe.drop(command, *option)) != []


@pytest.mark.faults
def test_without_the_profile_seccomp_is_red(containers: Settings) -> None:
    def change(command: list[str]) -> list[str]:
        at = next(at for at, part in enumerate(command) if part.startswith("seccomp="))
        return [*command[:at], "seccomp=unconfined", *command[at + 1 :]]

    assert "seccomp is off" in probe.run("container", change=change)


def without_memory(command: list[str]) -> list[str]:
    value = str(probe.LIMITS.memory)
    return probe.drop(probe.drop(command, "--memory", value), "--memory-swap", value)


def without_pids(command: list[str]) -> list[str]:
    """A number is given all the same: podman's own may be over what this machine allows."""
    most = str(probe.LIMITS.pids + 1)
    wide = {most: "0", f"nproc={most}:{most}": "nproc=1000:1000"}
    return [wide.get(part, part) for part in command]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("change", "red"),
    [
        (without_memory, "its memory is not bounded"),
        (without_pids, "the number of its processes is not bounded"),
    ],
)
def test_a_limit_that_is_left_out_is_missed(
    change: contained.Change, red: str, containers: Settings
) -> None:
    assert contained.red(probe.LIMITS, evidence.SIZES, change=change) == [red]
