"""A hostile notebook in a kernel inside a wall: what it reaches, how it dies, what it leaves."""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from djsci.core import events, sources
from djsci.core.errors import IsolationUnavailable
from djsci.core.events import End
from djsci.core.requests import from_parameters
from djsci.engines import tree
from djsci.engines.base import Limits, Stop
from djsci.engines.kernel import KernelEngine
from djsci.isolation import evidence, probe

LIMITS = Limits(timeout=20, grace=0.5)
HANDLER = "import os, time\ndef djsci_handler(request):\n"


@pytest.fixture
async def engine(level: str) -> AsyncIterator[KernelEngine]:
    made = KernelEngine(size=0, isolation=level)
    await made.open()
    yield made
    await made.close()


async def play(
    engine: KernelEngine,
    body: str,
    *,
    limits: Limits = LIMITS,
    files: dict[str, bytes] | None = None,
) -> tuple[str, End]:
    """What the handler with this body prints, and the run's end."""
    code = HANDLER + "".join(f"    {line}\n" for line in body.splitlines())
    source = sources.read("code.py", {"code.py": code.encode(), **(files or {})})
    run = engine.execute(source, from_parameters({}), limits=limits, stop=Stop())
    text = ""
    async with asyncio.timeout(60), aclosing(run) as heard:
        async for event in heard:
            if isinstance(event, events.Stream):
                text += event.text
            if isinstance(event, End):
                return text, event
    raise AssertionError("a run without an end")


async def test_h20_the_hosts_listeners_get_nothing(engine: KernelEngine) -> None:
    with evidence.planting() as planted, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: S103
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with datagrams:
            datagrams.bind(("127.0.0.1", 0))
            datagrams.setblocking(False)
            port, udp = planted["port"], datagrams.getsockname()[1]
            body = (
                "import socket\n"
                "def tried(work):\n"
                "    try:\n"
                "        work()\n"
                "        print('sent')\n"
                "    except OSError:\n"
                "        pass\n"
                f"tried(lambda: socket.create_connection(('127.0.0.1', {port}), 2))\n"
                f"tried(lambda: socket.create_connection(('localhost', {port}), 2))\n"
                f"tried(lambda: socket.socket(socket.AF_UNIX).connect({planted['socket']!r}))\n"
                "def datagram():\n"
                "    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                f"    made.sendto(b'x', ('127.0.0.1', {udp}))\n"
                "tried(datagram)\n"
            )
            text, end = await play(engine, body)
            assert end.state == "succeeded", end
            # In a namespace of its own a datagram may be sent to nobody.
            assert text.count("sent") <= (engine.pool.ground.isolation == "bwrap")
            assert planted["hits"]() == 0
            with pytest.raises(BlockingIOError):
                datagrams.recv(1)


