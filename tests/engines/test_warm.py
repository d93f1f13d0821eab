"""What a file that is kept loaded promises: loaded once, forked for each call, nothing crosses."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from djsci.core import events
from djsci.core.sources import Source
from djsci.engines.base import Limits, Stop
from djsci.engines.templates import Template
from djsci.engines.warm import WarmEngine
from djsci.guest.requests import HandlerRequest
from tests.engines.test_fork import cells, end, error, play, printed, result, until
from tests.engines.test_fork import py as source_of
from tests.isolation.conftest import need

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
LIMITS = Limits(timeout=30, grace=1)
HANDLER = "def djsci_handler(request, **given):\n"
LEVELS = (
    "bwrap",
    *(pytest.param(weaker, marks=pytest.mark.faults) for weaker in ("process", "landlock")),
)


@pytest.fixture(params=LEVELS, scope="module")
def level(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    return name if name == "process" else need(name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(level: str) -> AsyncIterator[WarmEngine]:
    opened = WarmEngine(isolation=level)
    await opened.open()
    yield opened
    await opened.close()


def py(code: str, version: str = "", **files: bytes) -> Source:
    return replace(source_of(code, **files), file="a file" if version else "", version=version)


async def call(engine: WarmEngine, source: Source, **given: Any) -> Any:
    said = await play(engine, source, parameters=given)
    assert (end(said).state, end(said).abandoned) == ("succeeded", False), end(said)
    return result(said)


def template(engine: WarmEngine) -> Template:
    return list(engine.templates.values())[-1]


WHO = "import os\nprint('loaded')\nLOADER = os.getpid()\nCOUNT = [0]\n" + HANDLER
WHO += "    COUNT[0] += 1\n    return [LOADER, os.getpid(), os.getppid(), COUNT[0]]"


async def test_a_file_is_loaded_once_and_each_call_is_a_process(engine: WarmEngine) -> None:
    said = [await play(engine, py(WHO)) for _ in range(5)]
    assert [printed(events) for events in said] == ["loaded\n", "", "", "", ""]
    found = [result(events) for events in said]
    assert {(loader, parent, count) for loader, _, parent, count in found} == {
        (found[0][0], found[0][0], 1)
    }
    assert len({pid for _, pid, _, _ in found}) == 5


async def test_the_cells_of_a_notebook_run_once(engine: WarmEngine) -> None:
    handler = (
        HANDLER + "    global x\n    x += 1\n    print('called')\n    display(x)\n    return x"
    )
    source = cells("import asyncio\nx = await asyncio.sleep(0, 20)", "print('cell')", handler)
    first, second = [await play(engine, source) for _ in range(2)]
    assert [result(first), result(second)] == [21, 21]
    assert [printed(first), printed(second)] == ["cell\ncalled\n", "called\n"]
    marks = [
        [event.index for event in said if isinstance(event, events.Cell)]
        for said in (first, second)
    ]
    assert marks == [[1, 1, 2, 2, 3, 3], []]
    failing = cells("x = 1", HANDLER + "\n\n    return x / 0")
    for _ in range(2):
        said = await play(engine, failing)
        assert (error(said).cell, error(said).line) == (2, 4)


async def test_a_notebook_without_a_handler_runs_whole_each_time(engine: WarmEngine) -> None:
    source = cells("import os", "print('ran')", "os.getpid()")
    first, second = [await play(engine, source) for _ in range(2)]
    assert printed(first) == printed(second) == "ran\n"
    assert result(first) != result(second) or engine.supply.ground.has_own_root


async def test_calls_at_once_wait_for_one_load_and_do_not_cross(engine: WarmEngine) -> None:
    code = (
        "import subprocess, time, threading\nprint('loaded')\n" + HANDLER + "    me = given['me']\n"
        "    for i in range(20):\n        print(me, i)\n        time.sleep(0.002)\n"
        "    thread = threading.Thread(target=lambda: print(me, 'thread'))\n"
        "    thread.start()\n    thread.join()\n"
        "    subprocess.run(['echo', me, 'child'])\n    return me\n"
    )
    names = [f"call-{number}" for number in range(12)]
    all_said = await asyncio.gather(
        *(play(engine, py(code), parameters={"me": name}) for name in names)
    )
    loads = 0
    for name, said in zip(names, all_said, strict=True):
        lines = printed(said).splitlines()
        loads += lines.count("loaded")
        own = [line for line in lines if line != "loaded"]
        assert own == [*(f"{name} {i}" for i in range(20)), f"{name} thread", f"{name} child"]
        assert result(said) == name
    assert loads == 1


async def test_a_new_version_has_a_new_template_and_the_old_one_goes(engine: WarmEngine) -> None:
    first = await call(engine, py(WHO, "1"))
    assert (await call(engine, py(WHO, "1")))[0] == first[0]
    old = template(engine)
    second = await call(engine, py(WHO + " + [2]", "2"))
    assert second[3:] == [1, 2]
    await until(lambda: not old.worker.is_alive)
    assert template(engine) is not old
    # The version decides, not what is in it.
    now = template(engine)
    await call(engine, py(WHO + " + [2]", "3"))
    assert template(engine) is not now


async def test_an_old_template_is_replaced_and_its_calls_go_on(level: str) -> None:
    engine = WarmEngine(isolation=level)
    await engine.open()
    code = (
        "import time\n" + HANDLER + "    print('up', flush=True)\n"
        "    time.sleep(given['for'])\n    return 1"
    )
    first: Template | None = None

    def on_event(event: events.Event) -> None:
        nonlocal first
        if isinstance(event, events.Stream) and first is None:
            first = template(engine)
            first.retire()  # what happens after `recycle` seconds

    said = await play(engine, py(code), on_event=on_event, parameters={"for": 0.3})
    assert (first is not None, end(said).state) == (True, "succeeded")
    assert first is not None
    await until(lambda: not first.worker.is_alive)
    engine.supply.recycle = 0.01
    await call(engine, py(code), **{"for": 0})
    await until(lambda: not engine._all)
    await engine.close()


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        ("1 / 0", "failed", "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)", "failed", "exited 3"),
        ("import os\nprint('last')\nos._exit(9)", "crashed", "exit 9"),
        ("import os\nos.kill(os.getpid(), 11)", "crashed", "signal 11 (SIGSEGV)"),
    ],
)
async def test_a_load_that_fails_is_the_runs_end_and_the_next_one_tries_again(
    engine: WarmEngine, code: str, state: str, reason: str
) -> None:
    before = dict(engine.templates)
    for _ in range(2):
        said = await play(engine, py(f"print('loading')\n{code}\n{HANDLER}    return 1"))
        assert (end(said).state, end(said).reason) == (state, reason)
        assert printed(said).startswith("loading\n")
    assert engine.templates == before
    assert await call(engine, py(HANDLER + "    return 1")) == 1


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(60,), name='ticker', daemon=True).start()",
            "threads (ticker)",
        ),
        (
            "from concurrent.futures import ThreadPoolExecutor\n"
            "pool = ThreadPoolExecutor(1, thread_name_prefix='pool')\npool.submit(int).result()",
            "threads (pool_0)",
        ),
        ("import subprocess\nsubprocess.Popen(['sleep', '60'])", "processes (sleep)"),
        ("import mmap\nshared = mmap.mmap(-1, 64 << 20)", "shared memory (/dev/zero (deleted))"),
    ],
    ids=lambda value: str(value).rpartition("\n")[2][:30],
)
async def test_what_cannot_be_forked_is_refused_by_name(
    engine: WarmEngine, code: str, name: str
) -> None:
    said = await play(engine, py(f"{code}\n{HANDLER}    return 1"))
    assert (end(said).state, error(said).ename) == ("failed", "InstanceRefused")
    assert f"left {name}" in error(said).evalue
    assert 'instance = "warm"' in error(said).evalue


async def test_shared_memory_is_each_calls_own(engine: WarmEngine) -> None:
    code = (
        "import mmap, os\nshared = mmap.mmap(-1, 100)\nshared[0] = 5\n"
        + HANDLER
        + "    shared[0] += 1\n"
        "    if (child := os.fork()) == 0:\n        shared[1] = 7\n        os._exit(0)\n"
        "    os.waitpid(child, 0)\n    return [shared[0], shared[1]]"
    )
    assert [await call(engine, py(code)) for _ in range(2)] == [[6, 7], [6, 7]]


async def test_a_progress_bar_while_loading_is_no_thread_of_the_files(engine: WarmEngine) -> None:
    code = "from tqdm import tqdm\nN = sum(tqdm(range(3)))\n" + HANDLER
    code += "    return N + sum(tqdm(range(3)))"
    assert [await call(engine, py(code)) for _ in range(2)] == [6, 6]


async def test_a_thread_that_is_about_to_end_is_waited_for(engine: WarmEngine) -> None:
    code = "import _thread, time\n_thread.start_new_thread(time.sleep, (0.1,))\n" + HANDLER
    assert await call(engine, py(code + "    return 1")) == 1


async def test_a_template_that_is_killed_ends_its_calls_with_the_reason(engine: WarmEngine) -> None:
    code = "import time\n" + HANDLER + "    print('up', flush=True)\n    time.sleep(given['for'])"
    await call(engine, py(code), **{"for": 0})
    pid = template(engine).worker.pid

    def on_event(event: events.Event) -> None:
        if isinstance(event, events.Stream):
            os.kill(pid, signal.SIGKILL)

    said = await play(engine, py(code), on_event=on_event, parameters={"for": 60})
    assert end(said).state == "crashed"
    why = "the template that it was forked from is gone: signal 9 (SIGKILL)"
    assert (end(said).reason, end(said).abandoned) == (why, False)
    await call(engine, py(code), **{"for": 0})
    assert template(engine).worker.pid != pid


async def test_a_call_that_is_killed_takes_no_other_with_it(engine: WarmEngine) -> None:
    code = "import os, time\n" + HANDLER + "    print('up', flush=True)\n"
    code += "    os._exit(9) if given['how'] == 'exit' else time.sleep(0.5)\n    return 1"
    other = asyncio.create_task(play(engine, py(code), parameters={"how": "stay"}))
    said = await play(engine, py(code), parameters={"how": "exit"})
    assert (end(said).state, end(said).reason) == ("crashed", "exit 9")
    assert end(await other).state == "succeeded"


HARD = {
    "sleeps": "time.sleep(60)",
    "ignores": "signal.signal(signal.SIGINT, signal.SIG_IGN)\n    time.sleep(60)",
    "c": "re.match('(a+)+$', 'a' * 50 + 'b')",
    "system": "os.system('sleep 60')",
}


@pytest.mark.parametrize("how", HARD)
async def test_a_call_ends_at_its_deadline_and_the_template_stays(
    engine: WarmEngine, how: str
) -> None:
    code = "import os, re, signal, time\n" + HANDLER + "    print('up', flush=True)\n"
    code += f"    if given['hard']:\n        pass\n    else:\n        return 1\n    {HARD[how]}"
    assert await call(engine, py(code), hard=False) == 1
    kept = template(engine)
    limits = Limits(timeout=0.8, grace=0.4)
    said = await play(engine, py(code), limits=limits, parameters={"hard": True})
    assert (end(said).state, end(said).abandoned) == ("timed_out", False)
    assert events.Status(state="cancelling") in said
    assert printed(said) == "up\n"
    assert await call(engine, py(code), hard=False) == 1
    assert template(engine) is kept


async def test_a_load_ends_at_the_runs_deadline(engine: WarmEngine) -> None:
    code = "import time\nprint('up', flush=True)\ntime.sleep(60)\n" + HANDLER + "    return 1"
    said = await play(engine, py(code), limits=Limits(timeout=0.8, grace=0.4))
    assert (end(said).state, end(said).abandoned) == ("timed_out", False)
    assert printed(said) == "up\n"


async def test_a_cancel_interrupts_a_call_and_force_kills_it(engine: WarmEngine) -> None:
    code = (
        "import time\n"
        + HANDLER
        + (
            "    while True:\n"
            "        try:\n            print('up', flush=True)\n            time.sleep(60)\n"
            "        finally:\n            print('cleaned')\n"
        )
    )
    for _ in range(2):
        stop = Stop()
        said = await play(
            engine,
            py(code),
            limits=Limits(timeout=30, grace=20),
            stop=stop,
            on_event=lambda e, stop=stop: (  # type: ignore[misc]
                stop.ask("cancelled") if isinstance(e, events.Stream) else None
            ),
        )
        assert (end(said).state, printed(said)) == ("cancelled", "up\ncleaned\n")
    stop = Stop()
    said = await play(
        engine,
        py(code.replace("finally", "except KeyboardInterrupt")),
        limits=Limits(timeout=30, grace=30),
        stop=stop,
        on_event=lambda e: stop.force() if isinstance(e, events.Stream) else None,
    )
    assert end(said).state == "cancelled"


async def test_a_run_that_waits_for_anothers_load_can_be_cancelled(engine: WarmEngine) -> None:
    code = "import time\nprint('up', flush=True)\ntime.sleep(1)\n" + HANDLER + "    return 1"
    stop, second = Stop(), None

    def on_event(event: events.Event) -> None:
        nonlocal second
        if isinstance(event, events.Stream) and second is None:
            second = asyncio.create_task(play(engine, py(code), stop=stop))
            asyncio.get_running_loop().call_soon(stop.ask, "cancelled")

    said = await play(engine, py(code), on_event=on_event)
    assert end(said).state == "succeeded"
    assert second is not None
    assert [event.type for event in await second] == ["end"]


async def test_a_call_over_its_memory_crashes_alone(engine: WarmEngine) -> None:
    code = "import time\n" + HANDLER + "    print('up', flush=True)\n"
    code += "    x = b'x' * (given['size'] << 20)\n    time.sleep(given['for'])\n    return len(x)"
    limits = Limits(timeout=30, memory=300 << 20)
    await call(engine, py(code), size=1, **{"for": 0})
    other = asyncio.create_task(
        play(engine, py(code), limits=limits, parameters={"size": 1, "for": 2})
    )
    said = await play(engine, py(code), limits=limits, parameters={"size": 400, "for": 60})
    assert (end(said).state, end(said).reason) == ("crashed", "memory limit (300 MiB) exceeded")
    assert end(await other).state == "succeeded"


async def test_a_load_over_its_memory_crashes(engine: WarmEngine) -> None:
    code = "import time\nx = b'x' * (400 << 20)\ntime.sleep(60)\n" + HANDLER + "    return 1"
    said = await play(engine, py(code), limits=Limits(timeout=30, memory=300 << 20))
    assert (end(said).state, end(said).reason) == ("crashed", "memory limit (300 MiB) exceeded")


# What a call leaves in all the places that it can reach, and what the next one finds there.
HOSTILE = """
import builtins, ctypes, json, os, signal, socket, subprocess, sys, tempfile, random

