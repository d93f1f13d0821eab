"""Pages of runs: what a run page tells, its log as text, history, cancel and once more."""

import json
import re
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.test import AsyncClient, Client
from django.utils import timezone

from djsci import runs
from djsci.core import events
from djsci.models import LogRow, Run
from djsci.web import cells, pages_history, printed, result_diffs
from tests.conftest import MakeFile, notebook
from tests.web.conftest import MakeRun

CODE = "def djsci_handler(request, name: str = 'x'):\n    # a secret remark\n    return name"


@pytest.fixture
def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def bob(transactional_db: None) -> Any:
    return get_user_model().objects.create_user("bob")


@pytest.fixture
def stranger(bob: Any) -> Client:
    client = Client()
    client.force_login(bob)
    return client


def config_of(page: str) -> dict[str, Any]:
    """What the script of this page is told."""
    [(name, text)] = re.findall(
        r'<script id="(djsci-run-[^"]+)" type="application/json">(.*?)</script>', page
    )
    assert f'<djsci-run-console config="{name}">' in page
    config: dict[str, Any] = json.loads(text)
    return config


def printed_to(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


FAILED = events.Error(
    ename="KeyError",
    evalue="'<auc>'",
    traceback=("\x1b[0;31ma secret line\x1b[0m",),
    cell=2,
    line=7,
)


def test_a_run_page_tells_all_that_its_script_needs_and_shows_it_without(
    browser: Client, make_file: MakeFile, make_run: MakeRun
) -> None:
    code = notebook("def djsci_handler(request):\n    return 1 < 2", "'<b>'\n")
    file = make_file(code, entry="it.ipynb", name="it <script>")
    stream = events.Stream(name="stdout", text="10%\r100%\n\x1b[31mred\x1b[0m\n")
    error = json.loads(FAILED.to_json())
    run = make_run(file, stream, FAILED, state="failed", error=error, parameters={"a": "</script>"})
    page = browser.get(f"/djsci/console/runs/{run.pk}/").content.decode()
    config = config_of(page)
    path = f"/djsci/api/v1/runs/{run.pk}/"
    here = f"/djsci/console/runs/{run.pk}/"
    assert config.pop("csrf")
    assert abs(config.pop("now") - timezone.now().timestamp()) < 100
    assert config == {
        "run": run.pk,
        "ref": file.pk,
        "file": {"id": file.pk, "name": file.name, "url": f"/djsci/console/files/{file.pk}/"},
        "state": "failed",
        "reason": "",
        "abandoned": False,
        "head": 4,
        "pruned": False,
        "version": file.version.sha256,  # type: ignore[union-attr]
        "entry": "it.ipynb",
        "kind": "ipynb",
        "trigger": "api",
        "user": "ada",
        "engine": "fork",
        "isolation": "process",
        "parameters": {"a": "</script>"},
        "self": path,
        "events": f"{path}events/",
        "outputs": f"{path}outputs/",
        "notebook": f"{here}notebook/",
        "artifacts": f"{path}artifacts/",
        "log": f"{here}log.txt",
        "compare": f"/djsci/console/runs/compare/?run={run.pk}",
        "cancel": f"{here}cancel/",
        "page": here,
        "socket": None,
        "call": None,
        "edit": f"/djsci/console/files/{file.pk}/?from={run.pk}",
        "again": f"{here}again/",
        "may": {"cancel": True, "run": True, "read": True},
        "login": "/accounts/login/",
        "catalogue": "/djsci/console/",
        "created": run.created.timestamp(),
        "started": run.created.timestamp(),
        "ended": run.created.timestamp(),
        "elapsed": 1.5,
        "grace": 2,
        "heartbeat": 15,
        "timeout": 300,
        "queue": None,
        "interactive": True,
        "error": error,
        "result": None,
        "result_size": 0,
        "cells": [
            {"index": 1, "kind": "code", "name": ""},
            {"index": 2, "kind": "code", "name": ""},
        ],
    }
    first, second = re.findall(r'<template data-cell="\d">(.*?)</template>', page, re.DOTALL)
    assert '<span class="dj-k">def</span> <span class="dj-f">djsci_handler</span>' in first
    assert "</span> &lt; <span" in first
    assert "&lt;b&gt;" in second
    shown = page[page.index('class="dj-fallback"') :]
    for text in (
        "Failed: KeyError: &#x27;&lt;auc&gt;&#x27;, cell 2, line 7",
        ">\na secret line</pre>",
        "100%\nred\nKeyError",
        "&quot;a&quot;: &quot;&lt;/script&gt;&quot;",
        "Run again",
        "Edit and run",
        "log.txt?ansi=strip",
    ):
        assert text in shown, text
    assert not re.search(r"<[^>]*\s(?:style|on\w+)=", page)


def test_cells_stand_in_the_notebooks_order_and_stay_within_bounds(
    make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(notebook("a = 1", "def djsci_handler(request): pass"))
    for place, text in ((0, ["# Title\n", "text"]), (2, "between"), (4, "end")):
        document["cells"].insert(
            place, {"cell_type": "markdown", "id": f"m{place}", "metadata": {}, "source": text}
        )
    document["cells"].append({"cell_type": "raw", "id": "r", "metadata": {}, "source": "raw"})
    document["cells"][1]["metadata"]["tags"] = ["parameters"]
    file = make_file(json.dumps(document), entry="it.ipynb")
    assert file.version
    made = cells.of_version(file.version)
    assert [(cell.index, cell.kind, cell.name) for cell in made] == [
        (-1, "markdown", ""),
        (1, "code", "parameters"),
        (-2, "markdown", ""),
        (2, "code", ""),
        (-3, "markdown", ""),
    ]
    assert "<h3>Title</h3>" in str(made[0].markup)
    monkeypatch.setattr(cells, "MOST_CELLS", 2)
    made = cells.of_version(file.version)
    assert [cell.markup is None for cell in made] == [False, False, True, True, True]


def test_o7_who_may_not_read_the_source_sees_neither_cells_nor_traceback(
    stranger: Client, bob: Any, make_file: MakeFile, make_run: MakeRun
) -> None:
    file = make_file(
        notebook("def djsci_handler(request):\n    'a secret line'"),
        entry="it.ipynb",
        access="authenticated",
    )
    error = json.loads(FAILED.to_json())
    run = make_run(file, FAILED, state="failed", error=error, user=bob)
    page = stranger.get(f"/djsci/console/runs/{run.pk}/").content.decode()
    config = config_of(page)
    assert "secret" not in page
    assert not config["interactive"]
    assert (config["cells"], config["notebook"], config["error"]["traceback"]) == (None, None, [])
    assert config["may"] == {"cancel": True, "run": True, "read": False}
    text = printed_to(stranger.get(f"/djsci/console/runs/{run.pk}/log.txt"))
    assert text == "KeyError: '<auc>'\n"
    other = make_run(file)
    assert stranger.get(f"/djsci/console/runs/{other.pk}/").status_code == 404


async def test_over_asgi_there_are_sockets_and_a_queued_run_says_why(
    make_file: Any, make_run: Any, user: Any
) -> None:
    from djsci.access.database import in_database

    def made() -> tuple[Run, AsyncClient]:
        file = make_file(CODE)
        client = AsyncClient()
        client.force_login(user)
        make_run(file, state="queued")
        make_run(file, state="queued", queue="other")
        return make_run(file, state="queued"), client

    run, client = await in_database(made)
    page = (await client.get(f"/djsci/console/runs/{run.pk}/")).content.decode()
    config = config_of(page)
    assert config["socket"] == f"/djsci/ws/runs/{run.pk}/"
    assert config["call"] == f"/djsci/ws/call/{run.file_id}/"
    assert config["queue"] == {"ahead": 1}
    assert config["cells"] is None
    assert ": 1 ahead of you" in page
    answer = await client.get(f"/djsci/console/runs/{run.pk}/log.txt")
    assert [part async for part in answer.streaming_content] == [b""]


def test_a_pruned_run_keeps_its_result_and_says_that_the_log_is_gone(
    browser: Client, make_file: MakeFile, make_run: MakeRun
) -> None:
    run = make_run(make_file(CODE), result='{"n": 9007199254740993}', pruned=True)
    LogRow.objects.all().delete()
    page = browser.get(f"/djsci/console/runs/{run.pk}/").content.decode()
    assert config_of(page)["result"] == '{"n": 9007199254740993}'
    assert "past its retention" in page
    gone = browser.get(f"/djsci/console/runs/{run.pk}/log.txt")
    assert gone.status_code == 410
    assert f'href="/djsci/console/runs/{run.pk}/"' in gone.content.decode()


def test_a_log_is_text_in_small_parts_and_our_own_lines_stand_alone(
    browser: Client, make_file: MakeFile, make_run: MakeRun
) -> None:
    long = "é" * 100_000 + "\n"
    run = make_run(
        make_file(CODE),
        events.Stream(name="stdout", text="no end of line"),
        events.Log(level="warning", message="mind"),
        events.Stream(name="stdout", text="\x1b[3"),
        events.Stream(name="stderr", text="other "),
        events.Stream(name="stdout", text="1mred\x1b[0m\x1b]8;;http://e.x\x1b\\link\n"),
        *[events.Stream(name="stdout", text=long)] * 20,
        events.Truncated(dropped_bytes=12_400, dropped_lines=81, limit=10_485_760),
    )
    path = f"/djsci/console/runs/{run.pk}/log.txt"
    answer = browser.get(path)
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    parts = [part.decode() for part in answer.streaming_content]
    assert len(parts) > 4
    assert max(map(len, parts)) < 600_000
    assert "".join(parts) == (
        "no end of line\n[warning] mind\n\x1b[3other 1mred\x1b[0m\x1b]8;;http://e.x\x1b\\link\n"
        + long * 20
        + "[12,400 bytes, 81 lines not kept (limit 10,485,760 bytes)]\n"
    )
    plain = printed_to(browser.get(path, {"ansi": "strip"}))
    assert plain.startswith("no end of line\n[warning] mind\nother redlink\né")
    assert "\x1b" not in plain
    assert len(printed.tail(run.pk, most=1000)) <= 1001


def test_run_again_starts_the_same_once_and_says_what_no_longer_fits(
    browser: Client, stranger: Client, make_file: MakeFile
) -> None:
    from djsci import uploads
    from djsci.core import sources

    file = make_file(CODE, access="authenticated")
    first = browser.post(f"/djsci/console/files/{file.pk}/run/", {"p-name": "Ada"})
    run_id = first["Location"].rstrip("/").split("/")[-1]
    path = f"/djsci/console/runs/{run_id}/again/"
    again = [browser.post(path, {"key": "k"})["Location"] for _ in range(2)]
    assert again[0] == again[1] != first["Location"]
    assert async_to_sync(runs.finish)(run_id, wait=30)
    second = again[0].rstrip("/").split("/")[-1]
    assert async_to_sync(runs.finish)(second, wait=30)
    run = runs.get_now(second)
    assert (run.parameters, run.result, run.trigger) == ({"name": "Ada"}, '"Ada"', "form")
    assert stranger.post(path).status_code == 404
    code = b"def djsci_handler(request, name: int):\n    return name"
    uploads.bring(file, sources.read("handler.py", {"handler.py": code}), uploader=None)
    refused = browser.post(path)
    assert refused.status_code == 422
    page = refused.content.decode()
    assert f'href="/djsci/console/files/{file.pk}/?from={run_id}"' in page
    assert "<code>name</code>" in page
    assert Run.objects.count() == 2


def ids_of(page: str) -> list[str]:
    return re.findall(r'title="Run ([^"]+)"', page)


def test_history_turns_its_pages_both_ways_in_few_queries(
    browser: Client,
    make_file: MakeFile,
    make_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: Any,
) -> None:
    monkeypatch.setattr(pages_history, "PAGE_ITEMS", 3)
    file = make_file(CODE)
    same = timezone.now()
    made = [make_run(file, created=same, result='"' + "x" * 5000 + '"') for _ in range(8)]
    newest_first = sorted((run.pk for run in made), reverse=True)
    seen, pages, address = [], [], "/djsci/console/runs/"
    while address:
        with django_assert_max_num_queries(6):
            page = browser.get(address).content.decode()
        assert "x" * 200 not in page
        pages.append(ids_of(page))
        seen += pages[-1]
        links = dict(re.findall(r'rel="(prev|next)" href="([^"]+)"', page))
        address = f"/djsci/console/runs/{links['next']}" if "next" in links else ""
    assert seen == newest_first
    assert "prev" in links
    back = [pages[-1]]
    while "prev" in links:
        page = browser.get(f"/djsci/console/runs/{links['prev']}").content.decode()
        back.insert(0, ids_of(page))
        links = dict(re.findall(r'rel="(prev|next)" href="([^"]+)"', page))
    assert back[-2:] == pages[-2:]
    assert back[0] == newest_first[:3]
    assert browser.get("/djsci/console/runs/?older=nonsense").status_code == 400


def test_history_is_filtered_and_says_what_it_cannot_read(
    browser: Client, stranger: Client, bob: Any, make_file: MakeFile, make_run: MakeRun
) -> None:
    one, other = make_file(CODE, name="one"), make_file(CODE, name="other", access="authenticated")
    mine = make_run(one, state="failed", error={"ename": "E", "evalue": "<i>"})
    theirs = make_run(other, state="running", user=bob)
    for query, expected in (
        ("", {mine.pk, theirs.pk}),
        ("file=one", {mine.pk}),
        (f"file={other.pk}", {theirs.pk}),
        ("state=failed", {mine.pk}),
        ("state=live", {theirs.pk}),
        ("user=bob&state=", {theirs.pk}),
        ("since=2999-01-01", set()),
        ("file=one&user=bob", set()),
    ):
        page = browser.get(f"/djsci/console/runs/?{query}").content.decode()
        assert set(ids_of(page)) == expected, query
    assert "<i>" not in browser.get("/djsci/console/runs/").content.decode()
    assert ids_of(stranger.get("/djsci/console/runs/").content.decode()) == [theirs.pk]
    for query in ("state=odd", "since=soon", "file=%00"):
        wrong = browser.get(f"/djsci/console/runs/?{query}")
        assert wrong.status_code == 400
        assert 'role="alert"' in wrong.content.decode()


def test_bulk_cancel_takes_what_one_may_and_counts_it(
    browser: Client, stranger: Client, bob: Any, make_file: MakeFile, make_run: MakeRun
) -> None:
    file = make_file(CODE, access="authenticated")
    queued, ended = make_run(file, state="queued", user=bob), make_run(file, user=bob)
    others = make_run(file, state="queued")
    chosen = {"run": [queued.pk, ended.pk, others.pk, "none"]}
    page = stranger.get("/djsci/console/runs/?state=queued").content.decode()
    assert re.findall(r'name="run" value="([^"]+)"', page) == [queued.pk]
    assert 'formmethod="post" formaction="/djsci/console/runs/cancel/?state=queued"' in page
    answer = stranger.post("/djsci/console/runs/cancel/?state=queued&x=y", chosen)
    assert answer.status_code == 303
    assert answer["Location"] == "/djsci/console/runs/?state=queued&cancelled=1&left=3"
    assert runs.get_now(queued.pk).state == "cancelled"
    assert runs.get_now(others.pk).state == "queued"
    told = stranger.get(answer["Location"]).content.decode()
    assert "1 run is being cancelled. 3 had ended already, or are not yours to cancel." in told
    assert browser.get("/djsci/console/runs/cancel/").status_code == 405
    browser.post("/djsci/console/runs/cancel/", {"run": others.pk})
    assert runs.get_now(others.pk).state == "cancelled"


def test_news_are_counted_and_rows_stay(
    browser: Client, make_file: MakeFile, make_run: MakeRun
) -> None:
    file = make_file(CODE)
    live = make_run(file, state="running")
    page = browser.get("/djsci/console/runs/").content.decode()
    [address] = re.findall(r'hidden data-djsci-news="([^"]+)"', page)
    address = address.replace("&amp;", "&")
    assert browser.get(address).json() == {"new": 0, "ended": 0}
    make_run(file)
    make_run(make_file(CODE))
    Run.objects.filter(pk=live.pk).update(state="succeeded")
    assert browser.get(address).json() == {"new": 2, "ended": 1}
    assert browser.get(f"{address}&file={file.pk}").json() == {"new": 1, "ended": 1}
    page = browser.get(f"/djsci/console/runs/?older={'bnVsbA'}")
    assert page.status_code == 400


def test_two_runs_are_compared_the_earlier_one_first(
    browser: Client, make_file: MakeFile, make_run: MakeRun
) -> None:
    from djsci import uploads
    from djsci.core import sources

    file = make_file(CODE, name="it <b>")
    cells = [
        events.Status(state="starting"),
        events.Status(state="running"),
        events.Cell(index=1, count=1, state="start"),
        events.Cell(index=1, count=1, state="done"),
    ]
    old = make_run(
        file,
        *cells,
        parameters={"name": "<i>", "same": 1, "gone": None},
        result='{"a": [1, 2, 3], "b": 1, "c": {"d e": true}}',
        elapsed=3,
    )
    changed = sources.read("handler.py", {"handler.py": b"\n" + CODE.encode()})
    uploads.bring(file, changed, uploader=None)
    new = make_run(
        file,
        parameters={"name": "y", "same": 1, "new": 9007199254740993},
        result='{"a": [1, 9, 2, 3], "b": 1.0, "c": {"d e": 1}}',
        elapsed=1.5,
    )
    path = "/djsci/console/runs/compare/"
    page = browser.get(path, {"run": [new.pk, old.pk]}).content.decode()
    turned = browser.get(path, {"run": [old.pk, new.pk]}).content.decode()
    assert page.split("<main")[1] == turned.split("<main")[1]
    assert browser.get(path, {"run": new.pk}).content.decode().count(old.pk) >= 3
    rows = [
        [re.sub(r"\s+", " ", re.sub("<[^>]+>", "", cell)).strip() for cell in cells]
        for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL)
        if (cells := re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL))
    ]
    for row in (
        ["Outcome", "Succeeded, ran 3 s", "Succeeded, ran 1.5 s"],
        ["name differs", "&quot;&lt;i&gt;&quot;", "&quot;y&quot;"],
        ["same", "1", "1"],
        ["gone differs", "null", "not there"],
        ["new differs", "not there", "9007199254740993"],
        ["$.a[1]", "not there", "9"],
        ["$.b", "1", "1.0"],
        ["$.c[&quot;d e&quot;]", "true", "1"],
        ["Ran", "3 s", "1.5 s", "−1.5 s"],
        ["Started up", "0 s", "–", ""],
        ["Cell 1", "0 s", "–", ""],
    ):
        assert row in rows, (row, rows)
    assert len([row for row in rows if row[0].startswith("$")]) == 3
    sides = [run.version.sha256[:16] for run in (old, new)]
    changes = f"/djsci/console/files/{file.pk}/versions/diff/?from={sides[0]}&amp;to={sides[1]}"
    assert f'href="{changes}"' in page
    assert browser.get(changes.replace("&amp;", "&")).status_code == 200
    for link in ("log.txt?ansi=strip", "artifacts/", "result/"):
        assert all(f"/runs/{run.pk}/{link}" in page for run in (old, new)), link


