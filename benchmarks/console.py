"""The console's log in a real browser, beside an element a line: `python -m benchmarks.console`."""

import asyncio
import json
import mimetypes
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from playwright.async_api import Browser, Route, async_playwright

from .environments import PLACE, ROOT
from .rounds import Found, Reading, Way, reason, say

LINES = 100_000
RATE, SECONDS = 20_000, 5
FRAME_MOST, TASK_MOST = 0.050, 0.400  # seconds
LOG_WORK = f"log of {LINES:,} lines in a browser"
FRAME_WORK = f"frame at {RATE:,} lines/s, p95"
TASK_WORK = f"longest task at {RATE:,} lines/s"
NAIVE, OURS = "an element a line", "djsci log"
FRAME_BAR, TASK_BAR = (f"the bar: {1000 * most:.0f} ms" for most in (FRAME_MOST, TASK_MOST))
BUILT = PLACE / "console"
URL = "http://localhost/log.html"  # answered from `BUILT`, without a server
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
ROUNDS = 3


async def ways(stack: AsyncExitStack, found: Found) -> list[Way]:
    """The log and the naive one; frames and tasks while lines flow. Nothing without a browser."""
    try:
        await asyncio.to_thread(build)
        browser = await _browser(stack)
    except Exception as error:
        found.left_out["console in a browser"] = reason(error)
        say(f"console: left out: {reason(error)}")
        return []
    flow = f"bench.flow({RATE}, {SECONDS})"
    return [
        _way(browser, NAIVE, LOG_WORK, f"bench.naive({LINES})"),
        _way(browser, OURS, LOG_WORK, f"bench.ours({LINES})"),
        _way(browser, OURS, FRAME_WORK, flow, lambda figures: figures["p95"]),
        _way(browser, OURS, TASK_WORK, flow, lambda figures: figures["longest"]),
        _bar(FRAME_BAR, FRAME_WORK, FRAME_MOST),
        _bar(TASK_BAR, TASK_WORK, TASK_MOST),
    ]


def build() -> None:
    """The page that is measured, from the log's own sources."""
    commands = [["ci", "--silent"]] if not (ROOT / "frontend" / "node_modules").exists() else []
    for arguments in (*commands, ["run", "--silent", "bench"]):
        done = subprocess.run(
            ["sh", str(ROOT / ".ci" / "node"), *arguments],
            cwd=ROOT,
            env={**os.environ, "PY": sys.executable},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(done.stderr or done.stdout)


async def _browser(stack: AsyncExitStack) -> Browser:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise RuntimeError("no Chromium is here")
    playwright = await stack.enter_async_context(async_playwright())
    browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
    stack.push_async_callback(browser.close)
    return browser


def _way(
    browser: Browser,
    name: str,
    work: str,
    script: str,
    figure: Callable[[Any], float] = float,
) -> Way:
    async def once() -> Reading:
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        try:
            page = await context.new_page()
            await page.route("**/*", _answer)
            await page.goto(URL)
            return Reading(seconds=figure(await page.evaluate(script)) / 1000)
        finally:
            await context.close()

    return Way(name=name, work=work, once=once, is_quick=False)


def _bar(name: str, work: str, seconds: float) -> Way:
    """What a figure must not be over stands in the table as a peer that always takes so long."""

    async def once() -> Reading:
        return Reading(seconds=seconds)

    return Way(name=name, work=work, once=once, is_quick=False)


async def _answer(route: Route) -> None:
    path = BUILT / route.request.url.removeprefix("http://localhost/")
    if path.is_file():
        kind = mimetypes.guess_type(path.name)[0] or "text/plain"
        await route.fulfill(body=path.read_bytes(), content_type=kind)
    else:
        await route.fulfill(status=404)


async def measured(rounds: int = ROUNDS) -> dict[str, Any]:
    """The medians alone, and whether each holds its bar."""
    found = Found()
    rows: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        made = await ways(stack, found)
        for _ in range(rounds):
            for way in made:
                rows.setdefault(way.key, []).append((await way.once()).seconds)
    if not rows:
        return {"left_out": found.left_out}
    naive, ours = rows[f"{LOG_WORK} | {NAIVE}"], rows[f"{LOG_WORK} | {OURS}"]
    ratio = statistics.median(one / other for one, other in zip(naive, ours, strict=True))
    frame = statistics.median(rows[f"{FRAME_WORK} | {OURS}"])
    task = statistics.median(rows[f"{TASK_WORK} | {OURS}"])
    return {
        "lines": LINES,
        "naive_ms": round(1000 * statistics.median(naive)),
        "ours_ms": round(1000 * statistics.median(ours)),
        "ratio": round(ratio, 1),
        "frame_p95_ms": round(1000 * frame, 1),
        "longest_task_ms": round(1000 * task, 1),
        "met": {
            "ratio": ratio >= 10,
            "frame": frame <= FRAME_MOST,
            "task": task <= TASK_MOST,
        },
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measured()), indent=2))
