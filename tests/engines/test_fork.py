"""What only the fork engine promises: notebooks, the pool, the ladder, and no leftovers."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import threading
import time
import zipfile
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
from djsci.engines import installed, tree
from djsci.engines.base import Limits, Stop
from djsci.engines.fork import ForkEngine
from djsci.guest.requests import HandlerRequest
from tests.conftest import notebook
from tests.isolation.conftest import need

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
LIMITS = Limits(timeout=30, grace=1)
HANDLER = "def djsci_handler(request):\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[ForkEngine]:
    opened = ForkEngine(size=1)
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
    engine: ForkEngine,
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


async def test_a_notebook_runs_cell_by_cell_and_its_handler_is_called(engine: ForkEngine) -> None:
    said = await play(
        engine,
        cells("import asyncio", "x = await asyncio.sleep(0, 20)", HANDLER + "    return x + 1"),
    )
    marks = [(e.index, e.state) for e in said if isinstance(e, events.Cell)]
    assert marks == [(i, state) for i in (1, 2, 3) for state in ("start", "done")]
    assert (result(said), end(said).state) == (21, "succeeded")


async def test_the_order_of_prints_errors_subprocesses_and_displays_is_exact(
    engine: ForkEngine,
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
    engine: ForkEngine, code: str, state: str, reason: str, ename: str | None
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


async def test_an_error_names_cell_and_line(engine: ForkEngine) -> None:
    said = await play(engine, cells("x = 1", "def f():\n    1 / 0", "\n\nf()"))
    assert (error(said).cell, error(said).line) == (3, 3)
    said = await play(engine, cells("x = 1", HANDLER + "\n\n    return x / 0"))
    assert (error(said).cell, error(said).line) == (2, 4)
    said = await play(engine, py(HANDLER + "\n    return 1 / 0"))
    assert (error(said).cell, error(said).line) == (1, 3)


async def test_the_tags_of_cells_hold(engine: ForkEngine) -> None:
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
    engine: ForkEngine, texts: list[str], wanted: Any
) -> None:
    said = await play(engine, cells(*texts))
    assert (result(said), end(said).state) == (wanted, "succeeded")


async def test_parameters_are_set_after_the_cell_that_is_tagged(engine: ForkEngine) -> None:
    source = cells("days = 1", "seen = days", "[days, seen]", tags={0: ["parameters"]})
    assert result(await play(engine, source, parameters={"days": 5})) == [5, 5]
    assert result(await play(engine, source)) == [1, 1]


async def test_h14_results_that_are_no_json_or_too_large_fail_with_their_code(
    engine: ForkEngine,
) -> None:
    said = await play(engine, py(HANDLER + "    return {'a': [1, float('nan')]}"))
    assert (error(said).ename, end(said).reason) == ("ResultNotJson", "result_not_json")
    assert "$.a[1]" in error(said).evalue
    small = Limits(timeout=30, grace=1, result=100)
    said = await play(engine, py(HANDLER + "    return 'x' * 200"), limits=small)
    assert (error(said).ename, end(said).reason) == ("ResultTooLarge", "result_too_large")
    said = await play(engine, cells("import djsci\ndjsci.result(float('nan'))"))
    assert (error(said).ename, end(said).reason) == ("ResultNotJson", "result_not_json")


async def test_a_large_result_and_large_files_pass(engine: ForkEngine) -> None:
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


async def test_rich_output_reaches_the_reader(engine: ForkEngine) -> None:
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


async def test_libraries_take_the_shell_for_a_notebooks(engine: ForkEngine) -> None:
    said = await play(
        engine,
        cells(
            "import pandas\npandas.get_option('display.max_columns')",
            "[hasattr(get_ipython(), 'kernel'), type(get_ipython()).__name__]",
            "get_ipython().kernel.comm_manager",
        ),
    )
    shown = [event.data["text/plain"] for event in said if isinstance(event, events.Display)]
    assert shown == ["20", "[True, 'ZMQInteractiveShell']"]
    assert "the engine `kernel` has one" in error(said).evalue


async def test_a_traceback_that_is_only_shown_does_not_end_a_run(engine: ForkEngine) -> None:
    code = "try: 1 / 0\nexcept ZeroDivisionError: get_ipython().showtraceback()\nprint('on')"
    said = await play(engine, cells(code, HANDLER + "    return 1"))
    assert (error(said).cell, printed(said)) == (1, "on\n")
    assert (result(said), end(said).state) == (1, "succeeded")
    said = await play(engine, cells(code))
    assert (result(said), end(said).state) == (None, "succeeded")


async def test_a_value_that_cannot_be_shown_ends_a_run(engine: ForkEngine) -> None:
    code = "class Bad:\n    def _repr_html_(self): raise KeyError('bad')\nBad()"
    said = await play(engine, cells(code, "print('never')"))
    assert (end(said).state, end(said).reason) == ("failed", "KeyError: 'bad'")
    assert printed(said) == ""


async def test_an_exit_that_was_announced_goes_on_unless_it_is_the_shells(
    engine: ForkEngine,
) -> None:
    tags = {0: ["raises-exception"]}
    said = await play(engine, cells("import sys\nsys.exit(1)", "5", tags=tags))
    assert (result(said), end(said).state) == (5, "succeeded")
    said = await play(engine, cells("exit()", "5", tags=tags))
    assert (end(said).state, end(said).reason) == ("failed", "exited 0")


async def test_tasks_begin_in_a_cell_without_await_and_go_on_between_cells(
    engine: ForkEngine,
) -> None:
    said = await play(
        engine,
        cells(
            "import asyncio\nseen = []\nasync def work():\n    seen.append(1)",
            "task = asyncio.create_task(work())",
            "seen",
            "asyncio.run(work())\nseen",
        ),
    )
    assert (result(said), end(said).state) == ([1, 1], "succeeded")


async def test_the_shells_folders_are_the_runs_own(engine: ForkEngine) -> None:
    code = "import os\nx = 7\n%store x\n[os.path.samefile(_dh[0], '.'), os.listdir('.ipython')]"
    assert result(await play(engine, cells(code))) == [True, ["db"]]
    said = await play(engine, cells("%store -r\n'x' in globals()"))
    assert result(said) is False


async def test_bytes_written_past_the_streams_keep_their_place(engine: ForkEngine) -> None:
    code = (
        "import os, subprocess\nfor n in range(20):\n    print(n)\n"
        "    os.write(2, b'raw %d\\n' % n)\n    os.write(1, b'raw %d\\n' % n)\n"
        "    subprocess.run('echo err >&2', shell=True)\n    subprocess.run(['echo', 'out'])"
    )
    said = await play(engine, cells(code))
    wanted = [f"{n}\nraw {n}\nraw {n}\nerr\nout\n" for n in range(20)]
    assert printed(said) == "".join(wanted)


async def test_a_failing_handlers_figures_are_shown(engine: ForkEngine) -> None:
    code = HANDLER + "    import matplotlib.pyplot as plt\n    plt.plot([1, 2])\n    1 / 0"
    said = await play(engine, cells(code))
    assert [type(event).__name__ for event in said[-3:]] == ["Error", "DisplayData", "End"]


async def test_what_the_project_has_is_missed_with_a_word_on_the_switch(
    engine: ForkEngine,
) -> None:
    said = await play(engine, py("from djsci.models import Run\n" + HANDLER + "    return 1"))
    assert "`trusted`" in error(said).evalue
    said = await play(engine, cells("from django.contrib.auth.models import User\nUser"))
    assert "`trusted`" in error(said).evalue
    said = await play(engine, cells("import asgi_project"))
    assert "`trusted`" in error(said).evalue
    said = await play(engine, cells("import nothing_of_anybody"))
    assert error(said).evalue == "No module named 'nothing_of_anybody'"


async def test_h16_the_environment_and_the_folder_are_the_runs_own(
    engine: ForkEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "x")
    fresh = ForkEngine(size=0)
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
    engine: ForkEngine, how: str
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


async def test_a_cancel_interrupts_and_force_kills(engine: ForkEngine) -> None:
    stop = Stop()
    code = (
        "import time\ntry:\n    print('up', flush=True)\n    time.sleep(60)\n"
        "finally:\n    print('cleaned')"
    )
    said = await play(
        engine,
        cells(code),
        limits=Limits(timeout=30, grace=20),
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


async def test_what_a_stopped_run_said_last_is_read_after_its_death(engine: ForkEngine) -> None:
    """It never reads the word to stop, so the system resets its socket: that takes nothing away."""
    code = (
        "import os, time\n" + HANDLER + "    try:\n        print('up', os.getpid(), flush=True)\n"
        "        time.sleep(60)\n    finally:\n        print('stopping')\n        print('stopped')"
    )
    stop = Stop()

    def on_event(event: Event) -> None:
        match event:
            case events.Stream(text=text) if text.startswith("up"):
                worker.append(psutil.Process(int(text.split()[1])))
                stop.ask("cancelled")
            case events.Stream():
                worker[0].wait(30)  # nothing is read meanwhile

    worker: list[psutil.Process] = []
    limits = Limits(timeout=30, grace=20)
    said = await play(engine, py(code), limits=limits, stop=stop, on_event=on_event)
    assert end(said).state == "cancelled"
    assert printed(said).splitlines()[1:] == ["stopping", "stopped"]
    assert error(said).ename == "KeyboardInterrupt"


async def test_a_run_that_was_stopped_before_it_began_just_ends(engine: ForkEngine) -> None:
    stop = Stop()
    stop.ask("cancelled")
    assert [event.type for event in await play(engine, cells("1"), stop=stop)] == ["end"]


def front_of(engine: ForkEngine) -> int:
    """The process that an engine's server was started as."""
    assert engine.supply.server is not None
    assert engine.supply.server.process is not None
    return engine.supply.server.process.pid


