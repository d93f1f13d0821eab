"""What every engine must do; a new engine joins the params of `engine` and is done."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from djsci.core import events, sources
from djsci.core.artifacts import ArtifactContent
from djsci.core.requests import from_parameters
from djsci.core.sources import Source
from djsci.engines.base import Engine, Limits, Stop
from djsci.engines.fork import ForkEngine, SpawnEngine
from djsci.engines.kernel import KernelEngine
from djsci.engines.thread import ThreadEngine
from djsci.engines.warm import WarmEngine
from djsci.guest.files import reference
from djsci.guest.requests import FileValues, UploadedFile
from djsci.isolation import container
from djsci.runs import executor
from tests.cases.handlers import CASES, Case, Said
from tests.isolation.conftest import need

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIMITS = Limits(timeout=30, grace=0.5, result=1 << 20)
WAIT = 60.0


# On each commit every engine at `process`, and at the strongest level; all levels: `make faults`.
def on_faults(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.faults)


STRONGEST = ("fork-bwrap", "warm-bwrap", "kernel-bwrap")
WEAKER = ("fork-landlock", "warm-landlock", "spawn-landlock", "spawn-bwrap", "kernel-landlock")
FORKED = ("thread", "fork", "warm")
CONTAINED = ("spawn-container",)
STARTED = ("spawn", "kernel")  # an interpreter for each run: slow
EVERY = [*FORKED, *STARTED, *STRONGEST, *map(on_faults, (*WEAKER, *CONTAINED))]


@pytest.fixture(params=EVERY, scope="module")
def engine_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(engine_kind: str) -> AsyncIterator[Engine]:
    name, _, level = engine_kind.partition("-")
    isolation = need(level) if level else "process"
    makers: dict[str, Callable[[], Engine]] = {
        "thread": lambda: ThreadEngine(8),
        "fork": lambda: ForkEngine(size=0, isolation=isolation),
        "warm": lambda: WarmEngine(isolation=isolation),
        "spawn": lambda: SpawnEngine(isolation=isolation, container=container.current()),
        "kernel": lambda: KernelEngine(size=0, isolation=isolation),
    }
    executor.stop()
    made = makers[name]()
    await made.open()
    yield made
    await made.close()


def make_source(code: str | list[str], files: dict[str, bytes] | None = None) -> Source:
    if isinstance(code, str):
        return sources.read("report.py", {"report.py": code.encode(), **(files or {})})
    cells = [
        {
            "cell_type": "code",
            "id": str(place),
            "source": text,
            "metadata": {"tags": ["parameters"]} if text.startswith("# parameters\n") else {},
            "outputs": [],
        }
        for place, text in enumerate(code)
    ]
    body = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    return sources.read("report.ipynb", {"report.ipynb": json.dumps(body).encode()})


async def play(
    engine: Engine,
    code: str | list[str],
    *,
    files: dict[str, bytes] | None = None,
    parameters: dict[str, Any] | None = None,
    limits: Limits = LIMITS,
    stop: Stop | None = None,
) -> list[events.Event]:
    request = from_parameters(parameters or {})
    running = engine.execute(make_source(code, files), request, limits=limits, stop=stop or Stop())
    async with asyncio.timeout(WAIT), aclosing(running) as heard:
        return [event async for event in heard]


def said(heard: list[events.Event]) -> list[Said]:
    """The events as short tuples; text of one stream that follows itself is one."""
    short: list[Said] = []
    for event in heard:
        item = _said(event)
        if short and item[0] in ("stdout", "stderr") and short[-1][0] == item[0]:
            item = (item[0], short.pop()[1] + item[1])
        short.append(item)
    return short


def _said(event: events.Event) -> Said:
    match event:
        case events.Stream(name=name, text=text):
            return (name, text)
        case events.Cell(index=index, state=state):
            return ("cell", index, state)
        case events.Chunk(value=value):
            return ("chunk", value.text if value else None)
        case events.ExecuteResult(data=data):
            return ("execute_result", data["text/plain"])
        case events.Progress(value=far, n=n, total=total, label=label):
            return ("progress", far, n, total, label)
        case events.Log(level=level, message=message, fields=fields):
            return ("log", level, message, fields)
        case ArtifactContent(name=name, content_type=kind, content=content):
            return ("artifact", name, kind, content)
        case events.Error(ename=ename, evalue=evalue, line=line):
            return ("error", ename, evalue, line)
        case events.Result(value=value, http=http):
            return ("result", value.text if value else None, http)
        case events.End(state=state, reason=reason):
            return ("end", state, reason)
        case events.Status(state=state):
            return ("status", state)
    raise AssertionError(f"an event nobody knows: {event}")


def text_of(heard: list[events.Event], name: str = "stdout") -> str:
    return "".join(
        event.text for event in heard if isinstance(event, events.Stream) and event.name == name
    )


# What spawned workers play is what forked ones do, and a kernel is behind its wall what it is bare.
on_each = pytest.mark.parametrize(
    "engine_kind",
    [*FORKED, *STRONGEST, *map(on_faults, (*STARTED, *WEAKER, *CONTAINED))],
    indirect=True,
    scope="module",
)


@on_each
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_every_engine_says_the_same(engine: Engine, case: Case) -> None:
    heard = await play(engine, case.code, files=case.files, parameters=case.parameters)
    assert said(heard) == [("status", "running"), *case.expected]


async def test_an_error_shows_the_users_frames_only(engine: Engine) -> None:
    code = "import json\ndef djsci_handler(request):\n    return json.loads('{')\n"
    heard = await play(engine, code)
    error = next(event for event in heard if isinstance(event, events.Error))
    text = "\n".join(error.traceback)
    assert all(part in text for part in ("in djsci_handler", "json.loads('{')"))
    assert not any(part in text for part in ("call.py", "playing.py"))


LEAVES = """
import os, pathlib
def djsci_handler(request, here: str):
    here = pathlib.Path(here or pathlib.Path(__file__).parent)
    (here / "table.csv").write_text("a,b\\n")
    (here / "plots").mkdir()
    (here / "plots" / "é.png").write_bytes(b"x" * 250_000)
    (here / "empty.txt").touch()
    for cache in ("__pycache__", ".config", "plots/.hidden"):
        (here / cache).mkdir()
        (here / cache / "module.pyc").write_bytes(b"no artifact")
    (here / "link.txt").symlink_to("/etc/passwd")
    os.mkfifo(here / "pipe")
    (here / "a\\nb").touch()
    (here / "gpj.\u202efdp").touch()
    (here / os.fsdecode(b"\\xff")).touch()
    with open(here / "sparse.bin", "wb") as file:
        file.truncate(1 << 25)
    print("done")
    if request.parameters.get("here") == ".":
        raise ValueError("fails after all")
