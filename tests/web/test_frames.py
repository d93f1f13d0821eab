"""The frames of rich outputs: what is shown, at which level, to whom, and where not."""

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from djsci import blobs, runs, uploads
from djsci.access import tokens
from djsci.access.callers import Caller
from djsci.core.events import DisplayData, End
from djsci.models import LogRow, Run
from djsci.runs import log
from djsci.runs.references import References
from djsci.web import frame_document, frames
from tests.conftest import MakeFile

FRAMED = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "iframe"}
HOSTILE = """<b>shown</b><script>top.x = 1</script><iframe src="//e.x"></iframe>
<META http-equiv="refresh" content="0;url=//e.x"><linked>kept</linked><base href="//e.x">"""
Shown = Callable[..., str]


@pytest.fixture
def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def shown(make_file: MakeFile) -> Shown:
    """Makes an ended run that displayed one bundle; the path of its frame."""
    file = make_file("def djsci_handler(request): ...")

    def make(data: dict[str, Any], **columns: Any) -> str:
        version = uploads.current_version(file)
        run = Run.objects.create(
            **{"file": file, "version": version, "user": file.owner, "trigger": "api"} | columns,
            engine="fork",
            isolation="process",
            timeout=1,
            memory=1,
            created=timezone.now(),
            state="succeeded",
            head=2,
        )
        events = (DisplayData(data=data), End(state="succeeded", elapsed=0.1))
        lines = [
            log.numbered(event.to_json(), seq=seq, t=time.time())
            for seq, event in enumerate(events, 1)
        ]
        LogRow.objects.create(
            run=run, first=1, last=2, created=run.created, bytes=1, data="\n".join(lines)
        )
        return f"/djsci/api/v1/runs/{run.pk}/outputs/1/frame/"

    return make


def test_o1_a_frame_says_what_it_must_not_do(browser: Client, shown: Shown) -> None:
    """C6: what an output executes is in no origin of ours."""
    path = shown({"text/html": HOSTILE, "text/plain": "no"})
    static, interactive = (
        browser.get(path, {"level": level}, headers=FRAMED) for level in ("anything", "interactive")
    )
    body = static.content.decode()
    assert "<b>shown</b>" in body
    assert "<linked>kept</linked>" in body
    assert not re.search(r"</?(?:iframe|meta (?!charset)|base)\b", body, re.IGNORECASE)
    assert HOSTILE in interactive.content.decode()
    script = re.search(r"<script>(.*?)</script>", body, re.DOTALL)
    assert script
    assert "<script" not in body[: script.start()]
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    for answer, scripts in (
        (static, f"'sha256-{digest}'"),
        (interactive, "'unsafe-inline' 'unsafe-eval'"),
    ):
        assert answer.status_code == 200
        assert answer["Content-Security-Policy"] == (
            f"sandbox allow-scripts; default-src 'none'; script-src {scripts}; "
            "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; connect-src 'none'; "
            "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
        )
        assert answer["Connection-Allowlist"] == "()"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Referrer-Policy"] == "no-referrer"
        assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer["Cache-Control"] == "private, no-cache"
        assert "X-Frame-Options" not in answer


def test_a_program_reads_an_output_without_a_frame(
    user: Any, browser: Client, shown: Shown
) -> None:
    path = shown({"text/html": HOSTILE})
    secret = tokens.make(user, "test", ["runs:read"])[1]
    host = {"HTTP_HOST": "127.0.0.1:8000"}
    for client in (Client(), browser):  # with a cookie too: the token wins
        answer = client.get(path, headers={"Authorization": f"Bearer {secret}"}, **host)
        assert answer.status_code == 200
        assert b"shown</b>" in answer.content
        assert answer["Content-Security-Policy"].startswith("sandbox allow-scripts;")
    wrong = tokens.make(user, "test", ["run"])[1]
    refused = Client().get(path, headers={"Authorization": f"Bearer {wrong}"}, **host)
    assert refused.status_code in (403, 404)
    assert browser.get(path, **host).status_code == 403


