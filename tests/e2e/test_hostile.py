"""Hostile outputs, names and texts: shown as what they are, on every page."""

import json
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from . import attacks, console
from .handlers import EVIL, EVIL_NOTEBOOK
from .listeners import Listeners
from .sites import Place
from .waiting import until

SCRIPTED = {
    "text/html": "<p id=said>quiet</p><script>said.textContent = 'spoken ' + eval('1 + 1')</script>"
}


def test_o1_hostile_output_is_text_or_in_a_frame(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada")
    console.start(page, "hostile")
    console.wait_for_state(page, "succeeded", seconds=60)
    console.wait_for_line(page, "last", seconds=60)
    title = page.title()
    lines = console.printed(page)
    assert lines[0].split() == ["x", "x"]
    assert len(lines[0]) <= 10_010, "a column far to the right"
    assert lines[1] == "<script>alert(1)</script><img src=x onerror=alert(1)>"
    assert lines[2] == "linked after"
    assert "\u202e" not in "".join(lines)
    assert "evil" in lines[3]
    assert "202e" in lines[3].lower()
    log = page.get_by_role("log")
    assert log.locator("script, img, a").count() == 0
    assert "not kept" in page.locator(".dj-main").inner_text(), "20 MB in one line"
    assert max(len(line) for line in lines) < 30_000
    log.get_by_role("button", name="expand").click()
    until(page, lambda: max(len(line) for line in console.printed(page)) > 1_000_000)

    outputs = console.part(page, "Outputs")
    figures = outputs.locator("figure")
    assert figures.count() == 50
    assert page.locator("djsci-run-console iframe").count() <= 20
    assert figures.nth(0).locator("img").get_attribute("src").startswith("data:image/svg+xml")
    assert outputs.locator("script").count() == 0
    outputs.get_by_role("button", name="Show 50 more").click()
    until(page, lambda: figures.count() == 100)
    figures.nth(99).scroll_into_view_if_needed()
    figures.nth(99).locator("iframe").wait_for()
    until(page, lambda: page.locator("djsci-run-console iframe").count() <= 20)
    assert EVIL.split('"')[0][:5] in console.part(page, "Result").inner_text()
    assert page.title() == title
    assert page.evaluate("({}).x") is None, "no prototype was touched"


MORE = [
    "[x](javascript:alert(1)) javascript:alert(1)",
    "$$\\href{javascript:alert(1)}{x}$$ \\(\\unicode{<img src=x onerror=alert(1)>}\\)",
    "data:text/html,<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</textarea></title></style><svg onload=alert(1)>",
    "]]><math><mtext><style><img title='</style><img src=x onerror=alert(1)>'>",
    "&lt;img src=x onerror=alert(1)&gt;<!--",
]


def test_o1_no_text_of_a_run_becomes_more_than_text(open_as: Any, daphne: Place) -> None:
    """In stdout, stderr, logs, progress, displays, the result, the error, the parameters."""
    with Listeners() as listeners:
        payloads = attacks.outputs(listeners.tcp_port, listeners.udp_port)
        texts = [*payloads.values(), *MORE]
        page = open_as(daphne, "ada")
        for fails in (False, True):
            run = daphne.run("says", {"texts": texts, "fails": fails})
            console.watch(page, run)
            console.wait_for_state(page, "failed" if fails else "succeeded", seconds=60)
            console.wait_for_line(page, MORE[0])
            shown = "\n".join(console.printed(page))
            assert [text for text in texts if text not in shown] == []
            log = page.get_by_role("log")
            assert log.locator("img, script, a, svg, iframe").count() == 0
            if not fails:
                console.part(page, "Result").locator("[role=treeitem]").first.wait_for()
            for path in ("/runs/", f"/runs/{run}/log.txt", f"/files/says/?from={run}"):
                page.goto(f"/djsci/console{path}")
            page.goto(f"/djsci/api/v1/runs/{run}/events/")
            page.goto(f"/djsci/api/v1/runs/{run}/result/")
        assert listeners.hits == set()


def test_o9_a_handlers_page_has_no_origin_and_no_scripts(open_as: Any, daphne: Place) -> None:
    reads = (
        "<p id=said>quiet</p><script>said.textContent = 'spoken';"
        "fetch('/djsci/api/v1/files/').then((a) => a.text()).then((t) => said.textContent = t);"
        "</script><img src=x onerror=\"said.textContent = 'spoken'\">"
        "<a href=\"javascript:said.textContent = 'spoken'\">go</a>"
        "<iframe src='/djsci/api/v1/files/'></iframe><iframe srcdoc='<script>top.x = 1</script>'>"
        "</iframe><form action='/djsci/api/v1/tokens/' method=post><button>send</button></form>"
    )
    page = open_as(daphne, "ada", tolerate="error|violation")
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    page.goto(f"/djsci/call/answers/?body={quote(reads)}")
    assert page.evaluate("origin") == "null"
    assert page.locator("#said").text_content() == "quiet"
    page.get_by_text("go").click(no_wait_after=True)
    page.get_by_text("send").click(no_wait_after=True)
    page.wait_for_timeout(500)
    assert page.locator("#said").text_content() == "quiet"
    assert [url for url in asked if "/api/v1/" in urlsplit(url).path] == []
    read = "fetch('/djsci/api/v1/files/').then((answer) => answer.text()).catch(() => 'refused')"
    assert page.evaluate(read) == "refused"


def test_scripts_run_for_whom_and_when_they_should(open_as: Any, daphne: Place) -> None:
    """At once for the uploader, or where the file says so; for others after a click."""
    said = "section[aria-label=Outputs] iframe"
    for name, user, is_at_once in (
        ("show", "ada", True),
        ("show", "bob", False),
        ("show_interactive", "bob", True),
    ):
        run = daphne.run(name, {"bundles": [SCRIPTED]}, user=user)
        page = open_as(daphne, user)
        console.watch(page, run)
        output = page.locator(said).last.content_frame.locator("#said")
        offer = page.get_by_role("button", name="Run its scripts")
        if is_at_once:
            output.filter(has_text="spoken 2").wait_for()
            assert offer.count() == 0
            continue
        offer.wait_for()
        assert output.text_content() == "quiet"
        assert "could send away" in console.part(page, "Outputs").inner_text()
        offer.click()
        output.filter(has_text="spoken 2").wait_for()
        assert offer.count() == 0
        page.reload()
        offer.wait_for()


def test_a_frame_cannot_resize_itself_without_end_or_lie_about_who_it_is(
    open_as: Any, daphne: Place
) -> None:
    lies = [
        "<script>for (let i = 0; i < 500; i++)"
        " parent.postMessage({height: 1e9 + i, blocked: 'x'}, '*');</script>x",
        "<script>parent.postMessage({height: 90000, blocked: -5, run: 1}, '*');</script>x",
        "<script>parent.frames[0].postMessage({height: 5, blocked: 5}, '*');</script>x",
        "<p style='height: 5000px'>tall</p>",
    ]
    run = daphne.run("show_interactive", {"bundles": [{"text/html": lie} for lie in lies]})
    page = open_as(daphne, "ada")
    console.watch(page, run)
    frames = page.locator("section[aria-label=Outputs] iframe")
    until(page, lambda: frames.count() == len(lies))
    expand = console.part(page, "Outputs").locator("figure").last.get_by_role("button")
    expand.filter(has_text="Expand").wait_for()
    for place in range(len(lies)):
        assert 24 <= frames.nth(place).bounding_box()["height"] <= 600
    expand.click()
    until(page, lambda: frames.last.bounding_box()["height"] > 5000)


@pytest.fixture(scope="module")
def evil(daphne: Place) -> dict[str, str]:
    """A file whose every text is hostile, and a run of it."""
    files = {"file": ("evil<b>.ipynb", json.dumps(EVIL_NOTEBOOK).encode())}
    answer = httpx.post(
        f"{daphne.url}/djsci/api/v1/files/",
        files=files,
        data={"name": EVIL},
        headers=daphne.made.bearer("ada"),
    )
    assert answer.status_code == 201, answer.text
    file: str = answer.json()["id"]
    token = f"{daphne.url}/djsci/api/v1/tokens/"
    assert httpx.post(token, json={"name": EVIL}, headers=daphne.made.bearer("ada")).is_error
    daphne.shell(
        "from djsci.models import PrivateFile, Token\n"
        f"Token.objects.filter(user__username='ada').update(name={EVIL!r})\n"
        f"PrivateFile.objects.filter(pk={file!r}).update(access='authenticated', "
        f"notes={EVIL!r}, metadata={{{EVIL!r}: [{EVIL!r}]}})"
    )
    made = daphne.site.seed({"users": [{"name": EVIL}]})
    daphne.made.tokens.update(made.tokens)
    return {"file": file, "run": daphne.run(file, {"text": EVIL}, user=EVIL)}


def test_o2_hostile_names_are_text_on_every_page(
    open_as: Any, daphne: Place, evil: dict[str, str]
) -> None:
    page = open_as(daphne, "ada")
    file = f"/djsci/console/files/{evil['file']}"
    paths = ["", "/runs/", f"/runs/?file={evil['file']}", f"/runs/?state={EVIL}", f"/?q={EVIL}"]
    paths += ["/tokens/", "/health/", f"/files/{evil['file']}/?from={evil['run']}"]
    paths = [f"/djsci/console{path}" for path in paths]
    paths += [f"{file}/{tab}/" for tab in ("source", "versions", "api", "settings")]
    shown = 0
    for path in paths:
        page.goto(path)
        assert page.locator("img:not([src^='data:'])").count() == 0, path
        shown += "onerror=alert(1)" in page.locator("body").inner_text()
        assert "{{" not in page.locator("body").inner_text().replace("{{7*7}}", ""), path
    assert shown >= 9
    run, user = evil["run"], "auth/user/?q=img"
    for path in (
        "", "djsci/privatefile/", f"djsci/privatefile/{evil['file']}/change/", "djsci/run/",
        f"djsci/run/{run}/change/", "djsci/token/", "djsci/audit/", user,
        f"djsci/privatefile/{evil['file']}/history/", f"djsci/privatefile/{evil['file']}/delete/",
    ):  # fmt: skip
        page.goto(f"/admin/{path}")
        assert page.locator("[onerror]").count() == 0, path
    console.watch(page, evil["run"])
    console.wait_for_state(page, "failed")
    head = page.locator("djsci-run-console header")
    assert head.inner_text().count("onerror=alert(1)") >= 2
    assert head.locator("img").count() == 0
    page.get_by_role("button", name="Notebook").click()
    page.locator("#cell-1").wait_for()
    assert page.locator("djsci-run-console img").count() == 0