"""


@on_each
async def test_what_a_run_leaves_in_its_folder_becomes_artifacts(engine: Engine) -> None:
    limits = Limits(timeout=30, grace=0.5, artifacts=1 << 20)
    here = "" if engine.name == "thread" else "."  # a thread's working directory is the server's
    heard = await play(
        engine, LEAVES, files={"data.csv": b"1"}, parameters={"here": here}, limits=limits
    )
    short = said(heard)
    assert [item for item in short if item[0] == "artifact"] == [
        ("artifact", "empty.txt", "text/plain", b""),
        ("artifact", "table.csv", "text/csv", b"a,b\n"),
        ("artifact", "plots/é.png", "image/png", b"x" * 250_000),
    ]
    [(_, level, message, fields)] = [item for item in short if item[0] == "log"]
    assert (level, fields) == ("warning", {"left_out": 6})
    assert "'link.txt' (it is a symbolic link, not a file)" in message
    assert "'pipe' (it is a FIFO, not a file)" in message
    assert all(name in message for name in (r"'a\nb' (", r"'gpj.\u202efdp' (", r"'\udcff' ("))
    assert "'sparse.bin' (33554432 bytes are over the limit of 1048576 bytes" in message
    kinds = [item[0] for item in short[short.index(("stdout", "done\n")) + 1 :]]
    sent = ["artifact"] * 3 + ["log"]
    assert kinds == (["error", *sent, "end"] if here else [*sent, "result", "end"])
    assert short[-1][1] == ("failed" if here else "succeeded")


HANDS_OVER = """
import djsci, os
def djsci_handler(request):
    djsci.artifact(b"one", "model.bin")
    print("between")
    djsci.artifact(bytearray(b"two"), "model.bin")
    djsci.artifact(memoryview(b""), "none.parquet")
    djsci.artifact(__file__, "copies/code.txt")
    said = []
    bad = [(b"x",), (b"x", "../up"), (b"x", "/etc/x"), (b"x", "a\\n"), (b"x", ".x"), (b"x", 3),
           (os.path.dirname(__file__),), ("/dev/zero", "zeros"), ("nowhere.txt",), (7, "seven")]
    for arguments in bad:
        try:
            djsci.artifact(*arguments)
        except (OSError, TypeError, ValueError) as error:
            said.append(type(error).__name__)
    djsci.artifact(bytes(2000), "large.bin")
    djsci.artifact(b"", "MODEL.bin")
    return said