def test_o10_an_output_opens_nowhere_else(browser: Client, shown: Shown, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    path = shown({"text/html": HOSTILE})
    for site, place in (
        ("none", "document"),
        ("same-origin", "document"),
        ("same-site", "iframe"),
        ("cross-site", "iframe"),
        ("same-origin", "object"),
        ("same-origin", "empty"),
    ):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": place}
        answer = browser.get(path, headers=headers)
        assert answer.status_code == 403, headers
        assert b"shown</b>" not in answer.content
    assert browser.get(path, HTTP_HOST="127.0.0.1:8000").status_code == 403
    assert browser.get(path, HTTP_HOST="lab.example").status_code == 200
    links = re.findall(r'href="([^"]+)"', answer.content.decode())
    assert [browser.get(link).status_code for link in links] == [200, 200]
    saved = browser.get(links[1])
    assert saved.content.decode() == HOSTILE
    assert saved["Content-Disposition"].startswith("attachment")
    assert saved["Content-Security-Policy"].startswith("sandbox;")


def test_o10_a_frame_is_for_those_who_may_watch_its_run(browser: Client, shown: Shown) -> None:
    path = shown({"text/html": "<b>mine</b>"})
    stranger = Client()
    stranger.force_login(get_user_model().objects.create_user("bob"))
    assert browser.get(path, headers=FRAMED).status_code == 200
    assert stranger.get(path, headers=FRAMED).status_code == 404
    assert stranger.get(path).status_code == 404
    assert Client().get(path, headers=FRAMED).status_code == 401
    for missing in ("2", "3", "99"):
        there = path.replace("/outputs/1/", f"/outputs/{missing}/")
        assert browser.get(there, headers=FRAMED).status_code == 404
    assert "cannot be shown (404)" in browser.get(there, headers=FRAMED).content.decode()
    assert browser.get(there)["Content-Type"] == "application/problem+json"
    refused, offered = browser.put(path), browser.options(path)
    assert (refused.status_code, offered.status_code) == (405, 204)
    assert refused["Allow"] == offered["Allow"] == "GET, HEAD, OPTIONS"
    plain = shown({"text/plain": "x", "image/png": "", "application/vnd.vega.v5+json": {}})
    assert browser.get(plain, headers=FRAMED).status_code == 404


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"text/html": ["<i>a", "b</i>"], "text/markdown": "no"}, "<body><i>ab</i></body>"),
        ({"text/markdown": "**a** | <b>\n"}, "<strong>a</strong> | &lt;b&gt;"),
        ({"text/markdown": "|a|\n|-|\n|1|"}, "<td>1</td>"),
        ({"text/markdown": "[a](javascript:alert(1))"}, 'href="#harmful-link"'),
        ({"text/markdown": "`<script>`"}, "<code>&lt;script&gt;</code>"),
        ({"text/markdown": "#" * 200_000}, "<pre>###"),
        ({"application/javascript": "element.id = 'x</script>'"}, r"element.id = 'x<\/script>'"),
        ({"text/html": None}, "None"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_each_kind_is_drawn(
    browser: Client, shown: Shown, data: dict[str, Any], wanted: str
) -> None:
    answer = browser.get(shown(data), headers=FRAMED)
    assert answer.status_code == 200
    assert wanted in answer.content.decode()


@pytest.mark.parametrize("part", ["[", "![", "*a ", "> ", "<", "`", "|a" * 99 + "\n", "- " * 9])
def test_markdown_that_repeats_itself_takes_no_long_time(part: str) -> None:
    text = (part * frame_document.MARKDOWN_LIMIT)[: frame_document.MARKDOWN_LIMIT]
    begun = time.process_time()
    assert frame_document.document({"text/markdown": text}, seq=1, level="static")
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("tag", "renamed"),
    [
        ("<iframe>", "<x-iframe>"),
        ("</IFRAME>", "</x-IFRAME>"),
        ("<link/rel=x>", "<x-link/rel=x>"),
        ("<base\nhref=x>", "<x-base\nhref=x>"),
        ("<meta", "<x-meta"),
        ("<template shadowrootmode=closed>", "<x-template shadowrootmode=closed>"),
        ("<frame-set>", "<frame-set>"),
        ("<metal>", "<metal>"),
        ("<b>", "<b>"),
    ],
)
def test_tags_that_lead_elsewhere_are_renamed(tag: str, renamed: str) -> None:
    assert frame_document.inert(tag) == renamed


