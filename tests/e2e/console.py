"""What the tests do and read on a run's page."""

import re
from typing import Any

FINAL = ("succeeded", "failed", "timed_out", "cancelled", "crashed", "lost", "denied")


def start(page: Any, name: str, /, **values: Any) -> str:
    """Fill the form of a file and run it; the run's id, once its page is shown."""
    page.goto(f"/djsci/console/files/{name}/")
    for key, value in values.items():
        page.fill(f"[name='p-{key}']", str(value))
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url(re.compile(r"/console/runs/[^/]+/$"))
    return str(page.url).rstrip("/").rpartition("/")[2]


def watch(page: Any, run: str, mark: str = "") -> None:
    """Open a run's page."""
    page.goto(f"/djsci/console/runs/{run}/{mark}")


def wait_for_state(page: Any, state: str, *, seconds: float = 30) -> None:
    """Until the head's pill says so."""
    page.locator(f"djsci-run-console .pill[data-state={state}]").wait_for(timeout=seconds * 1000)


def wait_for_line(page: Any, text: str, *, seconds: float = 30) -> None:
    """Until the log holds the text. (`wait_for_function` would need `unsafe-eval`.)"""
    page.get_by_role("log").filter(has_text=text).wait_for(timeout=seconds * 1000)


def printed(page: Any) -> list[str]:
    """The lines of the log, as a reader would select them."""
    return _lines(page, "pre")


def shown(page: Any) -> list[str]:
    """Those lines that the filter lets through."""
    return _lines(page, ".dj-lines:not([hidden]) pre")


def _lines(page: Any, blocks: str) -> list[str]:
    text: str = page.get_by_role("log").evaluate(
        "(log, blocks) => [...log.querySelectorAll(blocks)].map((one) => one.textContent).join('')",
        blocks,
    )
    return text.removesuffix("\n").split("\n") if text else []


def part(page: Any, name: str) -> Any:
    """One of the view's sections: Log, Result, Outputs, Artifacts."""
    return page.locator(f"djsci-run-console section[aria-label='{name}']")


def link_word(page: Any) -> str:
    """What the head says of the connection."""
    return str(page.locator(".dj-link-state").text_content()).strip()
