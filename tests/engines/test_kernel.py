"""What only the kernel engine promises: notebooks, the pool, the ladder, and no leftovers."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from djsci.core import events, sources
from djsci.core.events import End, Event
from djsci.core.sources import Source
from djsci.engines import tree
from djsci.engines.base import Limits, Stop
from djsci.engines.frames import MIME
from djsci.engines.kernel import KernelEngine
from djsci.guest.requests import HandlerRequest
from tests.conftest import notebook

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
LIMITS = Limits(timeout=30, grace=1)
HANDLER = "def djsci_handler(request):\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[KernelEngine]:
    opened = KernelEngine(size=1)
    await opened.open()
    yield opened
    await opened.close()


def py(code: str, **files: bytes) -> Source:
    return sources.read("code.py", {"code.py": code.encode(), **files})


def cells(*texts: str, tags: dict[int, list[str]] | None = None, **metadata: Any) -> Source:
    document = json.loads(notebook(*texts, metadata=metadata))
    for index, names in (tags or {}).items():
        document["cells"][index]["metadata"]["tags"] = names
    return sources.read("book.ipynb", {"book.ipynb": json.dumps(document).encode()})


async def play(
    engine: KernelEngine,
    source: Source,
    *,
    limits: Limits = LIMITS,
    stop: Stop | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    **request: Any,
) -> list[Event]:
    said: list[Event] = []
    run = engine.execute(source, HandlerRequest(**request), limits=limits, stop=stop or Stop())
    async with asyncio.timeout(60), aclosing(run) as stream:
        async for event in stream:
            on_event(event)
            said.append(event)
    assert [isinstance(event, End) for event in said].count(True) == 1
    assert isinstance(said[-1], End)
    return said


def printed(said: list[Event]) -> str:
    return "".join(event.text for event in said if isinstance(event, events.Stream))


def result(said: list[Event]) -> Any:
    [found] = [event for event in said if isinstance(event, events.Result)]
    assert found.value is not None
    return json.loads(found.value.text)


def error(said: list[Event]) -> events.Error:
    return next(event for event in said if isinstance(event, events.Error))


def end(said: list[Event]) -> End:
    last = said[-1]
    assert isinstance(last, End)
    return last


async def until(is_true: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not is_true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_a_notebook_runs_cell_by_cell_and_its_handler_is_called(engine: KernelEngine) -> None:
    said = await play(
        engine,
        cells("import asyncio", "x = await asyncio.sleep(0, 20)", HANDLER + "    return x + 1"),
    )
    marks = [(e.index, e.state) for e in said if isinstance(e, events.Cell)]
    assert marks == [(i, state) for i in (1, 2, 3) for state in ("start", "done")]
    assert (result(said), end(said).state) == (21, "succeeded")


async def test_the_order_of_prints_errors_subprocesses_and_displays_is_exact(
    engine: KernelEngine,
) -> None:
    code = """
import subprocess, sys
for i in range(30):
    print("out", i)
    print("err", i, file=sys.stderr)
    display({"text/plain": f"shown {i}"}, raw=True)
    subprocess.run(["echo", f"sub {i}"])
    print("last", i)