def test_results_that_are_tables_are_compared_by_rows(
    browser: Client, make_file: MakeFile, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_file(CODE)
    tables = [
        [{"k": n, "v": n * n} for n in range(5)],
        [{"k": 0, "v": 0}, {"k": 1, "v": "<u>"}, *({"k": n, "v": n * n} for n in (2, 3, 4))],
        [{"k": 0, "v": 0}, {"k": 9, "v": 9, "w": 1}, *({"k": n, "v": n * n} for n in range(1, 5))],
    ]
    made = [make_run(file, result=json.dumps(table)) for table in tables]

    def rows(first: Run, second: Run) -> list[list[str]]:
        page = browser.get("/djsci/console/runs/compare/", {"run": [first.pk, second.pk]})
        table = page.content.decode().split('class="dj-table"')[1].split("</table>")[0]
        return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr>")[2:]]

    was, now = ('<del class="removed">{}</del>', '<ins class="added">{}</ins>')
    assert rows(made[0], made[1]) == [
        ["2", "1", f"{was} {now}".format("1", "&quot;&lt;u&gt;&quot;")]
    ]
    assert rows(made[0], made[2]) == [["2", now.format(9), now.format(9), now.format(1)]]
    monkeypatch.setattr(result_diffs, "MOST_SHOWN", 1)
    more = browser.get("/djsci/console/runs/compare/", {"run": [made[1].pk, made[2].pk]})
    assert "More differs than is shown here." in more.content.decode()


def test_a_comparison_says_what_it_cannot_tell(
    browser: Client, stranger: Client, bob: Any, make_file: MakeFile, make_run: MakeRun
) -> None:
    file, other = make_file(CODE), make_file(CODE, access="authenticated")
    first = make_run(file, result='{"a":1,"b":2}', pruned=True)
    second = make_run(file, state="failed", error={"ename": "E", "evalue": "<i>", "line": 3})
    third = make_run(file, result='{"b":2,"a":1}')
    stored = make_run(file, result_ref="0" * 64, result_size=5)
    huge = make_run(file, result_ref="1" * 64, result_size=1 << 30)
    live = make_run(other, state="running", user=bob)
    path = "/djsci/console/runs/compare/"

    def said(*named: Run) -> str:
        answer = browser.get(path, {"run": [run.pk for run in named]})
        assert answer.status_code == 200, answer.content
        return str(answer.content.decode())

    assert "past its retention" in said(first, second)
    assert "Only one of them has a result." in said(first, second)
    assert "Failed: E: &lt;i&gt;, line 3" in said(first, second)
    assert "its members in another order" in said(first, third)
    assert "not stored any more" in said(first, stored)
    assert "too large to be compared" in said(stored, huge)
    assert "Both gave the same result." in said(huge, make_run(file, result_ref="1" * 64))
    assert "Neither has a result." in said(second, live)
    assert "Changes</a>" not in said(second, live)
    for named, status in (
        ([], 400),
        ([first.pk] * 3, 404),  # the first of its file
        ([first.pk, second.pk, third.pk], 400),
        ([first.pk, "none"], 404),
        ([""], 404),
        (["\x00"], 404),
    ):
        assert browser.get(path, {"run": named}).status_code == status, named
    for named in ([first.pk, live.pk], [first.pk], [live.pk]):
        assert stranger.get(path, {"run": named}).status_code == 404, named
    theirs = make_run(other, user=bob)
    assert stranger.get(path, {"run": [live.pk, theirs.pk]}).status_code == 200
    page = browser.get("/djsci/console/runs/").content.decode()
    assert f'<form action="{path}">' in page
    assert re.findall(r'name="run" value="([^"]+)"', page)[0] == theirs.pk