libc = ctypes.CDLL(None, use_errno=True)
HELD = open(__file__)
STATE = {"seen": 0}

def tries(*steps):
    for step in steps:
        try:
            step()
        except BaseException:
            pass

def write(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write("x")

def stay(**how):
    subprocess.Popen(["sleep", "317"], **how)

def deep():
    here = os.getcwd()
    for _ in range(300):
        os.mkdir("d" * 30)
        os.chdir("d" * 30)
    os.chmod(".", 0)
    os.chdir(here)

def bind():
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind("\\0djsci-test-warm")
    bound.listen()
    os.set_inheritable(bound.fileno(), True)
    stay(close_fds=False, start_new_session=True, env={})

def hostile():
    work = os.path.dirname(os.path.abspath(__file__))
    STATE["seen"] += 1
    builtins.seen = 1
    os.environ["SEEN"] = "1"
    HELD.read()
    tries(
        deep,
        bind,
        stay,
        lambda: write("here"),
        lambda: write(os.path.join(work, "beside")),
        lambda: write(tempfile.mktemp()),
        lambda: random.seed(1),
        lambda: os.umask(0),
        lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    )
    if LEVEL != "process":
        tries(
            lambda: libc.shmget(4711, 4096, 0o1666),
            lambda: libc.semget(4711, 1, 0o1666),
            lambda: libc.msgget(4711, 0o1666),
            lambda: libc.mq_open(b"/djsci-test", os.O_CREAT | os.O_RDWR, 0o600, None),
            lambda: write("/tmp/seen/deep/file"),
            lambda: os.chmod("/tmp/seen", 0),
            lambda: write("/dev/shm/seen"),
            lambda: os.kill(os.getppid(), signal.SIGKILL),
            lambda: os.kill(-1, signal.SIGKILL),
            lambda: os.unlink(__file__),
            lambda: os.rename(__file__, "stolen"),
        )

def there(number, *arguments):
    return number(4711, *arguments) >= 0

def listing(path):
    found = []
    for folder, names, files in os.walk(path):
        found += [os.path.join(folder, name) for name in names + files]
    calls = os.path.dirname(os.getcwd())
    return sorted(one for one in found if not one.startswith(calls))

def fingerprint():
    work = os.path.dirname(os.path.abspath(__file__))
    with open("/proc/self/status") as file:
        lines = file.read().splitlines()
    kept = ("SigIgn", "SigCgt", "SigBlk", "Threads", "Uid", "NoNewPrivs", "Seccomp")
    try:
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect("\\0djsci-test-warm")
        has_socket = True
    except OSError:
        has_socket = False
    fds = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            fds[name] = os.readlink(f"/proc/self/fd/{name}").partition(":")[0]
        except OSError:
            pass
    with open("/proc/self/mountinfo") as file:
        mounts = len(file.readlines())
    found = {
        "state": [STATE["seen"], hasattr(builtins, "seen"), sorted(sys.modules)],
        "environ": sorted(os.environ.items()),
        "files": [sorted(os.listdir()), len(os.listdir(".."))],
        "work": listing(work),
        "place": HELD.tell(),
        "fds": fds,
        "paths": sys.path,
        "status": [line for line in lines if line.split(":")[0] in kept],
        "umask": os.umask(0o22),
        "ipc": [there(libc.shmget, 4096, 0), there(libc.semget, 1, 0), there(libc.msgget, 0)],
        "queue": libc.mq_open(b"/djsci-test", os.O_RDWR),
        "socket": has_socket,
        "mounts": mounts,
        "source": [os.stat(__file__)[:9:8], open(__file__).read() == SOURCE],
        "condition": [os.getpriority(0, 0), sorted(os.sched_getaffinity(0))],
    }
    if LEVEL == "bwrap":
        found["memory"] = [listing("/tmp"), listing("/dev/shm")]
        found["processes"] = len([name for name in os.listdir("/proc") if name.isdigit()])
    return found

SOURCE = open(__file__).read()

def djsci_handler(request, how):
    if how == "look":
        return json.loads(json.dumps(fingerprint()).replace(os.getcwd(), "HERE"))
    hostile()
    if how == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    return how
"""


def sleepers() -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if (process.info["cmdline"] or [])[:2] == ["sleep", "317"]
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


async def test_h12_h13_a_call_finds_nothing_of_fifty_hostile_ones_before_it(
    engine: WarmEngine,
) -> None:
    source = py(f"LEVEL = {engine.supply.ground.isolation!r}\n{HOSTILE}")
    before = await call(engine, source, how="look")
    kept = template(engine)
    for number in range(50):
        said = await play(engine, source, parameters={"how": "crash" if number % 5 == 4 else "x"})
        assert end(said).state == ("crashed" if number % 5 == 4 else "succeeded"), end(said)
        assert end(said).abandoned is False
        if number < 2:
            assert await call(engine, source, how="look") == before
    assert await call(engine, source, how="look") == before
    assert template(engine) is kept
    assert sleepers() == []


async def test_what_old_calls_left_goes_while_others_run(engine: WarmEngine) -> None:
    if not engine.supply.ground.has_own_root:
        pytest.skip("at this level /tmp is not the run's own")
    code = (
        "import os, time\n" + HANDLER + "    if given.get('leave'):\n"
        "        open('/tmp/left', 'w').close()\n        return None\n"
        "    print('up', flush=True)\n    time.sleep(given['for'])\n"
        "    return os.path.exists('/tmp/left')"
    )
    source = py(code)
    await call(engine, source, **{"for": 0})
    first = asyncio.create_task(call(engine, source, **{"for": 0.4}))
    await call(engine, source, leave=True)
    second = asyncio.create_task(call(engine, source, **{"for": 0.8}))
    await first
    await call(engine, source, **{"for": 0})
    await second
    assert await call(engine, source, **{"for": 0}) is False


async def test_a_changed_template_serves_no_other_call(engine: WarmEngine) -> None:
    code = (
        "import os\nprint('loaded')\n"
        + HANDLER
        + (
            "    if given['change']:\n"
            "        os.chmod(os.path.dirname(__file__) + '/data.csv', 0o600)\n"
            "    return open('data.csv').read()"
        )
    )
    source = py(code, **{"data.csv": b"a,b"})
    assert await call(engine, source, change=False) == "a,b"
    kept = template(engine)
    assert await call(engine, source, change=True) == "a,b"
    assert not kept.is_alive
    said = await play(engine, source, parameters={"change": False})
    assert (printed(said), result(said)) == ("loaded\n", "a,b")


async def test_calls_draw_different_numbers(level: str) -> None:
    engine = WarmEngine(isolation=level, preload=["numpy"])
    code = "import random, numpy\n" + HANDLER
    code += "    return [random.random(), float(numpy.random.rand())]"
    first, second = [await call(engine, py(code)) for _ in range(2)]
    assert first[0] != second[0]
    assert first[1] != second[1]
    await engine.close()


async def test_what_a_module_keeps_open_works_in_each_call(engine: WarmEngine) -> None:
    code = (
        "import logging, sys\nlogging.basicConfig(stream=sys.stdout)\nOUT = sys.stdout\n"
        "DATA = open('data.csv')\n" + HANDLER + "    logging.warning('warned')\n"
        "    print('kept', file=OUT)\n    return DATA.read()"
    )
    source = py(code, **{"data.csv": b"a,b"})
    for _ in range(2):
        said = await play(engine, source)
        assert (result(said), printed(said)) == ("a,b", "WARNING:root:warned\nkept\n")


async def test_closing_the_engine_leaves_nothing(level: str, tmp_path: Path) -> None:
    def baseline() -> tuple[int, list[int], list[str]]:
        children = psutil.Process().children(recursive=True)
        return (
            len(os.listdir("/proc/self/fd")),
            sorted(child.pid for child in children),
            os.listdir(tmp_path),
        )

    before = baseline()
    tmp_path.chmod(0o711)
    other = WarmEngine(isolation=level, root=str(tmp_path))
    await other.open()
    code = "import time\n" + HANDLER + "    print('up', flush=True)\n    time.sleep(given['for'])"
    for number in range(3):
        await call(other, py(f"{code}\n    return {number}"), **{"for": 0})
    run = other.execute(
        py(code), HandlerRequest(parameters={"for": 60}), limits=LIMITS, stop=Stop()
    )
    async with asyncio.timeout(30), aclosing(run) as stream:
        async for event in stream:
            if isinstance(event, events.Stream):
                break
    await other.close()
    after = baseline()
    assert after[0] <= before[0]
    assert after[1:] == before[1:]


async def test_the_oldest_template_goes_where_there_are_too_many(
    engine: WarmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("djsci.engines.warm.MOST", 2)
    for number in range(4):
        assert await call(engine, py(HANDLER + f"    return {number}")) == number
    assert len(engine.templates) <= 2
    await until(lambda: len(engine._all) <= 2)
