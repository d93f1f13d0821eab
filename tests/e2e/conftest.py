"""A real browser, without a way out of this machine, before real servers."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from .sites import Place, place

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * 127.0.0.1",
]
# Of the page itself; what a frame's own policy blocks is as it should be.
_WATCH = """
if (window === top) addEventListener("securitypolicyviolation", (event) =>
  djsciViolated(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`));
"""
OpenAs = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; skipped where there is none, unless DJSCI_REQUIRE names it.

    These tests are a process of their own: while Playwright holds the loop no async test can run.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        message = "no Chromium is installed (on Debian the package is `chromium`)"
        if "browser" in os.environ.get("DJSCI_REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def daphne() -> Iterator[Place]:
    with place("daphne") as made:
        yield made


@pytest.fixture(scope="session")
def uvicorn() -> Iterator[Place]:
    with place("uvicorn") as made:
        yield made


@pytest.fixture
def open_as(browser: Any, request: pytest.FixtureRequest) -> Iterator[OpenAs]:
    """Makes a page in a browser of its own, signed in as a user (None: nobody).

    No page may break its policy, fail in a script, ask anything, or load from elsewhere.
    `url` where the server is reached by another way, `tolerate` a pattern of what may happen.
    """
    problems: list[str] = []
    tolerated: list[str] = []
    contexts: list[Any] = []

    def make(
        where: Place, user: str | None, *, url: str = "", tolerate: str = "", **options: Any
    ) -> Any:
        base = url or where.url
        defaults = {"base_url": base, "viewport": {"width": 1280, "height": 900}}
        context = browser.new_context(**{**defaults, **options})
        contexts.append(context)
        if tolerate:
            tolerated.append(tolerate)
        context.set_default_timeout(20_000)
        if user is not None:
            session = where.made.sessions[user]
            context.add_cookies([{"name": "sessionid", "value": session, "url": base}])
        context.on("weberror", lambda error: _note_error(error.error, problems))
        context.on("dialog", lambda dialog: _dismiss(dialog, problems))
        context.on("requestfinished", lambda asked: _note_foreign(asked.url, base, problems))
        context.on("requestfailed", lambda asked: _note_failed(asked, base, problems))
        context.expose_binding(
            "djsciViolated", lambda source, text: problems.append(f"violation {text}")
        )
        context.add_init_script(_WATCH)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()
    wrong = [problem for problem in problems if not any(re.match(t, problem) for t in tolerated)]
    assert wrong == []


def _note_error(error: Any, problems: list[str]) -> None:
    """A script of a page failed; those inside of outputs may."""
    if "/frame/" not in (error.stack or "") and 'frame with origin "null"' not in error.message:
        problems.append(f"error {error.message} {error.stack}")


def _dismiss(dialog: Any, problems: list[str]) -> None:
    problems.append(f"dialog {dialog.message}")
    dialog.dismiss()


def _note_foreign(url: str, base: str, problems: list[str]) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(base).netloc:
        problems.append(f"request {url}")


def _note_failed(asked: Any, base: str, problems: list[str]) -> None:
    """A request that a policy stopped was never sent."""
    if not re.search("csp|blocked", asked.failure or "", re.IGNORECASE):
        _note_foreign(asked.url, base, problems)