"""
    said = await play(engine, cells(code))
    text = ""
    for event in said:
        match event:
            case events.Stream(text=more):
                text += more
            case events.DisplayData(data=data):
                text += data["text/plain"] + "\n"
    wanted = [f"{word} {i}" for i in range(30) for word in ("out", "err", "shown", "sub", "last")]
    assert text.splitlines() == wanted


@pytest.mark.parametrize(
    ("code", "state", "reason", "ename"),
    [
        ("1/0", "failed", "ZeroDivisionError: division by zero", "ZeroDivisionError"),
        ("import sys\nsys.exit(3)", "failed", "exited 3", "SystemExit"),
        ("exit()", "failed", "exited 0", "SystemExit"),
        ("quit", "failed", "exited 0", "SystemExit"),
        ("%nosuch", "failed", "UsageError", "UsageError"),
        ("x = = 1", "failed", "SyntaxError", "SyntaxError"),
        ("input()", "failed", "StdinNotImplementedError", "StdinNotImplementedError"),
        ("import os\nprint('last')\nos._exit(9)", "crashed", "exit 9", None),
        ("import os\nprint('last')\nos.abort()", "crashed", "signal 6 (SIGABRT)", None),
        (
            "import ctypes\nprint('last')\nctypes.string_at(0)",
            "crashed",
            "signal 11 (SIGSEGV)",
            None,
        ),
        ("import os\nos.kill(os.getpid(), 9)", "crashed", "signal 9 (SIGKILL)", None),
    ],
    ids=lambda value: str(value).replace("\n", "; ") if value else "none",
)
async def test_h1_h2_h10_a_cell_ends_as_it_should(
    engine: KernelEngine, code: str, state: str, reason: str, ename: str | None
) -> None:
    said = await play(engine, cells("print('before')", code, "print('after')"))
    assert (end(said).state, end(said).reason[: len(reason)]) == (state, reason)
    assert printed(said).startswith("before\n")
    assert "after" not in printed(said)
    assert ("last\n" in printed(said)) == ("'last'" in code)
    if ename:
        assert (error(said).ename, error(said).cell) == (ename, 2)
    else:
        assert not [event for event in said if isinstance(event, events.Error)]


async def test_an_error_names_cell_and_line(engine: KernelEngine) -> None:
    said = await play(engine, cells("x = 1", "def f():\n    1 / 0", "\n\nf()"))
    assert (error(said).cell, error(said).line) == (3, 3)
    said = await play(engine, cells("x = 1", HANDLER + "\n\n    return x / 0"))
    assert (error(said).cell, error(said).line) == (2, 4)
    said = await play(engine, py(HANDLER + "\n    return 1 / 0"))
    assert (error(said).cell, error(said).line) == (1, 3)


async def test_the_tags_of_cells_hold(engine: KernelEngine) -> None:
    said = await play(
        engine,
        cells(
            "1/0",
            "print('skipped')",
            "print('end')",
            tags={0: ["raises-exception"], 1: ["skip-execution"]},
        ),
    )
    assert (printed(said), end(said).state) == ("end\n", "succeeded")
    assert error(said).ename == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["import djsci\ndjsci.result({'a': 1})", "2"], {"a": 1}),
        (["1", "{'b': [1, 2]}"], {"b": [1, 2]}),
        (["1", "x = 2"], None),
        (["object()"], None),
        (["import djsci\ndjsci.progress(0.5)\ndjsci.log('hello', n=1)\n7"], 7),
    ],
)
async def test_a_notebook_without_a_handler_has_a_result(
    engine: KernelEngine, texts: list[str], wanted: Any
) -> None:
    said = await play(engine, cells(*texts))
    assert (result(said), end(said).state) == (wanted, "succeeded")


async def test_parameters_are_set_after_the_cell_that_is_tagged(engine: KernelEngine) -> None:
    source = cells("days = 1", "seen = days", "[days, seen]", tags={0: ["parameters"]})
    assert result(await play(engine, source, parameters={"days": 5})) == [5, 5]
    assert result(await play(engine, source)) == [1, 1]


async def test_results_that_are_no_json_or_too_large_fail_with_their_code(
    engine: KernelEngine,
) -> None:
    said = await play(engine, py(HANDLER + "    return {'a': [1, float('nan')]}"))
    assert (error(said).ename, end(said).reason) == ("ResultNotJson", "result_not_json")
    assert "$.a[1]" in error(said).evalue
    small = Limits(timeout=30, grace=1, result=100)
    said = await play(engine, py(HANDLER + "    return 'x' * 200"), limits=small)
    assert (error(said).ename, end(said).reason) == ("ResultTooLarge", "result_too_large")
    said = await play(engine, cells("import djsci\ndjsci.result(float('nan'))"))
    assert (error(said).ename, end(said).reason) == ("ResultNotJson", "result_not_json")


async def test_a_large_result_and_large_files_pass(engine: KernelEngine) -> None:
    data = os.urandom(8 << 20)
    source = sources.read(
        "code.py",
        {
            "code.py": (
                b"import hashlib\ndef djsci_handler(request):\n"
                b"    data = open('data.bin', 'rb').read()\n"
                b"    return [hashlib.sha256(data).hexdigest(), 'x' * (6 * 2**20 - 100)]"
            ),
            "data.bin": data,
        },
    )
    digest, text = result(await play(engine, source))
    assert (digest, len(text)) == (hashlib.sha256(data).hexdigest(), 6 * 2**20 - 100)


async def test_a_frame_with_a_wrong_nonce_is_a_display(engine: KernelEngine) -> None:
    forged = json.dumps({"type": "result", "value": "666", "nonce": "guess"})
    code = f"    display({{{MIME!r}: {forged!r}}}, raw=True)\n    return 1\n"
    said = await play(engine, py("from IPython.display import display\n" + HANDLER + code))
    [shown] = [event for event in said if isinstance(event, events.DisplayData)]
    assert (shown.data[MIME], result(said)) == (forged, 1)


async def test_rich_output_reaches_the_reader(engine: KernelEngine) -> None:
    said = await play(
        engine,
        cells(
            "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
            "import pandas\npandas.DataFrame({'a': [1]})",
            "from tqdm.auto import tqdm\nfor i in tqdm(range(3)): pass",
            "h = display('x', display_id='one')\nh.update('y')",
            "from IPython.display import clear_output\nclear_output(wait=True)",
            "print('\\x1b[31mred\\x1b[0m \\ud800')",
        ),
    )
    kinds = [type(event).__name__ for event in said]
    shown = [event for event in said if isinstance(event, events.Display)]
    assert "image/png" in shown[0].data
    assert "<table" in shown[1].data["text/html"]
    assert [(event.type, event.display_id) for event in shown[2:]] == [
        ("display_data", "one"),
        ("update_display_data", "one"),
    ]
    assert kinds.count("ClearOutput") == 1
    assert "3/3" in printed(said)
    assert "Warning" not in printed(said)
    assert printed(said).endswith("\x1b[31mred\x1b[0m \ufffd\n")


async def test_what_the_project_has_is_missed_with_a_word_on_the_switch(
    engine: KernelEngine,
) -> None:
    said = await play(engine, py("from djsci.models import Run\n" + HANDLER + "    return 1"))
    assert "`trusted`" in error(said).evalue
    said = await play(engine, cells("from django.contrib.auth.models import User\nUser"))
    assert "`trusted`" in error(said).evalue


async def test_h16_the_environment_and_the_folder_are_the_runs_own(
    engine: KernelEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "x")
    fresh = KernelEngine(size=0)
    code = (
        "import json, os, sys, helper\n"
        "def djsci_handler(request):\n"
        "    try: open('helper.py', 'w'); wrote = os.getuid() != 0\n"
        "    except PermissionError: wrote = False\n"
        "    return [sorted(os.listdir()), dict(os.environ), os.getcwd(), __file__, sys.path,\n"
        "            oct(os.stat('helper.py').st_mode), wrote, helper.X, json.dumps(1)]\n"
    )
    source = sources.read(
        "code.py", {"code.py": code.encode(), "helper.py": b"X = 5", "json.py": b"1/0"}
    )
    names, environment, folder, file, path, mode, wrote, value, text = result(
        await play(fresh, source)
    )
    await fresh.close()
    assert names == ["__pycache__", "code.py", "helper.py", "json.py"] or names == [
        "code.py",
        "helper.py",
        "json.py",
    ]
    assert "SECRET_OF_THE_SERVER" not in environment
    assert (file, path[-1], str(Path.cwd()) in path) == (f"{folder}/code.py", folder, False)
    assert (mode, wrote, value, text) == ("0o100444", False, 5, "1")
    assert not Path(folder).exists()


HARD = {
    "sleeps": "import time\ntime.sleep(60)",
    "ignores": "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)",
    "swallows": (
        "import time\nwhile True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass"
    ),
    "c": "import re\nre.match('(a+)+$', 'a' * 50 + 'b')",
    "awaits": "import asyncio\nawait asyncio.sleep(60)",
    "system": "import os\nos.system('sleep 60')",
}


@pytest.mark.parametrize("how", HARD)
async def test_h4_h5_a_run_ends_at_its_deadline_whatever_it_does(
    engine: KernelEngine, how: str
) -> None:
    began = time.monotonic()
    said = await play(
        engine,
        cells("print('up')", HARD[how], "print('more')"),
        limits=Limits(timeout=0.8, grace=0.4),
    )
    assert (end(said).state, end(said).abandoned) == ("timed_out", False)
    assert events.Status(state="cancelling") in said
    assert (end(said).elapsed or 0) < 3
    assert time.monotonic() - began < 20
    assert printed(said) == "up\n"


async def test_a_cancel_interrupts_and_force_kills(engine: KernelEngine) -> None:
    stop = Stop()
    code = (
        "import time\ntry:\n    print('up', flush=True)\n    time.sleep(60)\n"
        "finally:\n    print('cleaned')"
    )
    said = await play(
        engine,
        cells(code),
        stop=stop,
        on_event=lambda e: stop.ask("cancelled") if isinstance(e, events.Stream) else None,
    )
    assert end(said).state == "cancelled"
    assert printed(said) == "up\ncleaned\n"
    stop = Stop()
    said = await play(
        engine,
        cells(HARD["swallows"].replace("import time", "import time\nprint('up')")),
        limits=Limits(timeout=30, grace=30),
        stop=stop,
        on_event=lambda e: stop.force() if isinstance(e, events.Stream) else None,
    )
    assert (end(said).state, (end(said).elapsed or 99) < 10) == ("cancelled", True)


async def test_a_run_that_was_stopped_before_it_began_just_ends(engine: KernelEngine) -> None:
    stop = Stop()
    stop.ask("cancelled")
    assert [event.type for event in await play(engine, cells("1"), stop=stop)] == ["end"]


TREE = """
import os, subprocess, sys, time
subprocess.Popen(["sleep", "300"])
subprocess.Popen(["sleep", "301"], start_new_session=True, env={})
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.environ.clear()
        os.execve("/bin/sleep", ["sleep", "302"], {})
    os._exit(0)