"""


@on_each
async def test_a_handler_hands_over_artifacts_at_once(engine: Engine) -> None:
    limits = Limits(timeout=30, grace=0.5, artifacts=2000)
    short = said(await play(engine, HANDS_OVER, limits=limits))
    assert short[1:6] == [
        ("artifact", "model.bin", "application/octet-stream", b"one"),
        ("stdout", "between\n"),
        ("artifact", "model.bin", "application/octet-stream", b"two"),
        ("artifact", "none.parquet", "application/vnd.apache.parquet", b""),
        ("artifact", "copies/code.txt", "text/plain", HANDS_OVER.encode()),
    ]
    logs = [item[2] for item in short[6:-2]]
    assert len(logs) == 2
    assert "'large.bin' (2000 bytes are over the limit" in logs[0]
    assert "'MODEL.bin' (only upper and lower case tell it from 'model.bin')" in logs[1]
    refused = ["ValueError"] * 5 + ["TypeError", *["ValueError"] * 2, "FileNotFoundError"]
    assert json.loads(short[-2][1]) == [*refused, "TypeError"]


ATTACHED = """
from pathlib import Path
import djsci
def djsci_handler(request, data: djsci.File, more: list[djsci.File], no: djsci.File | None = None):
    print(data.path.parent.parent in (Path.cwd(), Path(__file__).parent), Path(data).read_text())
    with more[0].open("r") as text:
        return [data.name, data.size, data.content_type, data.path.name, text.read(), no]
"""


async def test_a_file_has_a_path_in_the_runs_folder(engine: Engine) -> None:
    sent = [
        UploadedFile(name="../a.csv", content_type="text/csv", content=b"a,b"),
        UploadedFile(name="b.txt", content=b"more"),
    ]
    parameters = {"data": reference(sent[0]), "more": [reference(sent[1])]}
    request = replace(from_parameters(parameters), FILES=FileValues({"data": sent}))
    running = engine.execute(make_source(ATTACHED), request, limits=LIMITS, stop=Stop())
    async with asyncio.timeout(WAIT), aclosing(running) as events_:
        heard = said([event async for event in events_])
    assert heard[-3:] == [
        ("stdout", "True a,b\n"),
        ("result", '["../a.csv",3,"text/csv","a.csv","more",null]', None),
        ("end", "succeeded", ""),
    ]


CELLS = [
    "import djsci",
    "# parameters\ndata: djsci.File\ndays = 3  # type: int  How many.",
    "[data.name, data.path.read_text(), days]",
]


async def test_a_parameters_cell_takes_a_file(engine: Engine) -> None:
    sent = UploadedFile(name="a.csv", content=b"a,b")
    request = from_parameters({"data": reference(sent), "days": 5})
    request = replace(request, FILES=FileValues({"data": [sent]}))
    running = engine.execute(make_source(CELLS), request, limits=LIMITS, stop=Stop())
    async with asyncio.timeout(WAIT), aclosing(running) as events_:
        heard = said([event async for event in events_])
    assert heard[-2:] == [("result", '["a.csv","a,b",5]', None), ("end", "succeeded", "")]


CROWD = """
import threading
from concurrent.futures import ThreadPoolExecutor
def djsci_handler(request, me: str):
    print(me, "main")
    thread = threading.Thread(target=lambda: print(me, "thread"))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(print, me, "pool").result()
    print(me, "end")
    return me
