"""The console in a real browser: from the form to the result, reloaded and cut off on the way."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests import live
from tests.conftest import notebook

REPORT = """
import time, sys
import matplotlib.pyplot as plt
from tqdm import tqdm
from IPython.display import HTML, display

def djsci_handler(request, steps: int = 30, pause: float = 0.05):
    plt.plot(range(steps)); plt.show()
    display(HTML("<b>bold</b><script>parent.document.title = 'owned'</script>"))
    for step in tqdm(range(steps), file=sys.stdout):
        time.sleep(pause)
    print("\\x1b[32mgreen\\x1b[0m <b>not bold</b>")
    return {"steps": steps, "big": 9007199254740993}
"""
LINES = """
import time

def djsci_handler(request, lines: int = 400, pause: float = 0.01):
    for number in range(lines):
        print(f"line {number:05}", flush=True)
        time.sleep(pause)
"""
FAILS = """
def djsci_handler(request):
    print("before")
    raise KeyError("<img src=x onerror=alert(1)>")
"""


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request: pytest.FixtureRequest) -> Iterator[tuple[live.Site, live.Seeded]]:
    intervals = {"socket_bytes": 8192, "head": 2.0}
    with live.server(request.param, intervals=intervals) as running:
        thread = {"owner": "ada", "trusted": True, "settings": {"engine": "thread"}}
        report = {"report.ipynb": notebook(REPORT).decode()}
        yield (
            running,
            running.seed(
                {
                    "users": [{"name": "ada", "superuser": True}],
                    "files": [
                        {"name": "report", "owner": "ada", "files": report},
                        {"name": "lines", "files": {"lines.py": LINES}, **thread},
                        {"name": "fails", "files": {"fails.py": FAILS}, **thread},
                    ],
                }
            ),
        )


@pytest.fixture
def context(browser: Any, site: tuple[live.Site, live.Seeded]) -> Iterator[Any]:
    """A signed-in browser whose pages must neither fail nor break their policy."""
    made = browser.new_context(base_url=site[0].url, viewport={"width": 1280, "height": 900})
    session = site[1].sessions["ada"]
    made.add_cookies([{"name": "sessionid", "value": session, "url": site[0].url}])
    made.set_default_timeout(30_000)
    problems: list[str] = []
    made.on("weberror", lambda error: problems.append(str(error.error)))
    made.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
    # Violations of the page's own policy; a frame's blocked scripts are as it should be.
    made.add_init_script(
        "window.violations = [];"
        "addEventListener('securitypolicyviolation', (e) => violations.push(e.violatedDirective));"
    )
    yield made
    for page in made.pages:
        assert page.evaluate("window.violations") == []
    assert problems == []
    made.close()


def start(page: Any, name: str, **values: Any) -> None:
    page.goto(f"/djsci/console/files/{name}/")
    for key, value in values.items():
        page.fill(f"[name='p-{key}']", str(value))
    page.click("#run button")
    page.wait_for_url(re.compile(r"/console/runs/[^/]+/$"))


def wait_for_line(page: Any, text: str) -> None:
    """Until the log holds the text. (`wait_for_function` would need `unsafe-eval`.)"""
    page.locator("#log", has_text=text).wait_for()


def printed(page: Any) -> list[str]:
    text: str = page.locator("#log").evaluate("log => log.textContent")
    return text.split("\n")


def test_from_the_form_to_the_result(context: Any) -> None:
    page = context.new_page()
    start(page, "report", steps=40)
    page.wait_for_selector("#outputs img")
    page.wait_for_selector(".pill.running")
    wait_for_line(page, "/40")
    assert page.locator("#outputs img").evaluate("image => image.naturalWidth") > 100
    page.wait_for_selector(".pill.succeeded")
    wait_for_line(page, "not bold")
    bars = [line for line in printed(page) if "/40" in line]
    assert len(bars) == 1
    assert bars[0].startswith("100%")
    assert page.locator("#log span.f2").text_content() == "green"
    assert "<b>not bold</b>" in page.locator("#log").text_content()
    result = page.locator("#result pre").text_content()
    assert json.loads(result) == {"steps": 40, "big": 9007199254740993}
    frame = page.frame_locator("#outputs iframe")
    assert frame.locator("b").text_content() == "bold"
    assert "owned" not in page.title()


def test_a_reload_in_the_middle_shows_the_whole_log_once(context: Any) -> None:
    page = context.new_page()
    start(page, "lines", lines=300)
    wait_for_line(page, "line 00100")
    page.reload()
    wait_for_line(page, "line 00100")
    context.set_offline(True)
    page.wait_for_timeout(300)
    context.set_offline(False)
    page.wait_for_selector(".pill.succeeded")
    wait_for_line(page, "line 00299")
    wanted = [f"line {number:05}" for number in range(300)]
    assert [line for line in printed(page) if line] == wanted
    page.reload()
    wait_for_line(page, "line 00299")
    assert [line for line in printed(page) if line] == wanted


def test_without_sockets_the_page_polls(context: Any) -> None:
    context.route_web_socket("**/*", lambda socket: socket.close(code=1011))
    page = context.new_page()
    start(page, "lines", lines=50)
    page.wait_for_selector(".pill.succeeded")
    wait_for_line(page, "line 00049")
    assert len([line for line in printed(page) if line]) == 50


def test_cancel_is_answered_at_once(context: Any) -> None:
    page = context.new_page()
    start(page, "lines", lines=3000)
    wait_for_line(page, "line 00010")
    page.click("#cancel button")
    assert page.locator("#pill").text_content().strip() == "cancelling"
    page.wait_for_selector(".pill.cancelled")
    assert page.locator("#cancel").count() == 0
    assert page.locator("#again").is_visible()


def test_a_failure_says_what_and_where(context: Any) -> None:
    page = context.new_page()
    start(page, "fails")
    page.wait_for_selector(".pill.failed")
    page.wait_for_selector("#error details")
    assert "KeyError" in page.locator("#error p").text_content()
    assert "<img src=x" in page.locator("#error p").text_content()
    assert page.locator("#error img").count() == 0
    assert printed(page)[0] == "before"


def test_pages_fit_a_narrow_screen_and_work_without_scripts(
    browser: Any, site: tuple[live.Site, live.Seeded]
) -> None:
    context = browser.new_context(
        base_url=site[0].url, viewport={"width": 320, "height": 800}, java_script_enabled=False
    )
    session = site[1].sessions["ada"]
    context.add_cookies([{"name": "sessionid", "value": session, "url": site[0].url}])
    page = context.new_page()
    start(page, "lines", lines=3, pause=0)
    run = page.url
    for _ in range(100):
        page.goto(run)
        if page.locator(".pill.succeeded").count():
            break
    page.click("#log-title ~ a")
    assert page.locator("body").text_content() == "line 00000\nline 00001\nline 00002\n"
    for path in ("", "files/report/", "runs/"):
        page.goto(f"/djsci/console/{path}")
        box = page.locator("main").bounding_box()
        assert box["width"] <= 320, path
    context.close()
