"""Pictures of every page, light, dark and narrow: `python -m tests.e2e.shots build/shots`.

With `--pictures docs/pictures` the README's pictures are made anew as well.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from tests import live

from . import console
from .conftest import ARGUMENTS
from .sites import Place

VARIANTS = {"light": ("light", 1440), "dark": ("dark", 1440), "narrow": ("light", 320)}
VARIANTS["narrow-dark"] = ("dark", 320)
# A few weeks of use: the API makes the runs, the clock is set back afterwards.
HISTORY = """
import random
from datetime import timedelta
from django.utils import timezone
from djsci.models import Run
chance = random.Random(4)
runs = list(Run.objects.exclude(ended=None).order_by("created"))
for place, run in enumerate(runs[:-8]):
    back = timedelta(hours=(len(runs) - place) * 7 + chance.random() * 5)
    run.created -= back
    run.elapsed = round(1.2 + chance.lognormvariate(0, 0.5), 3)
    run.started = run.created + timedelta(seconds=0.04)
    run.ended = run.started + timedelta(seconds=run.elapsed)
    run.save(update_fields=["created", "started", "ended", "elapsed"])
"""
EXAMPLES = """
from django.contrib.auth import get_user_model
from asgi_project.demo import load_examples
load_examples(get_user_model().objects.get(username="ada"))
"""


@contextmanager
def seeded() -> Iterator[tuple[Place, dict[str, str]]]:
    """A site with the examples and their runs, by what became of them."""
    with live.server("daphne") as site:
        users = [{"name": "ada", "superuser": True}, {"name": "grace"}]
        place = Place(site, site.seed({"users": users}))
        place.shell(EXAMPLES)
        quote = {"items": ["desk", "lamp"], "shipping": "express"}
        for number in range(12):
            user = "grace" if number % 3 else "ada"
            place.start("typed_quote", quote | {"discount": str(number)}, user=user)
            if number % 3 == 0:
                place.start("sales_report", {}, user=user)
        for number in range(3):
            place.run("countdown_stream", {"start": 3, "pause": 0.05 * number})
        place.run("heyo_multiverse_ipynb", {})
        bad = place.run("typed_quote", {"items": ["boat"]}, user="grace")
        cancelled = place.start("slow_walk", {"steps": 400})
        place.cancel(cancelled)
        runs = {
            "succeeded": place.run("sales_report", {}),
            "failed": place.run("fails_in_cell_three", {}),
            "cancelled": cancelled,
            "bars": place.run("progress_bars", {"rows": 60}),
            "streamed": place.run("countdown_stream", {"pause": 0.05}),
            "refused": bad,
            "quoted": place.run("typed_quote", quote | {"discount": "5"}),
            "again": place.run("typed_quote", {"items": ["desk", "lamp", "shelf"]}),
        }
        place.shell(HISTORY)
        runs["running"] = place.start("progress_bars", {"rows": 100_000})
        place.start("slow_walk", {"steps": 4000})
        try:
            yield place, runs
        finally:
            place.cancel(runs["running"])


def pages(runs: dict[str, str]) -> dict[str, str]:
    """Each page's path by the name of its picture."""
    at = "/djsci/console"
    made = {f"run-{name}": f"{at}/runs/{run}/" for name, run in runs.items()}
    return made | {
        "catalogue": f"{at}/",
        "catalogue-nothing": f"{at}/?q=nothing-is-called-so",
        "file": f"{at}/files/typed_quote/",
        "file-notebook": f"{at}/files/sales_report/",
        "file-edit": f"{at}/files/typed_quote/?from={runs['refused']}",
        "source": f"{at}/files/sales_report/source/",
        "versions": f"{at}/files/sales_report/versions/",
        "api": f"{at}/files/typed_quote/api/",
        "settings": f"{at}/files/sales_report/settings/",
        "upload": f"{at}/files/new/",
        "runs": f"{at}/runs/",
        "compare": f"{at}/runs/compare/?run={runs['quoted']}&run={runs['again']}",
        "compare-cells": f"{at}/runs/compare/?run={runs['succeeded']}&run={runs['failed']}",
        "compare-rows": f"{at}/runs/compare/?run={runs['streamed']}",
        "receipt": f"{at}/runs/{runs['succeeded']}/notebook/",
        "receipt-failed": f"{at}/runs/{runs['failed']}/notebook/",
        "runs-nothing": f"{at}/runs/?state=lost",
        "tokens": f"{at}/tokens/",
        "health": f"{at}/health/",
        "missing": f"{at}/runs/nothing/",
        "login": "/accounts/login/",
        "docs": "/djsci/api/v1/docs",
    }