async def test_h17_h18_the_servers_secrets_are_out_of_reach(
    engine: KernelEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_KEY", "planted-secret")
    settings = tmp_path / "settings.py"
    settings.write_text("planted-secret")
    body = (
        "print(dict(os.environ))\n"
        f"paths = [{str(settings)!r}, '/etc/shadow', {str(Path.home() / '.ssh')!r}]\n"
        f"for pid in (1, {os.getpid()}):\n"
        "    paths += [f'/proc/{pid}/{name}' for name in ('environ', 'fd', 'mem')]\n"
        "for path in paths:\n"
        "    try:\n"
        "        print(os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(100))\n"
        "    except OSError:\n"
        "        print('refused')\n"
    )
    text, end = await play(engine, body)
    assert end.state == "succeeded", end
    assert "planted-secret" not in text


async def test_h19_another_kernels_files_are_out_of_reach(engine: KernelEngine) -> None:
    root = engine.pool._folder
    body = "open('mine', 'w').write('secret')\nprint('ready', flush=True)\ntime.sleep(2)\n"
    look = (
        "import glob\n"
        "time.sleep(0.5)\n"
        f"for path in glob.glob({str(root)!r} + '/**', recursive=True):\n"
        "    if os.path.isfile(path) and 'zip' not in path:\n"
        "        print(path)\n"
    )
    _, (text, end) = await asyncio.gather(play(engine, body), play(engine, look))
    assert end.state == "succeeded", end
    units = {line.removeprefix(f"{root}/").split("/")[0] for line in text.splitlines()}
    assert len(units) <= 1  # its own


async def test_h2_a_crash_is_named(engine: KernelEngine) -> None:
    _, killed = await play(engine, "os.kill(os.getpid(), 9)")
    assert (killed.state, killed.reason) == ("crashed", "signal 9 (SIGKILL)")
    _, left = await play(engine, "os._exit(7)")
    assert (left.state, left.reason) == ("crashed", "exit 7")


async def test_h7_memory_over_the_limit_ends_the_run(engine: KernelEngine) -> None:
    limits = Limits(timeout=20, grace=0.5, memory=200 << 20)
    body = "held = []\nfor _ in range(300): held.append(b'x' * (1 << 20))\ntime.sleep(10)"
    _, end = await play(engine, body, limits=limits)
    assert (end.state, end.reason) == ("crashed", "memory limit (200 MiB) exceeded")


async def test_h6_processes_are_bounded_and_none_is_left(engine: KernelEngine) -> None:
    body = (
        "children = 0\n"
        "try:\n"
        "    for _ in range(80):\n"
        "        if os.fork() == 0:\n"
        "            os.setsid()\n"
        "            time.sleep(30)\n"
        "            os._exit(0)\n"
        "        children += 1\n"
        "except BlockingIOError:\n"
        "    print(children)\n"
    )
    text, end = await play(engine, body)
    assert 1 <= int(text) < 64
    assert not end.abandoned
    assert [
        child for child in psutil.Process().children(recursive=True) if child.is_running()
    ] == []


async def test_the_kernel_is_known_by_its_pid_outside(engine: KernelEngine) -> None:
    """Its processor limit is set from outside, so it must not be another's."""
    commands = []
    source = sources.read("a.py", {"a.py": (HANDLER + "    print(1)\n    return 1\n").encode()})
    run = engine.execute(source, from_parameters({}), limits=LIMITS, stop=Stop())
    async with asyncio.timeout(60), aclosing(run) as heard:
        async for event in heard:
            if isinstance(event, events.Stream):
                [unit] = engine.pool.busy
                below = psutil.Process(unit.pid).children(recursive=True)
                assert unit.kernel_pid in [process.pid for process in below]
                commands.append(Path(f"/proc/{unit.kernel_pid}/cmdline").read_text())
    assert len(commands) == 1
    assert "front.py" in commands[0]


async def test_companions_and_written_files_work(engine: KernelEngine) -> None:
    body = (
        "import pathlib, helper\n"
        "pathlib.Path('out.txt').write_text(helper.word)\n"
        "print(pathlib.Path('out.txt').read_text(), pathlib.Path('data.csv').read_text())\n"
    )
    text, end = await play(
        engine, body, files={"helper.py": b"word = 'written'", "data.csv": b"1,2"}
    )
    assert (text, end.state) == ("written 1,2\n", "succeeded")


SERVER = """
import asyncio, sys
from djsci.core import sources
from djsci.engines.base import Limits, Stop
from djsci.engines.kernel import KernelEngine
from djsci.guest.requests import HandlerRequest

async def main():
    source = sources.read("code.py", {"code.py": sys.argv[1].encode()})
    engine = KernelEngine(size=0, root=sys.argv[2], isolation=sys.argv[3])
    run = engine.execute(source, HandlerRequest(), limits=Limits(), stop=Stop())
    async for event in run:
        print(getattr(event, "text", ""), end="", flush=True)

asyncio.run(main())
"""
FAMILY = """
import subprocess, time
def djsci_handler(request):
    subprocess.Popen(["sleep", "299"], start_new_session=True, env={})
    print("up", flush=True)
    time.sleep(60)
"""


async def test_a_level_that_does_not_hold_starts_nothing(
    bubblewrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "bwrap")
        program.write_text("#!/bin/sh\necho bubblewrap 0.3.0\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setattr(probe, "_known", {})
        engine = KernelEngine(size=1, isolation=bubblewrap)
        with pytest.raises(IsolationUnavailable):
            await engine.open()
        assert engine.pool.ready == 0
        await engine.close()


async def test_nothing_outlives_a_server_that_is_killed(level: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SERVER, FAMILY, folder, level), stdout=asyncio.subprocess.PIPE
        )
        assert server.stdout is not None
        async with asyncio.timeout(30):
            assert await server.stdout.readline() == b"up\n"
        children = {child.pid for child in psutil.Process(server.pid).children(recursive=True)}
        assert len(children) >= 3
        server.kill()
        await server.wait()
        async with asyncio.timeout(10):
            while children & tree.snapshot().keys():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