"""


@pytest.mark.parametrize("share", [2, pytest.param(1, marks=pytest.mark.faults)])
async def test_many_runs_at_once_do_not_cross(engine: Engine, share: int) -> None:
    most = 50 if engine.name == "thread" else 12
    names = [f"run-{number}" for number in range(most // share)]
    all_heard = await asyncio.gather(
        *(play(engine, CROWD, parameters={"me": name}) for name in names)
    )
    for name, heard in zip(names, all_heard, strict=True):
        expected = "".join(f"{name} {what}\n" for what in ("main", "thread", "pool", "end"))
        assert said(heard)[-2:] == [("result", f'"{name}"', None), ("end", "succeeded", "")]
        assert text_of(heard) == expected


async def test_chunks_arrive_while_the_handler_runs(engine: Engine) -> None:
    code = (
        "import time, djsci\n"
        "def djsci_handler(request):\n"
        "    yield 'first'\n"
        "    while not djsci.cancelled():\n"
        "        time.sleep(0.01)\n"
        "    yield 'second'\n"
    )
    stop = Stop()
    running = engine.execute(make_source(code), from_parameters({}), limits=LIMITS, stop=stop)
    chunks = []
    async with asyncio.timeout(LIMITS.timeout / 2), aclosing(running) as heard:
        async for event in heard:
            if isinstance(event, events.Chunk):
                chunks.append(event)
                stop.ask("cancelled")
    assert chunks[0].value == events.Json(text='"first"')


@pytest.mark.parametrize("count", [50_000, pytest.param(200_000, marks=pytest.mark.faults)])
async def test_h9_a_flood_arrives_whole_at_a_reader_of_its_own_pace(
    engine: Engine, count: int
) -> None:
    code = f"def djsci_handler(request):\n    for n in range({count}):\n        print(n)\n"
    heard = await play(engine, code)
    assert text_of(heard) == "".join(f"{number}\n" for number in range(count))


async def test_h4_a_handler_over_its_time_is_timed_out(engine: Engine) -> None:
    code = "import time\ndef djsci_handler(request):\n    print('in')\n    time.sleep(4)\n"
    heard = await play(engine, code, limits=Limits(timeout=1, grace=0.2))
    end = heard[-1]
    assert isinstance(end, events.End)
    assert end.state == "timed_out"
    assert end.abandoned is not engine.can_kill
    assert text_of(heard) == "in\n"


async def test_cancel_ends_a_run_and_the_next_one_works(engine: Engine) -> None:
    code = (
        "import time, djsci\n"
        "def djsci_handler(request):\n"
        "    print('in', flush=True)\n"
        "    while not djsci.cancelled():\n"
        "        time.sleep(0.01)\n"
        "    return 'dropped'\n"
    )
    stop = Stop()
    running = engine.execute(make_source(code), from_parameters({}), limits=LIMITS, stop=stop)
    heard = []
    async with asyncio.timeout(WAIT), aclosing(running) as listening:
        async for event in listening:
            heard.append(event)
            if isinstance(event, events.Stream):
                stop.ask("cancelled")
    assert not any(isinstance(event, events.Result) for event in heard)
    assert said(heard)[-1] == ("end", "cancelled", "")
    again = await play(engine, "def djsci_handler(request): return 1\n")
    assert said(again)[-1] == ("end", "succeeded", "")


async def test_a_run_that_is_stopped_before_it_starts_runs_nothing(engine: Engine) -> None:
    stop = Stop()
    stop.ask("cancelled")
    heard = await play(engine, "print('never')\ndef djsci_handler(request): ...\n", stop=stop)
    assert text_of(heard) == ""
    assert said(heard)[-1] == ("end", "cancelled", "")
