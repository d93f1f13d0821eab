"""What every wall must hold: each test does inside what no run may do."""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from djsci.engines import tree
from djsci.isolation import bwrap, landlock, probe, users
from djsci.isolation.limits import Group, Limits, make_group

MEMORY = 128 << 20
LIMITS = Limits(memory=MEMORY, pids=24, file_size=32 << 20)
SIZES = bwrap.Sizes(work=8 << 20, temporary=4 << 20, shared=2 << 20)
WAIT = 30.0
ROOT = Path(__file__).parent.parent.parent

FOLDERS = ("/workdir", "/tmp", "/dev/shm")  # noqa: S108
Inside = Callable[..., subprocess.Popen[str]]


@contextlib.contextmanager
def walled(level: str) -> Iterator[Inside]:
    """Starts Python code inside a wall of the level; all of it is dead at the end."""
    started: list[subprocess.Popen[str]] = []
    with users.lease() as uid, tempfile.TemporaryDirectory(prefix="djsci-wall-") as folder:
        if uid is not None:
            os.chown(folder, uid, uid)

        def start(code: str, *, groups: Sequence[str] = ()) -> subprocess.Popen[str]:
            argv = [sys.executable, "-I", "-c", code]
            if level == "landlock":
                command = landlock.command(
                    argv, limits=LIMITS, folder=folder, uid=uid, groups=groups
                )
            else:
                command = bwrap.command(
                    argv,
                    environment={"PATH": os.defpath},
                    limits=LIMITS,
                    sizes=SIZES,
                    uid=uid,
                    groups=groups,
                )
            process = subprocess.Popen(
                command,
                env={"PATH": os.defpath},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            started.append(process)
            return process

        try:
            yield start
        finally:
            for process in started:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=WAIT)


@pytest.fixture
def inside(level: str) -> Iterator[Inside]:
    with walled(level) as start:
        yield start


def said(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=WAIT)[0].strip()


def test_h16_h17_h18_h20_no_canary_is_red(level: str) -> None:
    """C8: the wall is the operating system, never anything inside Python."""
    assert probe.run(level) == []


def test_a_run_ends_with_its_server(level: str) -> None:
    assert probe.ends_with_parent(level)


def test_h17_h19_a_neighbours_file_cannot_be_read(level: str) -> None:
    with walled(level) as mine, walled(level) as theirs:
        code = (
            "import os, time\n"
            "path = os.path.join(os.environ['TMPDIR'], 'mine')\n"
            "open(path, 'w').write('x')\n"
            "os.chmod(path, 0o644)\n"
            "os.chmod(os.environ['TMPDIR'], 0o777)\n"
            "print(path, os.getpid(), flush=True)\n"
            "time.sleep(60)\n"
        )
        living = mine(code)
        assert living.stdout is not None
        path, pid = living.stdout.readline().split()
        names = [path, *(f"/proc/{pid}/{name}" for name in ("environ", "fd/1", "mem"))]
        look = (
            "import os\n"
            f"for path in {names!r}:\n"
            "    try:\n"
            "        text = open(path, 'rb').read(1)\n"
            "        if int(path.split('/')[2] if 'proc' in path else 0) == os.getpid():\n"
            "            continue\n"
            "        print('read', path)\n"
            "    except (OSError, ValueError) as error:\n"
            "        pass\n"
        )
        assert said(theirs(look)) == ""


def test_h6_processes_are_bounded(inside: Inside) -> None:
    code = (
        "import os, signal, time\n"
        "children = []\n"
        "try:\n"
        "    for _ in range(50):\n"
        "        child = os.fork()\n"
        "        if child == 0:\n"
        "            time.sleep(20)\n"
        "            os._exit(0)\n"
        "        children.append(child)\n"
        "except BlockingIOError:\n"
        "    print('refused after', len(children))\n"
        "for child in children:\n"
        "    os.kill(child, signal.SIGKILL)\n"
        "    os.waitpid(child, 0)\n"
    )
    count = int(said(inside(code)).removeprefix("refused after "))
    assert 1 <= count <= LIMITS.pids


@pytest.fixture
def group() -> Iterator[Group]:
    made = make_group(f"djsci-test-{secrets.token_hex(4)}", LIMITS)
    if made is None:
        pytest.skip("No control group can be made here.")
    yield made
    assert made.close()


