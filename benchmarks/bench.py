"""Measure djsci beside the alternatives: `make bench`, or `make bench QUICK=1` in two minutes.

Full: writes results.json and results.md beside this file and renews README.md's table. Quick, or
with `--only`: prints, and writes below `.bench/` alone.
"""

import argparse
import asyncio
import importlib.metadata
import json
import platform
import re
import shutil
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from . import (
    bare,
    bars,
    console,
    engines,
    environments,
    fanout,
    memory,
    peers,
    printing,
    report,
    sites,
    workers,
)
from .rounds import Found, Way, machine, measure, say, summary

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
ROUNDS, QUICK_ROUNDS = 9, 3
QUICK_SECONDS = 110.0  # from the start to the last reading; ending takes the rest of two minutes
OF_PEERS = ("papermill", "nbclient", "jupyter-kernel-gateway", "functions-framework")
OF_OURS = ("djsci", "ipykernel", "django", "uvicorn", "daphne")


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """All ways, from their start to their end; what was found."""
    found = Found()
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    is_quick = bool(options.quick)
    begun = time.monotonic()
    async with AsyncExitStack() as stack:
        ways = await _ways(stack, found, is_quick=is_quick)
        wanted = [
            way
            for way in ways
            if (way.is_quick or not is_quick) and re.search(options.only, way.key)
        ]
        say(f"{len(wanted)} ways are ready after {time.monotonic() - begun:.0f} s")
        limit = QUICK_SECONDS - (time.monotonic() - begun) if is_quick else None
        await measure(wanted, found, rounds=rounds, seconds=limit)
        load = machine()
    held = {} if is_quick or options.only else await memory.idle()
    say(f"done after {time.monotonic() - begun:.0f} s")
    return {
        "mode": "quick" if is_quick else "full",
        "rounds": max((len(rows) for rows in found.readings.values()), default=0),
        "machine": load,
        "python": platform.python_version(),
        "versions": _versions(),
        "bars": bars.judged(found.readings),
        "ways": {key: summary(rows) for key, rows in found.readings.items()},
        "memory": held,
        "left_out": found.left_out,
    }


async def _ways(stack: AsyncExitStack, found: Found, *, is_quick: bool) -> list[Way]:
    blocking = stack.enter_context(ExitStack())
    folder = Path(tempfile.mkdtemp(prefix="djsci-bench-"))
    blocking.callback(shutil.rmtree, folder, ignore_errors=True)
    made = bare.ways(blocking, folder)
    made += await asyncio.to_thread(peers.ways, blocking, found)
    made += await engines.ways(stack, found, is_quick=is_quick)
    made += await printing.ways(stack)
    if not is_quick:
        made += await console.ways(stack, found)
        made += await fanout.ways(stack, found)
        made += await workers.ways(stack, found)
    for server in ("uvicorn", "daphne"):
        of_site = await asyncio.to_thread(
            sites.ways, blocking, found, server, is_quick=is_quick, more=printing.files()
        )
        made += of_site.ways
        made += printing.client_ways(of_site)
    return made


def _versions() -> dict[str, str]:
    """Ours, and the peers' where they could be installed."""
    mine = {name: importlib.metadata.version(name) for name in OF_OURS}
    try:
        return mine | environments.versions(environments.peers(), OF_PEERS)
    except Exception:
        return mine


def write(found: dict[str, Any], folder: Path) -> str:
    """Write both files; the page."""
    folder.mkdir(exist_ok=True)
    text = json.dumps(found, indent=2, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    page = report.page(found)
    (folder / "results.md").write_text(page, encoding="utf-8")
    return page


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer ways and rounds: two minutes")
    parser.add_argument("--rounds", type=int, help=f"instead of {ROUNDS}, or {QUICK_ROUNDS}")
    parser.add_argument("--only", default="", help="the ways whose `work | name` this matches")
    parser.add_argument("--render", action="store_true", help="write what was measured once more")
    options = parser.parse_args()
    if options.render:
        found = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    else:
        found = asyncio.run(run(options))
    is_kept = not (options.quick or options.only)
    print(write(found, HERE if is_kept else environments.PLACE))
    if is_kept:
        text = README.read_text(encoding="utf-8")
        README.write_text(report.replaced(text, found), encoding="utf-8")


if __name__ == "__main__":
    main()