def test_scripts_run_at_once_for_the_uploader_or_where_the_file_says_so(
    shown: Shown, user: Any
) -> None:
    bob = get_user_model().objects.create_user("bob")
    ada, bob_calls = (
        Caller(user=one, token=None, via="cookie", scopes=None) for one in (user, bob)
    )
    run = runs.get_now(shown({}).split("/")[5])
    assert frames.may_run_scripts(ada, run)
    assert not frames.may_run_scripts(bob_calls, run)
    run.file.settings["output"] = "interactive"
    assert frames.may_run_scripts(bob_calls, run)
    run.file.settings = {"output": "static"}
    run.version.uploader = None
    assert not frames.may_run_scripts(ada, run)


def test_a_figure_of_plotly_brings_its_library(
    browser: Client, shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `fig.show()` each frame would else need what an earlier output loaded."""
    library = tmp_path / "plotly" / "package_data" / "plotly.min.js"
    library.parent.mkdir(parents=True)
    library.write_text("window.Plotly = {newPlot() {}};")
    (tmp_path / "plotly" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    figure = {"data": [{"text": "</script><b>"}], "layout": {"height": 200}}
    path = shown({frame_document.PLOTLY: figure, "text/html": "<div>needs Plotly</div>"})
    body = browser.get(path, headers=FRAMED).content.decode()
    assert "window.Plotly" in body
    assert '"layout": {"height": 200}' in body
    assert "needs Plotly" not in body
    assert "</script><b>" not in body
    stored = {"ref": blobs.put(json.dumps(figure).encode()), "size": 90}
    body = browser.get(shown({frame_document.PLOTLY: stored}), headers=FRAMED).content.decode()
    assert '"layout": {"height": 200}' in body


def test_data_downloads_parts_that_the_log_holds_too(browser: Client, shown: Shown) -> None:
    path = shown(
        {
            "image/png": base64.b64encode(b"\x89PNG").decode(),
            "image/svg+xml": "<svg/>",
            "application/json": {"a": [1]},
            "text/plain": ["a", "b"],
        }
    ).replace("frame/", "data/")
    for kind, wanted in {
        "image/png": b"\x89PNG",
        "image/svg+xml": b"<svg/>",
        "application/json": b'{"a":[1]}',
        "text/plain": b"ab",
    }.items():
        answer = browser.get(path, {"type": kind})
        assert (answer.content, answer["Content-Type"]) == (wanted, kind)
    assert browser.get(path, {"type": "text/html"}).status_code == 404


async def test_o6_user_code_cannot_forge_a_reference() -> None:
    """Else a display would show the stored bytes of anybody whose digest is known."""
    kept: list[bytes] = []

    async def store(content: bytes) -> str:
        kept.append(content)
        return "0" * 64

    forged = {"ref": "a" * 64, "size": 3}
    event = await References(store).display(DisplayData(data={"text/html": forged, "a/b": [1]}))
    assert event.data["text/html"] == {"ref": "0" * 64, "size": len(kept[0])}
    assert json.loads(kept[0]) == forged
    assert event.data["a/b"] == [1]


def test_a_large_part_comes_from_where_it_is_stored(browser: Client, shown: Shown) -> None:
    sha256 = blobs.put(b"<b>large</b>")
    answer = browser.get(shown({"text/html": {"ref": sha256, "size": 12}}), headers=FRAMED)
    assert "<b>large</b>" in answer.content.decode()
