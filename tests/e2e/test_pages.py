"""Every page: its policy, its width, and what axe finds, in both themes."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from . import console
from .sites import Place
from .stage import Stage, staged

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
AXE = """
async (options) => (await axe.run(document, options)).violations.flatMap((found) =>
  found.nodes.map((node) => `${found.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`))
"""


@pytest.fixture(scope="module")
def stage(daphne: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(daphne, tmp_path_factory.mktemp("stage")) as made:
        yield made


def settle(page: Any, name: str) -> None:
    """Until a run's page has drawn its run."""
    if name.startswith("run-"):
        wanted = "succeeded" if name == "run-pruned" else name.removeprefix("run-")
        console.wait_for_state(page, wanted)
    if name == "run-succeeded":
        page.locator("section[aria-label=Outputs] iframe").nth(1).wait_for()


def test_no_page_breaks_its_policy_or_is_wider_than_its_window(
    open_as: Any, daphne: Place, stage: Stage
) -> None:
    page = open_as(daphne, "ada")
    stranger = open_as(daphne, None)
    wide = {}
    for name, path in stage.pages.items():
        shown = stranger if name == "login" else page
        for width in (1440, 320):
            shown.set_viewport_size({"width": width, "height": 900})
            if width == 1440:
                answer = shown.goto(path)
                assert answer.status == (404 if name == "missing" else 200), name
                settle(shown, name)
            found = shown.evaluate("document.documentElement.scrollWidth")
            if found > width:
                wide[name] = found
        assert shown.title(), name
        assert shown.locator("h1").count() == 1, name
    assert wide == {}


def test_how_a_run_is_followed_takes_no_room_from_its_buttons(
    open_as: Any, daphne: Place, stage: Stage
) -> None:
    """While nobody answers, at the smallest width."""
    page = open_as(daphne, "ada")
    page.set_viewport_size({"width": 320, "height": 900})
    page.goto(stage.pages["run-failed"])
    settle(page, "run-failed")
    said = page.locator(".dj-link-state")
    said.evaluate("said => said.append('Connection lost, trying again in 25 s')")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    assert said.bounding_box()["width"] > 100


def test_axe_finds_nothing_on_any_page(open_as: Any, daphne: Place, stage: Stage) -> None:
    source = files("axe_playwright_python").joinpath("axe.min.js").read_text()
    page = open_as(daphne, "ada", bypass_csp=True)
    stranger = open_as(daphne, None, bypass_csp=True)
    found = []
    for name, path in stage.pages.items():
        shown = stranger if name == "login" else page
        shown.emulate_media(color_scheme="light")
        shown.set_viewport_size({"width": 1440, "height": 900})
        shown.goto(path)
        settle(shown, name)
        shown.evaluate(source)
        for scheme, width in (("light", 1440), ("dark", 1440), ("dark", 320), ("light", 320)):
            shown.emulate_media(color_scheme=scheme)
            shown.set_viewport_size({"width": width, "height": 900})
            rules = {"type": "tag", "values": TAGS}
            told = shown.evaluate(AXE, {"runOnly": rules, "iframes": False})
            found += [f"{name} {scheme} {width} {each}" for each in told]
    assert found == []
