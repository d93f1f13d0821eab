"""The executed notebook in a frame: what it shows, at which level, and its page."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from djsci.core import events
from djsci.models import Run
from djsci.web import notebook_document
from tests.conftest import MakeFile, notebook
from tests.web.conftest import MakeRun

from .test_frames import FRAMED, HOSTILE

HANDLER = "def djsci_handler(request, n: int = 1):\n    return n < 2"


@pytest.fixture
def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def path_of(run: Run) -> str:
    return f"/djsci/api/v1/runs/{run.pk}/notebook/frame/"


@pytest.fixture
def executed(make_file: MakeFile, make_run: MakeRun) -> Run:
    """A run of two cells that printed, displayed and failed."""
    document = json.loads(notebook("x = '<i>'", HANDLER))
    prose = {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# Title <script>1"}
    document["cells"].insert(0, prose)
    said = (
        events.Cell(index=1, count=2, state="start"),
        events.Stream(name="stdout", text="10%\r100%\n\x1b[31mred\x1b[0m <b>\n"),
        events.DisplayData(data={"text/html": HOSTILE, "text/plain": "no"}),
        events.DisplayData(data={"image/png": 'iVBO">', "text/plain": "no"}),
        events.DisplayData(data={"image/svg+xml": "<svg onload=1>"}),
        events.DisplayData(data={"application/json": {"a": ["</pre>"]}}),
        events.DisplayData(data={"text/plain": "plain <u>"}),
        events.DisplayData(data={"application/x-unknown": "nothing"}),
        events.DisplayData(data={"application/javascript": "element.x = 1"}),
        events.Cell(index=1, count=2, state="done"),
        events.Error(ename="KeyError", evalue="'<auc>'", traceback=("\x1b[31mTrace\x1b[0m <s>",)),
    )
    file = make_file(json.dumps(document), entry="it.ipynb", name="it")
    return make_run(file, *said, state="failed", parameters={"n": 2})


def test_the_frame_shows_what_ran_and_what_it_said(browser: Client, executed: Run) -> None:
    static, interactive = (
        browser.get(path_of(executed), {"level": level}, headers=FRAMED)
        for level in ("anything", "interactive")
    )
    body = static.content.decode()
    for text in (
        "<h1>Title &lt;script&gt;1</h1>",
        "&lt;i&gt;",
        '<span class="dj-k">def</span>',
        "100%\nred &lt;b&gt;\n</pre>",
        "<b>shown</b><script>top.x = 1</script>",
        'src="data:image/png;base64,iVBO&quot;&gt;"',
        'src="data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9MT4="',
        "&lt;/pre&gt;",
        "plain &lt;u&gt;",
        '<div id="output-8"></div>',
        "Trace &lt;s&gt;",
        "[1] · 0 s",
        "injected-parameters",
    ):
        assert text in body, text
    assert "100%" in body
    assert "10%\r" not in body
    assert "nothing" not in body
    assert not re.search(r"</?(?:iframe|meta (?!charset)|base|svg)\b", body, re.IGNORECASE)
    assert HOSTILE in interactive.content.decode()
    for answer, scripts in ((static, "'sha256-"), (interactive, "'unsafe-inline' 'unsafe-eval'")):
        policy = answer["Content-Security-Policy"]
        assert policy.startswith("sandbox allow-scripts; default-src 'none'; script-src " + scripts)
        assert answer["Connection-Allowlist"] == "()"
        assert "X-Frame-Options" not in answer
    assert "http" not in re.sub(r"http-equiv|URL=//e.x", "", body)


def test_the_notebook_opens_in_no_tab_and_not_before_the_runs_end(
    browser: Client, make_file: MakeFile, make_run: MakeRun, executed: Run
) -> None:
    for site, place in (("none", "document"), ("cross-site", "iframe")):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": place}
        alone = browser.get(path_of(executed), headers=headers)
        assert (alone.status_code, b"shown</b>" in alone.content) == (403, False)
    links = re.findall(r'href="([^"]+)"', alone.content.decode())
    assert [browser.get(link).status_code for link in links] == [200, 200]
    live = make_run(make_file(HANDLER), state="running")
    gone = make_run(make_file(HANDLER), pruned=True)
    for run, status in ((live, 409), (gone, 410)):
        told = browser.get(path_of(run), headers=FRAMED)
        assert (told.status_code, "cannot be shown" in told.content.decode()) == (status, True)
        page = browser.get(f"/djsci/console/runs/{run.pk}/notebook/")
        assert page.status_code == status
        assert f'href="/djsci/console/runs/{run.pk}/"' in page.content.decode()


def test_its_page_runs_scripts_for_the_uploader_and_for_who_clicked(
    browser: Client, executed: Run
) -> None:
    bob = get_user_model().objects.create_superuser("bob")
    other = Client()
    other.force_login(bob)
    path = f"/djsci/console/runs/{executed.pk}/notebook/"
    for answer, level in (
        (browser.get(path), "interactive"),
        (other.get(path), "static"),
        (other.get(f"{path}?level=interactive"), "static"),
        (other.post(path), "interactive"),
    ):
        page = answer.content.decode()
        assert f'sandbox="allow-scripts" src="{path_of(executed)}?level={level}"' in page
        assert ("Run its scripts" in page) == (level == "static")
    other.handler.enforce_csrf_checks = True
    assert other.post(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_a_large_notebook_stays_within_a_page(
    browser: Client, executed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook_document, "MOST_SHOWN", 100)
    monkeypatch.setattr(notebook_document, "MOST_MARKED", 0)
    monkeypatch.setattr(notebook_document, "MOST_TEXT", 5)
    body = browser.get(path_of(executed), headers=FRAMED).content.decode()
    assert "100%\n\n… 8 more characters" in body
    assert "This \n… " in body
    assert "shown</b>" not in body
    assert "plain" not in body
    assert '<span class="dj-k">' not in body
    assert "# Tit\n… " in body