MINE = f".{os.getpid()}"  # other suites may run beside this one
TREE = """
import os, subprocess, sys, time
subprocess.Popen(["sleep", "310MINE"])
subprocess.Popen(["sleep", "311MINE"], start_new_session=True, env={})
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.environ.clear()
        os.execve("/bin/sleep", ["sleep", "312MINE"], {})
    os._exit(0)
print(os.getpid(), flush=True)
""".replace("MINE", MINE)


def sleepers() -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        is_ours = line[:1] == ["sleep"] and line[-1] in (f"{n}{MINE}" for n in (310, 311, 312))
        if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


@pytest.mark.parametrize("how", ["close", "end", "crash"])
async def test_h6_the_whole_tree_is_gone(engine: ForkEngine, how: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    tail = f"while not os.path.exists({str(gate)!r}):\n    time.sleep(0.01)\n"
    tail += "os._exit(3)" if how == "crash" else ""
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
                gate.touch()
    assert seen == 3
    assert sleepers() == []
    assert int(pid) not in tree.snapshot()


async def test_h7_too_much_memory_is_a_crash_that_says_so(engine: ForkEngine) -> None:
    code = HARD["sleeps"].replace("import time", "import time\nx = b'x' * (400 << 20)")
    said = await play(engine, cells(code), limits=Limits(timeout=30, memory=300 << 20))
    assert (end(said).state, end(said).reason) == ("crashed", "memory limit (300 MiB) exceeded")


async def test_a_folder_is_removed_however_deep_it_is(engine: ForkEngine) -> None:
    code = (
        "import os\n" + HANDLER + "    work = os.getcwd()\n    for _ in range(1500):\n"
        "        os.mkdir('d')\n        os.chdir('d')\n    os.chmod('.', 0)\n    return work"
    )
    folder = result(await play(engine, py(code)))
    await until(lambda: not os.path.exists(folder))


async def test_h6_a_fork_that_returns_gives_one_result(engine: ForkEngine) -> None:
    said = await play(engine, py("import os\n" + HANDLER + "    os.fork()\n    return 1"))
    assert (result(said), end(said).state) == (1, "succeeded")
    said = await play(engine, cells("import os\npid = os.fork()", "print('once')"))
    assert (printed(said), end(said).state) == ("once\n", "succeeded")


async def test_h11_threads_and_tasks_get_a_moment_after_the_return(engine: ForkEngine) -> None:
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
    engine = ForkEngine(size=0)
    code = "import time\nfor i in range(100):\n    print(request_name, i)\n    time.sleep(0.001)"
    runs = [play(engine, cells(f"request_name = {name!r}", code)) for name in ("a", "b", "c")]
    for name, said in zip(("a", "b", "c"), await asyncio.gather(*runs), strict=True):
        assert printed(said).splitlines() == [f"{name} {i}" for i in range(100)]
    await engine.close()


async def test_a_dead_or_old_worker_is_never_handed_out() -> None:
    engine = ForkEngine(size=1)
    await engine.open()
    await until(lambda: engine.ready == 1)
    [worker] = engine.supply.ready
    os.kill(worker.pid, signal.SIGKILL)
    await until(lambda: not worker.is_alive)
    assert result(await play(engine, cells("import os\nos.getpid()"))) != worker.pid
    await until(lambda: engine.ready == 1)
    engine.supply.recycle = 0
    [worker] = engine.supply.ready
    assert result(await play(engine, cells("import os\nos.getpid()"))) != worker.pid
    await engine.close()


async def test_a_server_that_is_killed_is_replaced_and_leaves_nothing() -> None:
    engine = ForkEngine(size=0)
    said, pids = [], []
    run = engine.execute(
        cells(TREE + "time.sleep(60)"), HandlerRequest(), limits=LIMITS, stop=Stop()
    )
    async with asyncio.timeout(30), aclosing(run) as stream:
        async for event in stream:
            said.append(event)
            if isinstance(event, events.Stream):
                pids.append(int(event.text))
                await until(lambda: len(sleepers()) == 3)
                psutil.Process(front_of(engine)).children()[0].kill()
    assert (end(said).state, end(said).reason) == ("crashed", "the fork server is gone")
    assert not {*pids} & tree.snapshot().keys()
    assert sleepers() == []
    assert result(await play(engine, cells("1 + 1"))) == 2
    await engine.close()


async def test_a_library_that_starts_threads_is_refused_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ForkEngine(size=0, preload=["concurrent.futures.thread", "_threads_for_tests"])
    thread = "threading.Thread(target=time.sleep, args=(60,), daemon=True)"
    code = f"import threading, time\n{thread}.start()"
    await engine.open()
    assert engine.supply.folder is not None
    with zipfile.ZipFile(engine.supply.folder / "guest.zip", "a") as guest:
        guest.writestr("_threads_for_tests.py", code)
    assert result(await play(engine, cells("1 + 1"))) == 2
    await engine.close()
    assert "_threads_for_tests starts threads" in caplog.text


async def test_h9_what_others_write_to_the_descriptors_is_heard(engine: ForkEngine) -> None:
    code = (
        "import os, ctypes, subprocess, sys\n"
        "os.write(1, b'raw\\n')\nctypes.CDLL(None).puts(b'from c')\n"
        "ctypes.CDLL(None).fflush(None)\n"
        "subprocess.run('echo sub; echo bad >&2', shell=True)\nos.system('echo system')"
    )
    said = await play(engine, cells(code))
    texts = {"stdout": "", "stderr": ""}
    for event in said:
        if isinstance(event, events.Stream):
            texts[event.name] += event.text
    assert texts == {"stdout": "raw\nfrom c\nsub\nsystem\n", "stderr": "bad\n"}


@pytest.mark.parametrize("level", ["process", "bwrap"])
async def test_two_runs_draw_different_numbers_and_share_no_module(level: str) -> None:
    need(level)
    engine = ForkEngine(size=0, preload=["numpy"], isolation=level)
    code = py(
        "import random, sys, tempfile, numpy\nsys.modules['__main__'].seen = 1\n"
        + HANDLER
        + "    return [random.random(), float(numpy.random.rand()), __name__, tempfile.mktemp()]"
    )
    first, second = [result(await play(engine, code)) for _ in range(2)]
    await engine.close()
    assert first[2] == second[2] == "code_"
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert first[3] != second[3]


async def test_a_worker_serves_one_run(engine: ForkEngine) -> None:
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
    engine: ForkEngine, count: int, width: int
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
                    await asyncio.sleep(1)  # a reader that is away: the worker waits for it
            most = max(most, process.memory_info().rss - before)
            if isinstance(event, End):
                assert event.state == "succeeded"
    assert seen.digest() == wanted.digest()
    assert most < 50 << 20


async def test_nothing_is_left_after_many_runs(engine: ForkEngine, tmp_path: Path) -> None:
    def baseline() -> tuple[int, int, list[int], list[str]]:
        return (
            len(os.listdir("/proc/self/fd")),
            threading.active_count(),
            sorted(child.pid for child in psutil.Process().children(recursive=True)),
            os.listdir(tmp_path),
        )

    await until(lambda: engine.ready == 1)
    before = baseline()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    other = ForkEngine(size=1, root=str(tmp_path))
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


async def test_a_worker_that_is_killed_in_a_flood_does_no_harm(engine: ForkEngine) -> None:
    for _ in range(4):
        count = 0
        run = engine.execute(
            cells("while True: print('x' * 300)"), HandlerRequest(), limits=LIMITS, stop=Stop()
        )
        async with asyncio.timeout(30), aclosing(run) as stream:
            async for event in stream:
                count += 1
                if count == 8:
                    [run_here] = engine._running
                    os.kill(run_here.worker.pid, signal.SIGKILL)
                if isinstance(event, End):
                    assert event.reason == "signal 9 (SIGKILL)"


SERVER = """
import asyncio, sys
from djsci.core import sources
from djsci.engines.base import Limits, Stop
from djsci.engines.fork import ForkEngine
from djsci.guest.requests import HandlerRequest

async def main():
    source = sources.read("code.py", {"code.py": sys.argv[1].encode()})
    engine = ForkEngine(size=1, root=sys.argv[2])
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


async def test_a_server_is_renewed_when_a_package_comes_and_runs_in_flight_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("site.getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.setattr(installed, "LOOK", 0.0)
    engine = ForkEngine(size=0)
    await engine.open()
    code = "print('up', flush=True)\nimport time, pathlib\nwhile not pathlib.Path({!r}).exists():\n"
    flag = tmp_path / "go on"
    slow = cells(code.format(str(flag)) + "    time.sleep(0.01)", "'unharmed'")
    servers = []

    async def renew(event: Event) -> None:
        if isinstance(event, events.Stream):
            servers.append(engine.supply.server)
            (tmp_path / "new_package").mkdir()
            assert result(await play(engine, cells("1 + 1"))) == 2
            servers.append(engine.supply.server)
            flag.touch()

    said: list[Event] = []
    run = engine.execute(slow, HandlerRequest(), limits=LIMITS, stop=Stop())
    async with asyncio.timeout(60), aclosing(run) as stream:
        async for event in stream:
            said.append(event)
            await renew(event)
    assert (result(said), end(said).state) == ("unharmed", "succeeded")
    assert servers[0] is not servers[1]
    await until(lambda: servers[0] is not None and not servers[0].is_alive)
    await engine.close()
