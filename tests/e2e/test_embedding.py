"""The console in a page of somebody else's, under the policy that the documentation asks for."""

from typing import Any

from . import console
from .sites import Place

LOOKS = """
() => ["body", "h1", "a", "button"].map((name) => {
  const {color, backgroundColor, font, margin, textDecoration, padding} =
    getComputedStyle(document.querySelector(`${name}.host, .host ${name}`) ?? document.body);
  return [name, color, backgroundColor, font, margin, textDecoration, padding];
})
"""


def test_a_foreign_page_keeps_its_looks_and_shows_the_run(open_as: Any, daphne: Place) -> None:
    run = daphne.start("report", {"steps": 20})
    page = open_as(daphne, "ada")
    page.goto("/host/")
    before = page.evaluate(LOOKS)
    page.goto(f"/host/{run}/")
    console.wait_for_state(page, "succeeded")
    console.wait_for_line(page, "not bold")
    console.part(page, "Outputs").locator("iframe").first.wait_for()
    assert page.evaluate(LOOKS) == before
    assert page.locator("djsci-run-console").evaluate("one => getComputedStyle(one).color") != ""
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(LOOKS) == before
