"""A real browser, without a way out of this machine."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; skipped where there is none, unless DJSCI_REQUIRE names it.

    Ended with its module: while Playwright holds the loop no async test can run.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    place = shutil.which("chromium") or shutil.which("chromium-browser")
    if place is None:
        message = "no Chromium is installed (on Debian the package is `chromium`)"
        if "browser" in os.environ.get("DJSCI_REQUIRE", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=place,
            args=[*ARGUMENTS, "--host-resolver-rules=MAP * 127.0.0.1"],
        )
        yield launched
        launched.close()
