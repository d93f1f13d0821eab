"""Hostile handlers in forked workers, at each level that has a wall."""

import asyncio
import hashlib
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from djsci.core import events, sources
from djsci.core.events import End
from djsci.core.requests import from_parameters
from djsci.engines import tree
from djsci.engines.base import Limits, Stop
from djsci.engines.fork import ForkEngine
from djsci.isolation import canaries, evidence, nest
from tests.isolation.conftest import need

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
LIMITS = Limits(timeout=30, grace=0.5)
HANDLER = "import os, time\ndef djsci_handler(request, **given):\n"


WEAKER = pytest.param("landlock", marks=pytest.mark.faults)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[WEAKER, "bwrap"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[ForkEngine]:
    made = ForkEngine(size=1, isolation=need(request.param))
    await made.open()
    yield made
    await made.close()


async def play(
    engine: ForkEngine,
    code: str,
    *,
    limits: Limits = LIMITS,
    files: dict[str, bytes] | None = None,
    **parameters: Any,
) -> tuple[str, Any, End]:
    """What a file prints, its result and its end."""
    source = sources.read("code.py", {"code.py": code.encode(), **(files or {})})
    run = engine.execute(source, from_parameters(parameters), limits=limits, stop=Stop())
    text, result = "", None
    async with asyncio.timeout(60), aclosing(run) as heard:
        async for event in heard:
            if isinstance(event, events.Stream):
                text += event.text
            if isinstance(event, events.Result) and event.value is not None:
                result = json.loads(event.value.text)
            if isinstance(event, End):
                return text, result, event
    raise AssertionError("a run without an end")


async def test_h16_h17_h18_h20_no_canary_is_red_in_a_run(engine: ForkEngine) -> None:
    level = engine.supply.ground.isolation
    code = Path(canaries.__file__).read_text() + (
        "\n\ndef djsci_handler(request, planted: dict):\n    return main(planted)\n"
    )
    with evidence.planting() as planted:
        given = {name: value for name, value in planted.items() if name != "hits"}
        _, found, end = await play(engine, code, planted={**given, "sockets": None})
        hits = planted["hits"]()
    assert (end.state, hits) == ("succeeded", 0)
    assert "DJSCI_PLANTED_SECRET" not in found["environment"]
    assert found["descriptors"] == [0, 1, 2, 3]  # 3 is the run's socket
    found["descriptors"] = [0, 1, 2]
    found["environment"] = sorted(evidence.GIVEN)
    if level == "bwrap":
        assert found["room"] == nest.SIZES
        assert set(found["inodes"].values()) == {4096}
    found["room"] = evidence.ROOM
    expected = [path for path in planted["exists"] if os.path.exists(path)]
    assert evidence.judge(level, found, expected if level == "bwrap" else []) == []


async def test_h19_two_runs_at_once_share_no_namespace_and_no_user(engine: ForkEngine) -> None:
    names = ("ipc", "mnt", "net", "pid", "user", "uts")
    code = HANDLER + (
        "    print('up', flush=True)\n    time.sleep(0.3)\n"
        f"    return [os.getuid(), *(os.readlink(f'/proc/self/ns/{{n}}') for n in {names!r})]\n"
    )
    (_, one, _), (_, two, _) = await asyncio.gather(play(engine, code), play(engine, code))
    if engine.supply.ground.isolation == "bwrap":
        assert [a == b for a, b in zip(one, two, strict=True)] == [True] + [False] * 6
    elif os.geteuid() == 0:
        assert one[0] != two[0]


async def test_a_runs_secrets_are_not_in_the_memory_of_the_next(engine: ForkEngine) -> None:
    """Neither its source nor its request passes through the server that the next is forked from."""
    halves = [secrets.token_hex(12), secrets.token_hex(12)]
    mark = "".join(halves)
    await play(engine, HANDLER + f"    return '{mark}'\n", text=mark)
    look = (
        "import hashlib\n" + HANDLER + "    found = 0\n"
        "    half, digest = given['half'].encode(), given['digest']\n"
        "    for line in open('/proc/self/maps').readlines():\n"
        "        place, rights = line.split()[:2]\n"
        "        if rights[0] != 'r' or '[v' in line: continue\n"
        "        start, end = (int(part, 16) for part in place.split('-'))\n"
        "        with open('/proc/self/mem', 'rb') as memory:\n"
        "            memory.seek(start)\n"
        "            chunk = memory.read(end - start)\n"
        "        at = chunk.find(half)\n"
        "        while at >= 0:\n"
        "            rest = chunk[at + len(half):at + 2 * len(half)]\n"
        "            found += hashlib.sha256(rest).hexdigest() == digest\n"
        "            at = chunk.find(half, at + 1)\n"
        "    return found\n"
    )
    digest = hashlib.sha256(halves[1].encode()).hexdigest()
    _, found, end = await play(engine, look, half=halves[0], digest=digest)
    assert (found, end.state) == (0, "succeeded")
    own = look.replace("found = 0", f"found, kept = 0, bytes.fromhex('{mark.encode().hex()}')")
    _, found, end = await play(engine, own, half=halves[0], digest=digest)
    assert (found > 0, end.state) == (True, "succeeded")  # the look finds what is there


async def test_h6_processes_are_bounded_and_none_is_left(engine: ForkEngine) -> None:
    async with asyncio.timeout(10):
        while engine.ready < 1:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    before = len(psutil.Process().children(recursive=True))
    body = (
        "    children = 0\n"
        "    try:\n"
        "        for _ in range(80):\n"
        "            if os.fork() == 0:\n"
        "                os.setsid()\n"
        "                time.sleep(30)\n"
        "                os._exit(0)\n"
        "            children += 1\n"
        "    except BlockingIOError:\n"
        "        print(children)\n"
    )
    text, _, end = await play(engine, HANDLER + body)
    assert 1 <= int(text) <= 64
    assert not end.abandoned

    def living() -> int:
        """Processes below the fork server: a ready worker, with its first process."""
        everybody = psutil.Process().children(recursive=True)
        return sum(child.status() != psutil.STATUS_ZOMBIE for child in everybody)

    async with asyncio.timeout(10):
        while living() > before + 2:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_h7_h8_files_are_bounded_and_memory_too(engine: ForkEngine) -> None:
    body = (
        "    with open('big', 'wb') as file:\n"
        "        for _ in range(500):\n"
        "            file.write(b'x' * (1 << 20))\n"
    )
    _, _, end = await play(engine, HANDLER + body)
    assert end.state in ("failed", "crashed")
    _, _, end = await play(
        engine,
        HANDLER + "    block = b'x' * (400 << 20)\n    time.sleep(20)\n",
        limits=Limits(timeout=30, grace=0.5, memory=200 << 20),
    )
    assert (end.state, end.reason) == ("crashed", "memory limit (200 MiB) exceeded")


GREEDY = """
import os, resource, subprocess, sys
def djsci_handler(request):
    most = resource.getrlimit(resource.RLIMIT_CPU)
    held = []
    for work in (
        lambda: resource.setrlimit(resource.RLIMIT_CPU, (most[1] + 60, most[1] + 60)),
        lambda: resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY,) * 2),
        lambda: os.nice(-5),
        lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
        lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    ):
        try:
            work()
        except (OSError, ValueError):
            held.append("refused")
    child = "import resource; print(resource.getrlimit(resource.RLIMIT_CPU)[1])"
    below = subprocess.run([sys.executable, "-I", "-c", child], capture_output=True, text=True)
    return [*most, int(below.stdout), *held]
"""


async def test_h22_a_run_and_its_children_cannot_raise_their_processor_time(
    engine: ForkEngine,
) -> None:
    _, found, end = await play(engine, GREEDY)
    assert end.state == "succeeded", end
    assert found == [found[0]] * 3 + ["refused"] * 5
    whole = (LIMITS.timeout + LIMITS.grace + 5) * (os.cpu_count() or 1)  # on every processor
    assert found[0] == int(whole) + 1


async def test_h22_processor_time_is_at_an_end_without_the_deadline(engine: ForkEngine) -> None:
    """A run may lower its limit: the kernel ends it as it would at the given one."""
    body = (
        "    import resource\n"
        "    resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\n"
        "    while True: pass\n"
    )
    _, result, end = await play(engine, HANDLER + body)
    assert (result, end.state) == (None, "crashed")
    assert end.reason.startswith("signal "), end


FINGERPRINT = """
import builtins, json, locale, os, random, resource, signal, sys, tempfile, threading
def djsci_handler(request):
    return {
        "modules": sorted(sys.modules), "path": [p for p in sys.path if "djsci" not in p],
        "environment": sorted(os.environ), "builtins": sorted(vars(builtins)),
        "signals": [str(signal.getsignal(n)) for n in (2, 13, 15)], "umask": os.umask(0o022),
        "limits": [resource.getrlimit(n) for n in range(16)
                   if n not in (resource.RLIMIT_CPU, resource.RLIMIT_NPROC)],  # each run's own
        "locale": locale.setlocale(locale.LC_ALL), "threads": threading.active_count(),
        "files": sorted(os.listdir(".")), "json": json.dumps.__module__,
        "descriptors": len(os.listdir("/proc/self/fd")), "hooks": len(sys.meta_path),
        "nice": os.nice(0), "temporary": len(os.listdir(tempfile.gettempdir())),
        "switch": sys.getswitchinterval(), "recursion": sys.getrecursionlimit(),
    }
"""
HOSTILE = (
    "import json\njson.dumps = None\ndef djsci_handler(request): return 1",
    "import builtins\nbuiltins.print = len\nbuiltins.open = None\ndef djsci_handler(request): 1",
    "import os\nos.environ.clear()\nos.chdir('/')\nos.umask(0)\ndef djsci_handler(request): 1",
    "import sys\nsys.modules.clear()\ndef djsci_handler(request): return 1",
    "import sys\nsys.meta_path.clear()\nsys.path.clear()\ndef djsci_handler(request): return 1",
    "import os\nfor n in range(20):\n    try: os.close(n)\n    except OSError: pass\n"
    "def djsci_handler(request): return 1",
    "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))\n"
    "def djsci_handler(request): return 1",
    "import os\nopen('left', 'w').close()\nos.nice(5)\ndef djsci_handler(request): return 1",
    "import signal\nsignal.signal(2, signal.SIG_IGN)\ndef djsci_handler(request): return 1",
    "import os\ndef djsci_handler(request): os._exit(3)",
)


async def test_h12_h13_the_fifty_first_run_finds_what_the_first_one_found(
    engine: ForkEngine,
) -> None:
    _, before, end = await play(engine, FINGERPRINT)
    assert end.state == "succeeded"
    for _ in range(5):
        ends = await asyncio.gather(*(play(engine, code) for code in HOSTILE))
        assert all(end.state in ("succeeded", "failed", "crashed") for _, _, end in ends)
    _, after, _ = await play(engine, FINGERPRINT)
    assert after == before


async def test_h13_companions_named_like_libraries_harm_nothing(engine: ForkEngine) -> None:
    names = ("json.py", "sitecustomize.py", "djsci.py", "numpy.py")
    files = dict.fromkeys(names, b"raise SystemExit('shadowed')")
    code = "import json, djsci\ndef djsci_handler(request): return json.dumps(djsci.params())\n"
    _, result, end = await play(engine, code, files=files)
    assert (result, end.state) == ("{}", "succeeded")


SERVER = """
import asyncio, sys
from djsci.core import sources
from djsci.engines.base import Limits, Stop
from djsci.engines.fork import ForkEngine
from djsci.guest.requests import HandlerRequest

async def main():
    source = sources.read("code.py", {"code.py": sys.argv[1].encode()})
    engine = ForkEngine(size=1, root=sys.argv[2], isolation=sys.argv[3])
    await engine.open()
    run = engine.execute(source, HandlerRequest(), limits=Limits(), stop=Stop())
    async for event in run:
        print(getattr(event, "text", ""), end="", flush=True)
        if event.type == "end":
            print(event.state, event.reason, event.abandoned, flush=True)
    await engine.close()

asyncio.run(main())
"""
FAMILY = """
import os, subprocess, time
def djsci_handler(request):
    subprocess.Popen(["sleep", "297"], start_new_session=True, env={})
    print("up", flush=True)
    time.sleep(2)
"""


@pytest.mark.parametrize("place", [None, 0, 1, 2, 3, 4, 5, 6])
async def test_whoever_is_killed_nothing_is_left(engine: ForkEngine, place: int | None) -> None:
    """The server itself (None), and each process below it from the top down."""
    level = engine.supply.ground.isolation
    with tempfile.TemporaryDirectory() as folder:
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SERVER, FAMILY, folder, level), stdout=asyncio.subprocess.PIPE
        )
        assert server.stdout is not None
        async with asyncio.timeout(60):
            assert await server.stdout.readline() == b"up\n"
        below = psutil.Process(server.pid).children(recursive=True)
        assert len(below) >= 3
        if place is None:
            server.kill()
        elif place < len(below):
            below[place].kill()
        async with asyncio.timeout(20):
            said = (await server.stdout.read()).decode()
            await server.wait()
            while {child.pid for child in below} & tree.snapshot().keys():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        if place is not None:
            assert said.startswith(("crashed ", "succeeded "))
            assert said.split()[-1] == "False"
