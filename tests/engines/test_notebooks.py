"""Notebooks as people write them say the same in `fork` as in a Jupyter kernel.

`DIFFERENCES` lists where they do not; `docs/engines.md` tells it to users.
"""

import asyncio
import json
import re
import warnings
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
import pytest_asyncio

from djsci.core import sources
from djsci.core.events import Event
from djsci.core.sources import Source
from djsci.engines.base import Engine, Limits, Stop
from djsci.engines.fork import ForkEngine
from djsci.engines.kernel import KernelEngine
from djsci.guest.requests import HandlerRequest

pytestmark = pytest.mark.timeout(120)
FOLDER = Path(__file__).parent.parent / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
COMPANIONS = {
    path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in (".csv", ".py")
}
WIDGETS = frozenset({"interactive_figure", "widgets"})  # left to the kernel, by their imports
LIMITS = Limits(timeout=60, grace=1)
PRELOAD = ["numpy", "pandas", "matplotlib.pyplot"]
PARAMETERS: dict[str, dict[str, Any]] = {
    "async_generator_handler": {"count": 3},
    "grouping_and_styling": {"region": "south"},
    "multiprocessing_pool": {"most": 4},
    "parameters_cell": {"least": 8},
    "pydantic_models": {"count": 3},
    "scipy_optimisation": {"start": 2, "steps": 2},
    "sklearn_model": {"measures": [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]},
    "top_level_await": {"names": ["ada", "bob"]},
    "typed_handler": {"when": "2026-02-28", "price": "9.50", "size": "large", "notes": ["x"]},
}
NEEDS = {"pydantic_models": "pydantic", "rich_console": "rich"}
NEEDS |= {"sklearn_model": "sklearn", "scipy_optimisation": "scipy", "scipy_statistics": "scipy"}