HUNGRY = (
    "import time\n"
    "held = []\n"
    f"for _ in range({(MEMORY * 2) >> 20}):\n"
    "    held.append(b'x' * (1 << 20))\n"
    "print('held', flush=True)\n"
    "time.sleep(20)\n"
)


def test_h7_memory_over_the_limit_ends_the_run_and_not_its_neighbour(
    inside: Inside, group: Group
) -> None:
    neighbour = inside("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    assert neighbour.stdout is not None
    assert neighbour.stdout.readline() == "up\n"
    hungry = inside(HUNGRY, groups=[str(folder) for folder in group.folders])
    assert "held" not in said(hungry)
    assert hungry.returncode != 0
    assert group.is_over_memory()
    assert neighbour.poll() is None


def test_memory_can_be_watched_from_outside(inside: Inside) -> None:
    code = "import time\nheld = b'x' * (64 << 20)\nprint('up', flush=True)\ntime.sleep(60)\n"
    process = inside(code)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    assert tree.proportional(process.pid, tree.snapshot()) > 64 << 20


def test_h8_a_descriptor_limit_a_file_limit_and_no_core(inside: Inside) -> None:
    code = (
        "import json, resource as r\n"
        "names = ('NOFILE', 'FSIZE', 'CORE', 'MEMLOCK')\n"
        "print(json.dumps([r.getrlimit(getattr(r, 'RLIMIT_' + name)) for name in names]))\n"
    )
    found = json.loads(said(inside(code)))
    assert found[:3] == [[1024, 1024], [LIMITS.file_size] * 2, [0, 0]]
    assert found[3][1] <= 64 << 10


def test_h6_a_grandchild_of_its_own_session_dies_with_the_group(
    inside: Inside, group: Group, tmp_path: Path
) -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        print('up', flush=True)\n"
        "        time.sleep(60)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "time.sleep(60)\n"
    )
    process = inside(code, groups=[str(folder) for folder in group.folders])
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    assert group.close()
    assert select.select([process.stdout], [], [], 5.0)[0]
    assert process.stdout.read() == ""


def test_a_grandchild_dies_when_the_first_process_does(bubblewrap: str) -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    with walled(bubblewrap) as start:
        process = start(code)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
        assert select.select([process.stdout], [], [], 5.0)[0]
        assert process.stdout.read() == ""


def test_an_endless_run_can_be_killed_at_its_time(inside: Inside) -> None:
    code = (
        "import signal\n"
        "for number in (signal.SIGINT, signal.SIGTERM):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "print('up', flush=True)\n"
        "while True: pass\n"
    )
    process = inside(code)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.kill()
    began = time.monotonic()
    assert process.stdout.read() == ""
    assert time.monotonic() - began < 5


def test_c11_nothing_writable_outlives_a_run_but_the_folder_of_its_sockets() -> None:
    """C11: a link planted in a writable folder of the host would wait there for the next run."""
    given: dict[str, Any] = {"environment": {}, "limits": LIMITS, "sizes": SIZES, "uid": None}
    for sockets in (None, "/run/s"):
        command = bwrap.command(["true"], sockets=sockets, **given)
        writable = {"--bind", "--bind-try", "--dev-bind", "--dev-bind-try", "--overlay"}
        places = [command[at + 1] for at, word in enumerate(command) if word in writable]
        assert places == ([sockets] if sockets else [])
        assert "--new-session" in command


def test_h8_folders_in_memory_are_bounded(bubblewrap: str) -> None:
    code = (
        "import errno\n"
        "for folder, size in (('/workdir', 8), ('/tmp', 4), ('/dev/shm', 2)):\n"
        "    written = 0\n"
        "    try:\n"
        "        with open(folder + '/big', 'wb', buffering=0) as file:\n"
        "            for _ in range(16):\n"
        "                written += file.write(b'x' * (1 << 20))\n"
        "    except OSError as error:\n"
        "        print(folder, errno.errorcode[error.errno], written <= size << 20)\n"
    )
    with walled(bubblewrap) as start:
        lines = said(start(code)).splitlines()
    assert lines == [f"{folder} ENOSPC True" for folder in FOLDERS]


