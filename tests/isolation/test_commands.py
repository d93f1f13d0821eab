"""`!command` in a notebook, behind each wall; what terminals there are to see."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from djsci.core import events, sources
from djsci.core.events import End
from djsci.core.requests import from_parameters
from djsci.engines.base import Limits, Stop
from djsci.engines.fork import ForkEngine
from djsci.engines.kernel import KernelEngine

LIMITS = Limits(timeout=30, grace=0.5)
CELLS = [
    "!echo one; echo two >&2",
    "%ls *.csv",
    "word = 'braces'\n!echo {word} $word",
    "!exit 3",
    "kept = !echo kept",
    "def djsci_handler(request):\n    return [_exit_code, list(kept)]",
]
TERMINALS = """
import os, time

def djsci_handler(request):
    try:
        mine = os.openpty()
    except OSError:
        return None
    time.sleep(1)  # the other run has one too by then
    return sorted(os.listdir("/dev/pts"))
"""


@pytest.fixture(params=[ForkEngine, KernelEngine])
async def engine(
    request: pytest.FixtureRequest, level: str
) -> AsyncIterator[ForkEngine | KernelEngine]:
    made = request.param(size=0, isolation=level)
    await made.open()
    yield made
    await made.close()


async def play(engine: ForkEngine | KernelEngine, name: str, code: str) -> tuple[str, object, End]:
    source = sources.read(name, {name: code.encode(), "sales.csv": b"a\n1\n"})
    run = engine.execute(source, from_parameters({}), limits=LIMITS, stop=Stop())
    text, result = "", None
    async with asyncio.timeout(60), aclosing(run) as heard:
        async for event in heard:
            if isinstance(event, events.Stream):
                text += event.text
            if isinstance(event, events.Error):
                text += f"{event.ename}: {event.evalue}"
            if isinstance(event, events.Result) and event.value is not None:
                result = json.loads(event.value.text)
            if isinstance(event, End):
                return text, result, event
    raise AssertionError("a run without an end")


async def test_a_notebook_runs_commands_and_reads_what_they_print(
    engine: ForkEngine | KernelEngine,
) -> None:
    cells = [
        {
            "cell_type": "code",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": code,
        }
        for code in CELLS
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    text, result, end = await play(engine, "commands.ipynb", json.dumps(notebook))
    assert end.state == "succeeded", text
    words = text.split()
    assert sorted(words[:2]) == ["one", "two"]  # of two streams
    assert words[2:] == ["sales.csv", "braces", "braces"]
    assert result == [3, ["kept"]]


async def test_the_only_terminals_in_sight_are_a_runs_own(
    engine: ForkEngine | KernelEngine, level: str
) -> None:
    for _, result, end in await asyncio.gather(
        play(engine, "code.py", TERMINALS), play(engine, "code.py", TERMINALS)
    ):
        assert end.state == "succeeded"
        assert result == (["0", "ptmx"] if level == "bwrap" else None)
