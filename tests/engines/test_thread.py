"""What only the thread engine does: it shares the server's process and leaves no trace in it."""

import asyncio
import sys
import tempfile
import threading
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from djsci.core import events
from djsci.core.requests import from_parameters
from djsci.engines.base import Limits, Stop
from djsci.engines.thread import ThreadEngine

from .test_engines import LIMITS, make_source, play, said, text_of


async def test_it_puts_everything_back() -> None:
    streams, start = (sys.stdout, sys.stderr), threading.Thread.start
    modules, threads = set(sys.modules), set(threading.enumerate())
    folders = set(Path(tempfile.gettempdir()).glob("djsci-run-*"))
    engine = ThreadEngine(2)
    await engine.open()
    assert sys.stdout is not streams[0]
    await play(engine, "def djsci_handler(request): print(1)\n")
    await engine.close()
    assert (sys.stdout, sys.stderr) == streams
    assert threading.Thread.start is start
    assert "report" not in set(sys.modules) - modules
    assert set(threading.enumerate()) <= threads
    assert set(Path(tempfile.gettempdir()).glob("djsci-run-*")) <= folders


async def test_the_servers_own_prints_stay_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    engine = ThreadEngine(2)
    await engine.open()
    code = "def djsci_handler(request):\n    print('theirs')\n"
    running = engine.execute(make_source(code), from_parameters({}), limits=LIMITS, stop=Stop())
    heard = []
    async with aclosing(running) as listening:
        async for event in listening:
            print("ours")
            heard.append(event)
    await engine.close()
    assert text_of(heard) == "theirs\n"
    assert set(capsys.readouterr().out.split()) == {"ours"}


async def test_an_abandoned_run_keeps_its_slot_until_it_returns(tmp_path: Path) -> None:
    flag = tmp_path / "go"
    code = (
        "import pathlib, time\n"
        "def djsci_handler(request):\n"
        f"    while not pathlib.Path({str(flag)!r}).exists():\n"
        "        time.sleep(0.01)\n"
    )
    engine = ThreadEngine(1)
    await engine.open()
    first = await play(engine, code, limits=Limits(timeout=0.1, grace=0.1))
    assert first[-1].abandoned  # type: ignore[attr-defined]
    second = asyncio.ensure_future(play(engine, "def djsci_handler(request): return 2\n"))
    done, _ = await asyncio.wait({second}, timeout=0.2)
    assert not done
    flag.touch()
    assert said(await second)[-1] == ("end", "succeeded", "")
    await engine.close()


async def test_print_waits_for_a_slow_reader() -> None:
    engine = ThreadEngine(1)
    await engine.open()
    code = (
        "import djsci\n"
        "def djsci_handler(request):\n"
        "    for n in range(400):\n"
        "        print('x' * 10_000)\n"
        "        djsci.progress(n / 400)\n"
    )
    running = engine.execute(make_source(code), from_parameters({}), limits=LIMITS, stop=Stop())
    async with asyncio.timeout(30), aclosing(running) as listening:
        async for event in listening:
            if isinstance(event, events.Progress):
                break
        (execution,) = engine._threads.values()
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            assert execution.play.outbox._size < 1_200_000
            await asyncio.sleep(0.01)
        assert not execution.is_done
        rest = [event async for event in listening]
    assert len(text_of(rest)) == 399 * 10_001
    await engine.close()


async def test_the_hooks_run_in_the_runs_thread() -> None:
    seen: list[str] = []

    def note() -> None:
        seen.append(threading.current_thread().name)

    engine = ThreadEngine(1, before=note, after=note)
    await engine.open()
    await play(engine, "def djsci_handler(request): ...\n")
    await engine.close()
    assert seen == ["djsci-run", "djsci-run"]


async def test_a_magic_is_refused_with_the_cure() -> None:
    engine = ThreadEngine(1)
    await engine.open()
    heard = await play(engine, ["%time 3"])
    await engine.close()
    error = next(event for event in heard if isinstance(event, events.Error))
    assert ("engine to `auto`" in error.evalue, error.cell) == (True, 1)


async def test_closing_the_generator_frees_a_handler_that_waits_to_print() -> None:
    engine = ThreadEngine(1)
    await engine.open()
    code = (
        "import djsci\n"
        "def djsci_handler(request):\n"
        "    while not djsci.cancelled():\n"
        "        print('x' * 100_000)\n"
    )
    running = engine.execute(make_source(code), from_parameters({}), limits=LIMITS, stop=Stop())
    async with asyncio.timeout(30), aclosing(running) as listening:
        async for event in listening:
            if isinstance(event, events.Stream):
                break
    again = await play(engine, "def djsci_handler(request): return 1\n")
    assert said(again)[-1] == ("end", "succeeded", "")
    await engine.close()