def settle(page: Any, name: str) -> None:
    """Until there is nothing more to come, or something of what runs."""
    page.wait_for_load_state("networkidle") if name == "docs" else None
    if not name.startswith("run-"):
        return
    if name == "run-running":
        console.wait_for_line(page, "rows:")
    else:
        page.locator("djsci-run-console .dj-link-state[data-link=ended]").wait_for(state="attached")
    page.wait_for_timeout(700)


def snap(page: Any, path: Path, *, is_live: bool = False) -> None:
    """The whole page, in a window as high: what is out of sight is not drawn."""
    width = page.viewport_size["width"]
    height = page.evaluate("document.documentElement.scrollHeight")
    if not is_live and height > page.viewport_size["height"]:
        page.set_viewport_size({"width": width, "height": min(height, 3000)})
        page.wait_for_timeout(300)
    page.screenshot(path=path, full_page=True)


def shoot(browser: Any, place: Place, runs: dict[str, str], folder: Path) -> None:
    """Every page in every variant."""
    for variant, (scheme, width) in VARIANTS.items():
        context = browser.new_context(
            base_url=place.url,
            color_scheme=scheme,
            viewport={"width": width, "height": 900 if width > 400 else 720},
        )
        cookie = {"name": "sessionid", "value": place.made.sessions["ada"], "url": place.url}
        for name, path in pages(runs).items():
            context.clear_cookies() if name == "login" else context.add_cookies([cookie])
            page = context.new_page()
            page.goto(path)
            settle(page, name)
            snap(page, folder / f"{name}-{variant}.png", is_live=name == "run-running")
            if name in ("run-succeeded", "run-failed"):
                page.get_by_role("button", name="Notebook").click()
                page.wait_for_timeout(700)
                snap(page, folder / f"{name.replace('run', 'notebook')}-{variant}.png")
            page.close()
        context.close()


def picture(browser: Any, place: Place, runs: dict[str, str], folder: Path) -> None:
    """README's: a run as its notebook in the light, the catalogue in the dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, scheme, path in (
        ("run", "light", f"/djsci/console/runs/{runs['succeeded']}/"),
        ("catalogue", "dark", "/djsci/console/"),
    ):
        context = browser.new_context(
            base_url=place.url, color_scheme=scheme, viewport={"width": 1280, "height": 760}
        )
        cookie = {"name": "sessionid", "value": place.made.sessions["ada"], "url": place.url}
        context.add_cookies([cookie])
        page = context.new_page()
        page.goto(path)
        settle(page, f"{name}-succeeded")
        if name == "run":
            page.get_by_role("button", name="Notebook").click()
            page.wait_for_timeout(1000)
        page.screenshot(path=folder / f"{name}.png")
        shrink(folder / f"{name}.png")
        context.close()


def shrink(path: Path) -> None:
    """Few colours make a small file."""
    Image.open(path).convert("RGB").quantize(160, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def main() -> None:
    """Seed, look, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        sys.exit("No Chromium is here; on Debian the package is `chromium`.")
    options.folder.mkdir(parents=True, exist_ok=True)
    with seeded() as (place, runs), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        shoot(browser, place, runs, options.folder)
        if options.pictures:
            picture(browser, place, runs, options.pictures)
        browser.close()
    live.forget_templates()
    sys.stdout.write(f"{len(list(options.folder.glob('*.png')))} pictures in {options.folder}\n")


if __name__ == "__main__":
    main()