def as_nobody(code: str) -> str:
    """What Python code prints as a user without rights."""
    code = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}"
    argv = [sys.executable, "-c", code]
    with users.lease() as uid:
        reach = [*landlock.interpreter_paths(), str(ROOT)]
        done = subprocess.run(
            landlock.stub(argv, uid=uid, reach=reach),
            env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_server_without_root_has_the_level_too(level: str) -> None:
    code = f"from djsci.isolation import probe\nprint(probe.probe({level!r}))"
    assert as_nobody(code) == "None"


def test_without_user_namespaces_bwrap_refuses_and_landlock_holds(landlocked: str) -> None:
    code = (
        "from djsci.isolation import probe, seccomp\n"
        "seccomp.install(seccomp.program())\n"
        "print(probe.probe('landlock'))\n"
        "print(probe.probe('bwrap'))\n"
    )
    landlock_reason, bwrap_reason = as_nobody(code).splitlines()
    assert landlock_reason == "None"
    assert "seccomp profile" in bwrap_reason or "Install bubblewrap" in bwrap_reason


def test_an_interpreter_below_a_closed_folder_works(level: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("Only root starts runs as other users.")
    closed = tmp_path / "closed"
    inner = closed / "open" / "file"
    inner.parent.mkdir(parents=True)
    inner.write_text("read")
    closed.chmod(0o700)
    (closed / "secret").write_text("not for runs")
    code = (
        f"print(open({str(inner)!r}).read())\n"
        "try:\n"
        f"    open({str(closed / 'secret')!r})\n"
        "except OSError as error:\n"
        "    print('refused')\n"
    )
    argv = [sys.executable, "-I", "-c", code]
    with users.lease() as uid, tempfile.TemporaryDirectory() as folder:
        assert uid is not None
        os.chown(folder, uid, uid)
        readable = [str(inner.parent)]
        command = (
            landlock.command(argv, limits=LIMITS, folder=folder, readable=readable, uid=uid)
            if level == "landlock"
            else bwrap.command(argv, environment={}, limits=LIMITS, readable=readable, uid=uid)
        )
        done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=WAIT)
    assert done.stdout.split() == ["read", "refused"], done.stderr


def test_z7_only_the_given_descriptors_arrive(level: str) -> None:
    """C11: an open descriptor of the host is a way out of a wall."""
    code = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
    leak = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        with walled(level) as start:
            assert said(start(code)) == "[0, 1, 2]"
    finally:
        os.close(leak)


def test_threads_and_subprocesses_still_work(inside: Inside) -> None:
    code = (
        "import asyncio, subprocess, sys, threading\n"
        "thread = threading.Thread(target=print, args=('thread',)); thread.start(); thread.join()\n"
        "subprocess.run([sys.executable, '-c', 'print(\"child\")'], check=True)\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "print(open(__import__('os').environ['TMPDIR'] + '/file', 'w').write('x'))\n"
    )
    assert sorted(said(inside(code)).split()) == ["1", "child", "thread"]


def test_an_entered_child_is_walled(landlocked: str, tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from djsci.isolation import landlock\n"
        "from djsci.isolation.limits import Limits\n"
        f"landlock.enter(Limits(), {str(tmp_path)!r})\n"
        f"open({str(tmp_path / 'mine')!r}, 'w').close()\n"
        "for work in (lambda: open('/etc/passwd'), lambda: open('/tmp/djsci-never', 'w')):\n"
        "    try:\n"
        "        work()\n"
        "    except PermissionError:\n"
        "        print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT
    )
    assert done.stdout.split() == ["refused", "refused"], done.stderr
    assert (tmp_path / "mine").exists()


def fake(folder: Path, text: str) -> None:
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


LIES: dict[str, str] = {
    "another program": "echo hello",
    "an old version": "echo bubblewrap 0.4.1",
    "no wall": (
        '[ "$1" = --version ] && { echo bubblewrap 9.9; exit; }\n'
        'while [ "$1" != -- ]; do shift; done\n'
        'shift; exec "$@"'
    ),
    "nothing": '[ "$1" = --version ] && echo bubblewrap 9.9\nexit 0',
}


@pytest.mark.parametrize("lie", LIES)
def test_a_bwrap_that_lies_is_refused(
    lie: str, bubblewrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: S103
        fake(Path(folder), LIES[lie])
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        assert probe._probe("bwrap") is not None


def test_a_missing_bwrap_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bwrap, "PROGRAMS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    reason: Any = probe._probe("bwrap")
    assert "Install bubblewrap" in reason