print(os.getpid(), flush=True)
"""


def sleepers() -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        is_ours = line[:1] == ["sleep"] and line[-1] in ("300", "301", "302")
        if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


@pytest.mark.parametrize("how", ["close", "end", "crash"])
async def test_h6_the_whole_tree_is_gone(engine: KernelEngine, how: str) -> None:
    tail = {
        "close": "time.sleep(60)",
        "end": "time.sleep(2)",
        "crash": "time.sleep(2)\nos._exit(3)",
    }[how]
    run = engine.execute(cells(TREE + tail), HandlerRequest(), limits=LIMITS, stop=Stop())
    pid, seen = "", 0
    async with asyncio.timeout(30), aclosing(run) as stream:
        async for event in stream:
            if isinstance(event, events.Stream):
                pid += event.text
                await until(lambda: len(sleepers()) == 3)
                seen = len(sleepers())
                if how == "close":
                    break
    assert seen == 3
    assert sleepers() == []
    assert int(pid) not in tree.snapshot()


async def test_h7_too_much_memory_is_a_crash_that_says_so(engine: KernelEngine) -> None:
    code = HARD["sleeps"].replace("import time", "import time\nx = b'x' * (400 << 20)")
    said = await play(engine, cells(code), limits=Limits(timeout=30, memory=300 << 20))
    assert (end(said).state, end(said).reason) == ("crashed", "memory limit (300 MiB) exceeded")


async def test_h6_a_fork_that_returns_gives_one_result(engine: KernelEngine) -> None:
    said = await play(engine, py("import os\n" + HANDLER + "    os.fork()\n    return 1"))
    assert (result(said), end(said).state) == (1, "succeeded")
    said = await play(engine, cells("import os\npid = os.fork()", "print('once')"))
    assert (printed(said), end(said).state) == ("once\n", "succeeded")


async def test_h11_threads_and_tasks_get_a_moment_after_the_return(engine: KernelEngine) -> None:
    code = (
        "import asyncio, threading, time\n"
        "def late():\n    time.sleep(0.2)\n    print('thread')\n"
        "async def later():\n    await asyncio.sleep(0.4)\n    print('task')\n"
        "async def djsci_handler(request):\n"
        "    threading.Thread(target=late).start()\n"
        "    global task\n    task = asyncio.create_task(later())\n    return 1\n"
    )
    said = await play(engine, py(code))
    assert (printed(said), result(said)) == ("thread\ntask\n", 1)


async def test_two_runs_at_once_do_not_cross() -> None:
    engine = KernelEngine(size=0)
    code = "import time\nfor i in range(100):\n    print(request_name, i)\n    time.sleep(0.001)"
    runs = [play(engine, cells(f"request_name = {name!r}", code)) for name in ("a", "b", "c")]
    for name, said in zip(("a", "b", "c"), await asyncio.gather(*runs), strict=True):
        assert printed(said).splitlines() == [f"{name} {i}" for i in range(100)]
    await engine.close()


async def test_a_dead_or_old_kernel_is_never_handed_out() -> None:
    engine = KernelEngine(size=1)
    await engine.open()
    await until(lambda: engine.pool.ready == 1)
    [unit] = engine.pool._ready
    os.kill(unit.kernel_pid, signal.SIGKILL)
    await until(lambda: not unit.is_alive)
    said = await play(engine, cells("import os\nos.getpid()"))
    assert end(said).state == "succeeded"
    assert result(said) != unit.pid
    await until(lambda: engine.pool.ready == 1)
    engine.pool.recycle = 0
    [unit] = engine.pool._ready
    assert result(await play(engine, cells("import os\nos.getpid()"))) != unit.pid
    await engine.close()


async def test_a_kernel_serves_one_run(engine: KernelEngine) -> None:
    code = py(
        "import os, builtins\n" + HANDLER + "    old = getattr(builtins, 'x', 0)\n"
        "    builtins.x = 1\n    return [os.getpid(), old]"
    )
    first, second = [result(await play(engine, code)) for _ in range(2)]
    assert first[0] != second[0]
    assert (first[1], second[1]) == (0, 0)


@pytest.mark.parametrize(
    ("count", "width"),
    [(100_000, 700), pytest.param(1_000_000, 1, marks=pytest.mark.faults)],
    ids=["long lines", "a million lines"],
)
async def test_a_flood_arrives_and_the_reader_stays_small(
    engine: KernelEngine, count: int, width: int
) -> None:
    code = f"for i in range({count}): print(f'line {{i:{width}d}}')"
    wanted = hashlib.sha256()
    for i in range(count):
        wanted.update(f"line {i:{width}d}\n".encode())
    seen, blocked = hashlib.sha256(), False
    process = psutil.Process()
    before = process.memory_info().rss
    most = 0
    run = engine.execute(cells(code), HandlerRequest(), limits=Limits(), stop=Stop())
    async with asyncio.timeout(80), aclosing(run) as stream:
        async for event in stream:
            if isinstance(event, events.Stream):
                seen.update(event.text.encode())
                if not blocked:
                    blocked = True
                    await asyncio.sleep(1)  # a reader that is away: the kernel waits for it
            most = max(most, process.memory_info().rss - before)
            if isinstance(event, End):
                assert event.state == "succeeded"
    assert seen.digest() == wanted.digest()
    assert most < 50 << 20


async def test_nothing_is_left_after_many_runs(engine: KernelEngine, tmp_path: Path) -> None:
    def baseline() -> tuple[int, int, list[int], list[str]]:
        return (
            len(os.listdir("/proc/self/fd")),
            threading.active_count(),
            sorted(child.pid for child in psutil.Process().children(recursive=True)),
            os.listdir(tmp_path),
        )

    await until(lambda: engine.pool.ready == 1)
    before = baseline()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    other = KernelEngine(size=1, root=str(tmp_path))
    await other.open()
    slots = asyncio.Semaphore(3)

    async def one(index: int) -> str:
        async with slots:
            code = "1 / 0" if index % 5 == 4 else f"return {index}"
            return end(await play(other, py(HANDLER + f"    {code}"))).state

    states = await asyncio.gather(*(one(index) for index in range(12)))
    assert states.count("failed") == 2
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    await other.close()
    after = baseline()
    assert after[0] <= before[0]
    assert after[1:] == before[1:]


async def test_an_unknown_kernel_of_another_language_is_refused(engine: KernelEngine) -> None:
    assert "python3" in KernelEngine.kernelspecs()
    source = cells("1", kernelspec={"name": "nosuch", "language": "julia", "display_name": "x"})
    with pytest.raises(sources.SourceInvalid, match="nosuch"):
        await play(engine, source)


async def test_a_kernel_that_is_killed_in_a_flood_does_no_harm(engine: KernelEngine) -> None:
    for _ in range(4):
        count = 0
        run = engine.execute(
            cells("while True: print('x' * 300)"), HandlerRequest(), limits=LIMITS, stop=Stop()
        )
        async with asyncio.timeout(30), aclosing(run) as stream:
            async for event in stream:
                count += 1
                if count == 8:
                    [unit] = engine.pool.busy
                    os.kill(unit.kernel_pid, signal.SIGKILL)
                if isinstance(event, End):
                    assert event.reason == "signal 9 (SIGKILL)"


async def test_a_kernel_that_is_not_ours_runs_a_notebook_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kernels" / "other"
    folder.mkdir(parents=True)
    code = "from ipykernel.kernelapp import launch_new_instance as start; start()"
    spec = {
        "argv": [sys.executable, "-c", code, "-f", "{connection_file}"],
        "language": "other",
        "display_name": "Other",
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert "other" in KernelEngine.kernelspecs()
    engine = KernelEngine(size=0)
    said = await play(
        engine, cells("print('hi')", "1 + 1", kernelspec={**spec, "name": "other", "argv": []})
    )
    await engine.close()
    assert printed(said).endswith("hi\n")
    assert (result(said), end(said).state) == (None, "succeeded")


SERVER = """
import asyncio, sys
from djsci.core import sources
from djsci.engines.base import Limits, Stop
from djsci.engines.kernel import KernelEngine
from djsci.guest.requests import HandlerRequest

