"""From the catalogue to the result, and everything that may happen on the way."""

from typing import Any

import pytest

from . import console
from .sites import Place


@pytest.fixture(params=["daphne", "uvicorn"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def test_from_the_catalogue_to_the_result(open_as: Any, place: Place) -> None:
    page = open_as(place, "ada")
    page.goto("/djsci/console/")
    page.get_by_role("link", name="report", exact=True).click()
    assert "Walks some steps" in page.locator("main").inner_text()
    page.fill("[name='p-steps']", "40")
    page.get_by_role("button", name="Run", exact=True).click()
    console.wait_for_state(page, "running")
    page.wait_for_url("**/console/runs/*/")
    console.wait_for_line(page, "/40")
    assert console.link_word(page) == "Live"
    image = console.part(page, "Outputs").locator("img")
    image.wait_for()
    assert image.evaluate("image => image.naturalWidth") > 100
    console.wait_for_state(page, "succeeded")
    console.wait_for_line(page, "not bold")
    bars = [line for line in console.printed(page) if "/40" in line]
    assert len(bars) == 1
    assert bars[0].startswith("100%")
    assert "green <b>not bold</b>" in console.printed(page)
    frame = page.frame_locator("section[aria-label=Outputs] iframe")
    assert frame.locator("b").text_content() == "bold"
    result = console.part(page, "Result")
    assert "9007199254740993" in result.inner_text()
    assert result.get_by_role("columnheader").all_inner_texts() == ["step", "big"]
    assert "owned" not in page.title()
    before = console.printed(page)
    page.reload()
    console.wait_for_line(page, "not bold")
    assert console.printed(page) == before