FAILS = {
    "an_error_in_the_middle": "KeyError: 'GBP'",
    "background_tasks": "TimeoutError",
    "broken_representation": "ValueError: cannot be drawn",
    "cell_magics": "CalledProcessError: Command 'b'echo leaving\\nexit 3\\n'' returned non-zero"
    " exit status 3.",
    "debugger": "StdinNotImplementedError: input() has nothing to read: a run has no keyboard",
    "figure_of_a_failing_handler": "ValueError: after the figure",
    "interrupted": "KeyboardInterrupt",
    "kernel_only": "AttributeError: There is no kernel.session: no Jupyter kernel runs this; the"
    " engine `kernel` has one.",
    "leaving": "exited 2",
    "logging_and_warnings": "UserWarning: now an error",
    "no_keyboard": "StdinNotImplementedError: input() has nothing to read: a run has no keyboard",
    "processes_and_descriptors": "CalledProcessError: Command '['false']' returned non-zero exit"
    " status 1.",
    "refused_result": "result_not_json",
    "syntax_errors": "SyntaxError: invalid syntax (<ipython-input-7-1197c20a9c92>, line 1)",
    "tags": "exited 0",
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What the two engines say differently: in which cells (0: after them), and why."""

    cells: set[int]
    why: str
    only: str = ""  # the one field that differs


LINE = Difference(
    cells={3},
    why="A kernel tells of an error by its traceback; where that shows no line, only fork has it.",
    only="line",
)
DIFFERENCES = {
    "binary_stdout": Difference(
        cells={0, 1}, why="ipykernel's sys.stdout takes text only; fork's has a `buffer`."
    ),
    "debugger": Difference(
        cells={1}, why="ipykernel puts IPython's debugger in pdb's place; neither has a keyboard."
    ),
    "errors_without_a_place": Difference(cells={2, 3, 4, 5, 7}, why=LINE.why, only="line"),
    "kernel_only": Difference(
        cells={0, 2}, why="There is no kernel in fork; the error names the engine that has one."
    ),
    "leaving": LINE,
    "loop_of_its_own": Difference(
        cells={0, 2}, why="A cell without `await` runs outside the loop: asyncio.run works in fork."
    ),
    "tags": Difference(cells={4}, why=LINE.why, only="line"),
}
Told = list[dict[str, Any]]

# What differs from run to run in one engine too, and the path of a run's own folder.
_VARIES = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"\b0x[0-9a-f]{6,}"), "0x…"),
    (re.compile(r"/\S*?/djsci-\w+/guest\.zip"), "<guest>"),
    (re.compile(r"/\S*?/djsci-\w+/\w+(/work)?(?=[/\s'\":]|$)|(?<=File )~(?=/)"), "<folder>"),
    (re.compile(r"(?<=CPU times: ).*|(?<=Wall time: ).*|(?<=elapsed: ).*"), "…"),
    (re.compile(r"(?<=skipping similar frames: )(.*)\(\d+ times\)"), r"\1(… times)"),
    (re.compile(r"<dc:date>[^<]*</dc:date>"), "<dc:date/>"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fork() -> AsyncIterator[Engine]:
    engine = ForkEngine(size=1, preload=PRELOAD)
    await engine.open()
    yield engine
    await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel() -> AsyncIterator[Engine]:
    engine = KernelEngine(size=2)
    await engine.open()
    yield engine
    await engine.close()


def read(name: str) -> Source:
    entry = f"{name}.ipynb"
    return sources.read(entry, {entry: (FOLDER / entry).read_bytes(), **COMPANIONS})


async def play(engine: Engine, name: str) -> Told:
    request = HandlerRequest(parameters=PARAMETERS.get(name, {}))
    running = engine.execute(read(name), request, limits=LIMITS, stop=Stop())
    async with asyncio.timeout(90), aclosing(running) as heard:
        return told([event async for event in heard])


def told(heard: list[Event]) -> Told:
    """The events as the reader gets them; text of one stream that follows itself is one."""
    short: Told = []
    for event in heard:
        item = json.loads(event.to_json())
        item.pop("elapsed", None)
        if item.get("name") == "profile.txt":
            item |= {"size": 0, "sha256": "times are in it"}
        last = short[-1] if short else {}
        if item["type"] == "stream" and {**item, "text": last.get("text")} == last:
            last["text"] += item["text"]
        else:
            short.append(item)
    return _settled(short)


def _settled(value: Any) -> Any:
    match value:
        case str():
            for pattern, instead in _VARIES:
                value = pattern.sub(instead, value)
            return value
        case dict():
            return {key: _settled(item) for key, item in value.items()}
        case tuple() | list():
            return type(value)(map(_settled, value))
    return value


def by_cell(heard: Told) -> dict[int, Told]:
    """What was said in each cell; in 0 what is outside all of them."""
    found: dict[int, Told] = {}
    now = 0
    for item in heard:
        is_mark = item["type"] == "cell"
        now = item["index"] if is_mark else now
        found.setdefault(now, []).append(item)
        now = 0 if is_mark and item["state"] != "start" else now
    return found


def without(heard: Told, field: str) -> Told:
    return [{key: value for key, value in item.items() if key != field} for item in heard]


def end(name: str) -> dict[str, Any]:
    state, reason = ("failed", FAILS[name]) if name in FAILS else ("succeeded", "")
    return {"type": "end", "state": state, "reason": reason, "abandoned": False}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", sorted(set(NAMES) - WIDGETS))
async def test_a_notebook_says_the_same_in_fork_and_in_a_kernel(
    fork: Engine, kernel: Engine, name: str
) -> None:
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    of_fork, of_kernel = await asyncio.gather(play(fork, name), play(kernel, name))
    assert of_fork[-1] == end(name)
    known = DIFFERENCES.get(name)
    if known is None:
        assert of_fork == of_kernel
        return
    cells = by_cell(of_fork), by_cell(of_kernel)
    differing = {
        index for index in {*cells[0], *cells[1]} if cells[0].get(index) != cells[1].get(index)
    }
    assert differing == known.cells
    if known.only:
        assert without(of_fork, known.only) == without(of_kernel, known.only)


def test_widgets_are_left_to_the_kernel() -> None:
    assert {name for name in NAMES if read(name).needs_kernel} == WIDGETS


def test_the_notebooks_are_plain() -> None:
    for name in NAMES:
        text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
        document = json.loads(text)
        with warnings.catch_warnings(action="error"):
            nbformat.validate(document)
        assert (document["nbformat"], document["nbformat_minor"]) == (4, 5), name
        assert not any(cell.get("outputs") for cell in document["cells"]), name
        assert not re.search(r"/(home|root|Users)/", text), name


def test_users_are_told_of_every_difference() -> None:
    text = (FOLDER.parent.parent / "docs" / "engines.md").read_text(encoding="utf-8")
    assert [name for name in DIFFERENCES if f"`{name}`" not in text] == []
    assert set(DIFFERENCES) | set(FAILS) <= set(NAMES)
