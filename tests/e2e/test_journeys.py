"""From the catalogue to the result, and everything that may happen on the way."""

import json
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


DROP = """
(form, files) => {
  const dataTransfer = new DataTransfer();
  for (const [name, text] of files) dataTransfer.items.add(new File([text], name));
  for (const type of ["dragenter", "dragover", "drop"])
    form.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer}));
}
"""


def test_a_file_and_its_companion_are_dropped_and_run(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada")
    page.goto("/djsci/console/")
    page.get_by_role("link", name="Upload").first.click()
    form = page.locator("form[data-djsci-drop]")
    broken = "import helpers\ndef djsci_handler(request)\n    pass\n"
    form.evaluate(DROP, [["dropped.py", broken], ["helpers.py", "WORD = 'helped'\n"]])
    page.get_by_role("button", name="Upload").click()
    assert "line 2" in page.get_by_role("alert").inner_text().lower()
    mended = "import helpers\ndef djsci_handler(request):\n    return helpers.WORD\n"
    form.evaluate(DROP, [["dropped.py", mended]])
    chosen = page.get_by_role("list", name="Chosen files").inner_text()
    assert "dropped.py" in chosen
    assert "helpers.py" in chosen
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("button", name="Run", exact=True).click()
    console.wait_for_state(page, "succeeded")
    assert "helped" in console.part(page, "Result").inner_text()


def test_cancel_is_answered_at_once_and_forced_when_nothing_stops(
    open_as: Any, daphne: Place
) -> None:
    """The first cancel is lost on its way: so nothing stops."""
    asked: list[bool] = []

    def lose_the_first(near: Any) -> None:
        far = near.connect_to_server()

        def on_message(text: str) -> None:
            frame = json.loads(text)
            if frame["type"] == "cancel":
                asked.append(frame["force"])
            if frame["type"] != "cancel" or frame["force"]:
                far.send(text)

        near.on_message(on_message)

    page = open_as(daphne, "ada")
    page.route_web_socket("**/ws/**", lose_the_first)
    console.start(page, "steps", lines=2000)
    console.wait_for_line(page, "line 00002")
    state = page.get_by_role("button", name="Cancel", exact=True).evaluate(
        "async (button) => { button.click(); await new Promise(requestAnimationFrame);"
        " await new Promise(requestAnimationFrame);"
        " return document.querySelector('.pill').dataset.state; }"
    )
    assert state == "cancelling"
    assert page.get_by_role("button", name="Cancelling…").is_disabled()
    page.get_by_role("button", name="Force stop").click()
    console.wait_for_state(page, "cancelled")
    assert asked == [False, True]
    assert not page.get_by_role("button", name="Force stop").count()
    assert page.get_by_role("button", name="Run again").is_visible()


def test_a_run_that_does_not_stop_is_let_go(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada")
    console.start(page, "stubborn", seconds=4)
    console.wait_for_line(page, "deaf")
    page.get_by_role("button", name="Cancel", exact=True).click()
    console.wait_for_state(page, "cancelled")
    assert "its thread may still work" in page.locator(".dj-sentence").inner_text()


def test_a_failure_says_what_and_where_and_keeps_what_came(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada")
    console.start(page, "fails")
    console.wait_for_state(page, "failed")
    alert = page.locator(".dj-alert")
    said = alert.inner_text()
    assert "KeyError" in said
    assert "<img src=x onerror=alert(1)>" in said
    assert "line 4" in said
    assert alert.locator("img").count() == 0
    lines = console.printed(page)
    assert "before" in lines
    assert "inside" in lines
    alert.locator("summary").click()
    assert "rows[" in page.get_by_label("Traceback").inner_text()
    page.get_by_role("link", name="In the log").click()
    assert "#L" in page.url
    page.get_by_role("button", name="Notebook").click()
    failed = page.locator(".dj-code-cell[data-state=failed]")
    assert "rows = {" in failed.inner_text()
    assert "KeyError" in failed.inner_text()
    assert "before" in page.locator("#cell-1").inner_text()


def test_two_runs_are_compared_and_the_notebook_is_read(open_as: Any, daphne: Place) -> None:
    first = daphne.run("report", {"steps": 2, "title": "One"})
    second = daphne.run("report", {"steps": 3, "title": "Two"})
    page = open_as(daphne, "ada")
    page.goto("/djsci/console/runs/")
    for run in (first, second):
        page.locator("tr", has=page.locator(f"a[href*='{run}']")).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare two").click()
    ticked = page.locator("main").inner_text()
    assert "Both gave the same result." in ticked
    row = page.get_by_role("row", name="steps differs")
    assert row.get_by_role("cell").all_inner_texts() == ["2", "3"]
    page.get_by_role("link", name="Later run").click()
    console.wait_for_state(page, "succeeded")
    page.get_by_role("link", name="Compare with the run before").click()
    page.get_by_role("heading", name="Two runs compared").wait_for()
    assert page.locator("main").inner_text() == ticked
    page.goto(f"/djsci/console/runs/{second}/notebook/")
    frame = page.frame_locator("iframe[title='The executed notebook']")
    frame.get_by_text("# What djsci called").wait_for()
    assert frame.get_by_text("green <b>not bold</b>").count() == 1
    assert frame.locator("img").count() == 1
    assert "owned" not in page.title()


def test_edit_and_run_again_begin_with_what_was(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada")
    of_file = {"file": daphne.made.files["typed"], "limit": 100}
    before = len(daphne.get("runs/", **of_file)["items"])
    first = console.start(page, "typed", name="Ada", count="7")
    console.wait_for_state(page, "succeeded")
    page.get_by_role("link", name="Edit and run").click()
    assert page.input_value("[name='p-name']") == "Ada"
    assert page.input_value("[name='p-count']") == "7"
    page.fill("[name='p-name']", "Grace")
    page.get_by_role("button", name="Run", exact=True).dblclick()
    page.wait_for_url("**/console/runs/*/")
    console.wait_for_state(page, "succeeded")
    second = page.url
    assert first not in second
    console.wait_for_line(page, "hello Grace")
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: url != second and "/runs/" in url)
    console.wait_for_state(page, "succeeded")
    console.wait_for_line(page, "hello Grace")
    after = len(daphne.get("runs/", **of_file)["items"])
    assert after - before == 3, "a double click is one run"


def test_a_refused_value_is_told_at_its_field(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada")
    page.goto("/djsci/console/files/nested/")
    page.fill("[name='p-more']", "[1]")
    page.get_by_role("button", name="Run", exact=True).click()
    wrong = page.locator("[aria-invalid=true]")
    wrong.wait_for()
    assert wrong.get_attribute("name") == "p-more"
    assert page.locator(".field.wrong .error").inner_text()
    page.fill("[name='p-more']", "{}")
    page.fill("[name='p-place.city']", "Genève")
    page.get_by_role("button", name="Run", exact=True).click()
    console.wait_for_state(page, "succeeded")
    assert "Genève" in console.part(page, "Result").inner_text()


def test_all_of_it_works_without_a_script(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada", java_script_enabled=False, viewport={"width": 320, "height": 800})
    page.goto("/djsci/console/files/nested/")
    page.fill("[name='p-more']", "[1]")
    page.get_by_role("button", name="Run", exact=True).click()
    assert page.locator("[aria-invalid=true]").get_attribute("name") == "p-more"
    page.goto("/djsci/console/files/typed/")
    page.fill("[name='p-name']", "Ada")
    page.fill("[name='p-count']", "2")
    page.get_by_role("button", name="Run", exact=True).click()
    for _ in range(100):
        if page.locator(".pill[data-state=succeeded]").count():
            break
        page.get_by_role("link", name="Reload").click()
    assert "hello Ada" in page.locator("pre").first.inner_text()
    assert '"count": 2' in page.locator("main").inner_text()
    page.get_by_role("link", name="Whole log").click()
    assert page.locator("body").inner_text().strip() == "hello Ada"
    run = daphne.start("stubborn", {"seconds": 4})
    console.watch(page, run)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Force stop").click()
    page.goto("/djsci/console/runs/")
    assert page.locator(f"a[href*='{run}']").first.is_visible()
    page.goto("/djsci/console/files/new/")
    file = {"name": "no_script.py", "mimeType": "text/x-python", "buffer": b"x = 1\n"}
    page.locator("[name=file]").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    assert "djsci_handler" in page.get_by_role("alert").inner_text()
    file["buffer"] = b"def djsci_handler(request):\n    return 1\n"
    page.locator("[name=file]").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/console/files/*/")
    assert page.get_by_role("button", name="Run", exact=True).is_visible()


def test_the_keyboard_alone_does_it(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada")
    page.goto("/djsci/console/")

    def tab_to(name: str, *, most: int = 200) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            said, outline = page.evaluate(
                "() => { const at = document.activeElement; const style = getComputedStyle(at);"
                " return [at.getAttribute('aria-label') ?? at.name ?? at.textContent,"
                " style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1]; }"
            )
            if outline and name in (
                (said or "").strip(),
                page.evaluate("document.activeElement.textContent.trim()"),
            ):
                return
        raise AssertionError(f"no focus came to {name}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    tab_to("steps")
    page.keyboard.press("Enter")
    page.wait_for_url("**/files/**")
    tab_to("p-lines")
    page.keyboard.press("Control+a")
    page.keyboard.type("300")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*/")
    console.wait_for_line(page, "line 00003")
    tab_to("Cancel")
    page.keyboard.press("Enter")
    console.wait_for_state(page, "cancelled")
    tab_to("Log")
    page.keyboard.press("Home")
    tab_to("Run again")