async def main():
    source = sources.read("code.py", {"code.py": sys.argv[1].encode()})
    engine = KernelEngine(size=1, root=sys.argv[2])
    run = engine.execute(source, HandlerRequest(), limits=Limits(), stop=Stop())
    async for event in run:
        print(getattr(event, "text", ""), end="", flush=True)

asyncio.run(main())
"""
FAMILY = """
import os, subprocess, time
def djsci_handler(request):
    child = subprocess.Popen(["sleep", "299"], start_new_session=True, env={})
    print(os.getpid(), os.getppid(), child.pid, flush=True)
    time.sleep(60)
"""


async def test_nothing_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, FAMILY, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    async with asyncio.timeout(30):
        pids = {int(pid) for pid in (await server.stdout.readline()).split()}
    children = {child.pid for child in psutil.Process(server.pid).children(recursive=True)}
    assert len(pids) == 3
    assert pids <= children
    server.kill()
    await server.wait()
    await until(lambda: not children & tree.snapshot().keys())
    await until(lambda: os.listdir(tmp_path) == [])


@pytest.mark.parametrize(
    "change",
    [
        "import sys; sys.stdout = None",
        "import sys; sys.stderr = None",
        "import sys; sys.stdout = object()",
        "import io, sys; sys.stdout = io.StringIO(); sys.stdout.close()",
        "import json; json.dumps = json.loads = None",
    ],
)
async def test_h12_h13_a_run_that_breaks_its_streams_or_json_still_has_its_result(
    engine: KernelEngine, change: str
) -> None:
    code = f"{HANDLER}    print('hi', flush=True)\n    {change}\n    return {{'a': 1}}\n"
    said = await play(engine, py(code), limits=Limits(timeout=10, grace=0.5))
    assert (printed(said), result(said)) == ("hi\n", {"a": 1})
    said = await play(engine, cells(change, "{'b': 2}"), limits=Limits(timeout=10, grace=0.5))
    assert result(said) == {"b": 2}


async def test_h10_a_breakpoint_is_an_error_at_once(engine: KernelEngine) -> None:
    said = await play(engine, py(f"{HANDLER}    breakpoint()\n"))
    assert (end(said).state, error(said).ename) == ("failed", "RuntimeError")


async def test_messages_that_no_kernel_would_send_are_skipped(engine: KernelEngine) -> None:
    code = """
    kernel = get_ipython().kernel
    for kind, content in (
        ("stream", {"name": "stdout", "text": ["a"]}),
        ("stream", {"name": "stdout", "text": None}),
        ("display_data", {"data": 5}),
        ("error", {"traceback": 5}),
        ("status", {}),
    ):
        kernel.session.send(
            kernel.iopub_socket, kind, content, parent=kernel.get_parent("shell")
        )
    kernel.iopub_thread.send_multipart([b"junk"])
    kernel.iopub_thread.send_multipart([b"<IDS|MSG>", b"bad", b"{}", b"{}", b"{}", b"{}"])
    print("after")
    return 1
"""
    said = await play(engine, py(HANDLER + code))
    assert (printed(said), result(said)) == ("after\n", 1)


async def test_ending_one_kernels_parent_leaves_the_pools_folder(engine: KernelEngine) -> None:
    code = """
    import os, time
    print(os.path.dirname(os.path.dirname(os.getcwd())), flush=True)
    os.kill(os.getppid(), 15)
    time.sleep(9)
"""
    said = await play(engine, py(HANDLER + code))
    assert end(said).state == "crashed"
    assert Path(printed(said).strip(), "guest.zip").is_file()
    assert result(await play(engine, py(f"{HANDLER}    return 1\n"))) == 1
