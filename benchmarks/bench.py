"""One notebook and one Python file, run by each way there is: medians of interleaved rounds.

Interleaved, because a machine that slows down for a moment then slows all of them. No figure here
is compared with one from another machine. Writes `results.json` and `results.md` beside this file.
"""

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from djsci.core import sources
from djsci.core.events import End
from djsci.engines.base import Engine, Limits, Stop
from djsci.engines.kernel import KernelEngine
from djsci.engines.thread import ThreadEngine
from djsci.guest.requests import HandlerRequest

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
CALL = "djsci_handler(None)"
READY_SECONDS = 60.0
PRELOAD = ("numpy", "pandas", "matplotlib.pyplot")  # the setting POOL's default

Way = Callable[[], Awaitable[None]]


def example(entry: str, *companions: str) -> sources.Source:
    """An example as djsci reads it."""
    files = {name: (EXAMPLES / name).read_bytes() for name in (entry, *companions)}
    return sources.read(entry, files)


async def nbclient_cold(entry: str) -> None:
    """What papermill does: start a kernel, execute the cells in order, stop it."""
    notebook = nbformat.read(EXAMPLES / entry, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(CALL))
    client = NotebookClient(notebook, resources={"metadata": {"path": str(EXAMPLES)}})
    await client.async_execute()


async def engine_run(engine: Engine, source: sources.Source) -> None:
    """One run of djsci's engine, to its `end`."""
    events = engine.execute(source, HandlerRequest(), limits=Limits(), stop=Stop())
    async with aclosing(events):
        async for event in events:
            if isinstance(event, End) and event.state != "succeeded":
                raise RuntimeError(f"the run ended {event.state}: {event.reason}")


async def pool_is_full(engine: KernelEngine, size: int) -> None:
    """Wait until the kernels that are kept ready are ready."""
    until = time.monotonic() + READY_SECONDS
    while engine.pool.ready < size:
        if time.monotonic() > until:
            raise TimeoutError(f"{engine.pool.ready} of {size} kernels in {READY_SECONDS} s")
        await asyncio.sleep(0.05)


async def measure(rounds: int, size: int) -> dict[str, list[float]]:
    """Seconds of each way, one figure a round."""
    kernel, thread = KernelEngine(size=size, preload=PRELOAD), ThreadEngine(4)
    small, large = "heyo_multiverse.ipynb", "sales_report.ipynb"
    ways: dict[str, Way] = {
        "small notebook, nbclient, cold": lambda: nbclient_cold(small),
        "small notebook, djsci kernel": lambda: engine_run(kernel, example(small)),
        "pandas and a plot, nbclient, cold": lambda: nbclient_cold(large),
        "pandas and a plot, djsci kernel": lambda: engine_run(kernel, example(large, "sales.csv")),
        "Python file, djsci kernel": lambda: engine_run(kernel, example("heyo_multiverse.py")),
        "Python file, djsci thread": lambda: engine_run(thread, example("heyo_multiverse.py")),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    await kernel.open()
    await thread.open()
    try:
        for round_number in range(rounds + 1):
            for name, way in ways.items():
                await pool_is_full(kernel, size)
                begun = time.perf_counter()
                await way()
                if round_number:  # the first round warms the disk's cache
                    seconds[name].append(time.perf_counter() - begun)
    finally:
        await kernel.close()
        await thread.close()
    return seconds


def report(seconds: dict[str, list[float]], size: int) -> dict[str, Any]:
    """The medians with their spread, and what they were measured on."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "versions": {
            name: importlib.metadata.version(name) for name in ("djsci", "nbclient", "ipykernel")
        },
        "kernels kept ready": size,
        "milliseconds": {
            name: {
                "median": round(1000 * statistics.median(values), 1),
                "least": round(1000 * min(values), 1),
                "most": round(1000 * max(values), 1),
                "rounds": len(values),
            }
            for name, values in seconds.items()
        },
    }


def as_markdown(found: dict[str, Any]) -> str:
    """The report as a page."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        "# One run, from its start to its end",
        "",
        f"{found['machine']}; Python {found['python']}, {versions}. "
        f"{found['kernels kept ready']} kernels ready before each run; interleaved rounds.",
        "Ready kernels have imported " + ", ".join(PRELOAD) + "; cold ones import what they need.",
        "Engines alone: no database, no HTTP. A burst longer than the pool waits for cold kernels.",
        "",
        "| way | median ms | least | most | rounds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in found["milliseconds"].items():
        lines.append(
            f"| {name} | {row['median']} | {row['least']} | {row['most']} | {row['rounds']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write both files, print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ready", type=int, default=2, help="kernels that are kept ready")
    options = parser.parse_args()
    found = report(asyncio.run(measure(options.rounds, options.ready)), options.ready)
    (HERE / "results.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (HERE / "results.md").write_text(as_markdown(found), encoding="utf-8")
    print(as_markdown(found))


if __name__ == "__main__":
    main()
