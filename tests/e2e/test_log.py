"""The log as a reader meets it: all lines, in place, to be selected, found, linked and followed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import console
from .sites import Place
from .waiting import until

LINES = 200_000
SELECT = """
([from, to]) => {
  const log = document.querySelector("[role=log]");
  const blocks = [...log.querySelectorAll("pre")];
  getSelection().setBaseAndExtent(blocks[from], 0, blocks[to], blocks[to].childNodes.length);
  return getSelection().toString();
}
"""
# Names the first line in sight and how far it is from the top.
AT_TOP = """
() => {
  const log = document.querySelector("[role=log]");
  const box = log.getBoundingClientRect();
  const at = document.caretPositionFromPoint(box.left + 120, box.top + 30);
  if (at?.offsetNode.nodeType !== Node.TEXT_NODE) return ["", 0]; // nothing drawn there yet
  const text = at.offsetNode.textContent;
  const start = text.lastIndexOf("\\n", at.offset - 1) + 1;
  const range = document.createRange();
  range.setStart(at.offsetNode, start);
  range.setEnd(at.offsetNode, Math.min(start + 5, text.length));
  return [text.slice(start, text.indexOf("\\n", start)), range.getBoundingClientRect().top];
}
"""
UNTIL_DRAWN = """
async (last) => {
  for (;;) {
    const block = document.querySelector("[role=log] pre:last-of-type");
    if (block?.textContent.includes(last)) return performance.now();
    await new Promise(requestAnimationFrame);
  }
}
"""
NAIVE = """
async (lines) => {
  const begun = performance.now();
  const scroller = document.createElement("div");
  scroller.style.cssText = "height: 600px; overflow: auto; font: 12.5px/20px monospace";
  document.body.append(scroller);
  for (let number = 0; number < lines; number++) {
    const line = document.createElement("div");
    line.textContent = `line ${number}`;
    scroller.append(line);
    if (number % 250 === 249) {
      scroller.scrollTop = scroller.scrollHeight;
      await new Promise(requestAnimationFrame);
    }
  }
  const took = performance.now() - begun;
  scroller.remove();
  return took;
}
"""


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "gate"
    (tmp_path / "gate").touch()


def test_two_hundred_thousand_lines_are_all_there(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    run = console.start(page, "many", lines=LINES)
    console.wait_for_state(page, "succeeded", seconds=60)
    console.wait_for_line(page, f"line {LINES - 1:06}", seconds=60)
    wanted = [f"line {number:06}" for number in range(LINES)]
    assert console.printed(page) == wanted
    assert page.locator("[role=log] *").count() < 3000, "never an element per line"
    assert f"{LINES:,} lines" in page.locator(".dj-count").inner_text()

    selected = page.evaluate(SELECT, [2, 4])
    assert selected.strip("\n").split("\n") == wanted[500:1250], "without line numbers"
    page.get_by_role("log").focus()
    page.keyboard.press("Control+c")
    assert page.evaluate("navigator.clipboard.readText()").strip() == selected.strip()
    page.evaluate("getSelection().removeAllRanges()")
    assert page.evaluate("window.find('line 123456')")
    assert page.evaluate("getSelection().toString()") == "line 123456"

    page.get_by_label("Filter lines").fill("12345")
    until(page, lambda: len(console.shown(page)) == 12)
    assert console.shown(page)[0] == "line 012345"
    page.get_by_label("Filter lines").fill("")

    console.watch(page, run, "#L123457-L123459")
    page.wait_for_timeout(50)
    page.reload()
    until(page, lambda: "line 123456" in str(page.evaluate(AT_TOP)) or seen(page, "line 123456"))
    assert not follows(page)


def seen(page: Any, text: str) -> bool:
    """Whether the first occurrence of the text is in the window of the log."""
    return bool(
        page.evaluate(
            """(text) => {
              const log = document.querySelector("[role=log]");
              const box = log.getBoundingClientRect();
              for (const block of log.querySelectorAll("pre")) {
                const node = [...block.childNodes].find((one) => one.textContent.includes(text));
                if (!node) continue;
                const range = document.createRange();
                const at = node.textContent.indexOf(text);
                range.setStart(node, at);
                range.setEnd(node, at + text.length);
                const { top, height } = range.getBoundingClientRect();
                return height > 0 && top >= box.top && top < box.bottom;
              }
              return false;
            }""",
            text,
        )
    )


def follows(page: Any) -> bool:
    return page.get_by_role("button", name="Follow", pressed=True).count() == 1


def test_it_follows_until_the_reader_scrolls_and_then_holds_still(
    open_as: Any, daphne: Place
) -> None:
    page = open_as(daphne, "ada")
    console.start(page, "steps", lines=2000)
    console.wait_for_line(page, "line 00060")
    log = page.get_by_role("log")
    assert follows(page)
    below = "log => log.scrollHeight - log.clientHeight - log.scrollTop"
    until(page, lambda: log.evaluate(below) < 2)
    box = log.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.wheel(0, -300)
    until(page, lambda: not follows(page))
    page.wait_for_timeout(100)
    before = page.evaluate(AT_TOP)
    count = len(console.printed(page))
    until(page, lambda: len(console.printed(page)) >= count + 20)
    assert page.evaluate(AT_TOP) == before, "nothing moved"
    page.get_by_role("button", name="Follow").click()
    until(page, lambda: log.evaluate(below) < 2)
    page.get_by_role("button", name="Cancel", exact=True).click()
    console.wait_for_state(page, "cancelled")


def test_bars_and_updates_stay_in_their_place(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada")
    console.start(page, "bars")
    console.wait_for_state(page, "succeeded")
    lines = console.printed(page)
    assert sum(line.startswith("outer") for line in lines) == 1
    assert sum("inner" in line for line in lines) <= 1
    outputs = console.part(page, "Outputs").locator("figure")
    wanted = ["'count 39'", "'kept'"]
    until(page, lambda: [text.strip() for text in outputs.all_inner_texts()] == wanted)


def worst(shifted: list[tuple[float, float, list[str]]]) -> float:
    """Cumulative layout shift, as web-vitals defines it: the worst window of at most 5 s."""
    windows: list[list[tuple[float, float]]] = [[(0.0, 0.0)]]
    for time, value, _ in shifted:
        window = windows[-1]
        if time - window[-1][0] > 1000 or time - window[0][0] > 5000:
            windows.append([])
        windows[-1].append((time, value))
    return max(sum(value for _, value in window) for window in windows)


def test_nothing_shifts_while_a_run_goes_on(open_as: Any, daphne: Place) -> None:
    """Layout shift as browsers measure it, and each thing's place."""
    page = open_as(daphne, "ada")
    page.add_init_script(
        "window.shifted = []; new PerformanceObserver((list) => { for (const entry of"
        " list.getEntries()) if (!entry.hadRecentInput) shifted.push([entry.startTime, entry.value,"
        " entry.sources.map((source) => source.node?.outerHTML?.slice(0, 80) ?? '')]);"
        " }).observe({type: 'layout-shift', buffered: true});"
    )
    run = daphne.start("report", {"steps": 60, "pause": 0.03})
    console.watch(page, run)
    console.wait_for_line(page, "/60")
    top = page.get_by_role("log").bounding_box()["y"]
    console.wait_for_state(page, "succeeded")
    console.part(page, "Result").get_by_role("table").wait_for()
    page.wait_for_timeout(300)
    assert page.get_by_role("log").bounding_box()["y"] == top
    shifted = page.evaluate("shifted")
    assert worst(shifted) <= 0.05, json.dumps(shifted, indent=1)
    failing = daphne.start("fails", {})
    console.watch(page, failing)
    console.wait_for_state(page, "failed")
    assert page.get_by_role("log").bounding_box()["y"] == pytest.approx(top, abs=1)
    log = page.get_by_role("log").bounding_box()
    lines = len(console.printed(page))
    assert log["height"] <= lines * 20 + 40, "a short log is as high as its lines"

    page.set_viewport_size({"width": 320, "height": 800})
    console.watch(page, run)
    console.wait_for_line(page, "not bold")
    result, outputs, log = (
        each.bounding_box()["y"]
        for each in (
            console.part(page, "Result"),
            console.part(page, "Outputs"),
            page.get_by_role("log"),
        )
    )
    assert result < log
    assert outputs < log


def test_blocks_are_ten_times_faster_than_an_element_a_line(open_as: Any, daphne: Place) -> None:
    """From nothing to the last line drawn; ours with its transfer, both followed to the end.

    Lines come 250 at a time, about what one frame of the socket holds.
    """
    lines = 40_000
    page = open_as(daphne, "ada")
    run = daphne.run("many", {"lines": lines})
    page.goto("/djsci/console/")
    naive = page.evaluate(NAIVE, lines)
    ours = []
    for _ in range(3):  # the best of them: the server and its neighbours work on the same cores
        console.watch(page, run)
        ours.append(page.evaluate(UNTIL_DRAWN, f"line {lines - 1:06}"))
    assert naive / min(ours) >= 10, (naive, ours)
