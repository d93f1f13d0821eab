"""Classic URLs and `call/`: an HTTP request runs a file."""

import importlib
import json
import os
import sys
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.middleware.csrf import get_token
from django.test import AsyncClient, Client, override_settings
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from djsci import conf, form_bodies
from djsci.access.database import in_database
from djsci.models import Run
from djsci.web import tables
from tests.conftest import MakeFile, notebook

from .conftest import MakeClient, problem_of, read

ECHO = """
def djsci_handler(request, n: int = 1, word: str = ""):
    return {
        "method": request.method, "path": request.path, "path_info": request.path_info,
        "n": n, "word": word, "GET": dict(request.GET), "POST": dict(request.POST),
        "cookies": dict(request.COOKIES), "headers": sorted(request.headers),
        "user": request.user.username, "body": request.body.decode("latin-1"),
        "files": {name: [f.name, f.size, f.read().decode()] for name, f in request.FILES.items()},
    }
"""
FAILS = """
def djsci_handler(request):
    print("before")
    raise KeyError("auc")
"""
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture
def echo(make_file: MakeFile) -> Any:
    return make_file(ECHO, name="echo", engine="thread")


async def count_runs() -> int:
    return await Run.objects.acount()


async def test_the_root_answers_everyone(db):
    for path in ("/djsci/", "/djsci"):
        answer = await AsyncClient().get(path)
        assert (answer.status_code, answer.content) == (200, b'"djsci_api_root"')
        assert answer["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert (await AsyncClient().head("/djsci/")).status_code == 200
    assert problem_of(await AsyncClient().post("/djsci/"))["type"] == "bad_method"


@pytest.mark.parametrize("url", ["sync_py/echo/", "sync_ipynb/echo", "sync_py/{id}", "call/echo/"])
async def test_a_file_runs_at_each_address(echo, program, url):
    answer = await program.get(f"/djsci/{url.format(id=echo.pk)}?n=7&word=a%20b")
    assert answer.status_code == 200, answer.content
    said = answer.json()
    assert (said["n"], said["word"], said["method"]) == (7, "a b", "GET")
    assert said["user"] == "ada"


@pytest.mark.parametrize("name", ["a b.c", "100%", "a+b", "a?x", "x#y"])
async def test_a_name_is_found_as_it_is_encoded_in_the_address(make_file, program, name):
    await in_database(make_file, ECHO, name=name, engine="thread")
    answer = await program.get(f"/djsci/sync_py/{quote(name, safe='')}/")
    assert answer.status_code == 200, answer.content


async def test_a_name_with_a_slash_is_reached_by_id_only(echo, program):
    await type(echo).objects.filter(pk=echo.pk).aupdate(name="a/b")
    assert (await program.get("/djsci/sync_py/a%2Fb/")).status_code == 404
    assert (await program.get(f"/djsci/sync_py/{echo.pk}/")).status_code == 200


async def test_path_info_is_the_rest_of_the_address(echo, program):
    said = (await program.get("/djsci/call/echo/a/b.txt")).json()
    assert (said["path"], said["path_info"]) == ("/djsci/call/echo/a/b.txt", "/a/b.txt")
    assert (await program.get("/djsci/call/echo")).json()["path_info"] == "/"


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
async def test_call_takes_any_method(echo, program, method):
    answer = await getattr(program, method)("/djsci/call/echo/")
    assert answer.json()["method"] == method.upper()


async def test_parameters_come_from_query_form_and_json_the_later_wins(echo, program):
    form = await program.post("/djsci/call/echo/?n=1&word=q", {"n": "2", "unknown": "x"})
    assert (form.json()["n"], form.json()["word"]) == (2, "q")
    sent = await program.post(
        "/djsci/call/echo/?n=1&word=q", {"n": 3}, content_type="application/json"
    )
    assert (sent.json()["n"], sent.json()["word"]) == (3, "q")
    listed = await program.post("/djsci/call/echo/", b"[1]", content_type="application/json")
    assert listed.json()["body"] == "[1]"


async def test_a_wrong_parameter_is_refused_before_there_is_a_run(echo, program):
    refused = problem_of(await program.get("/djsci/call/echo/?n=x"))
    assert (refused["type"], refused["errors"][0]["field"]) == ("bad_parameters", "n")
    other = "application/x-www-form-urlencoded; charset=utf-16"
    broken = await program.post("/djsci/call/echo/", b"n=1", content_type=other)
    assert problem_of(broken)["type"] == "bad_request"
    broken = await program.post("/djsci/call/echo/", b"{", content_type="application/json")
    assert problem_of(broken)["type"] == "bad_request"
    twice = b'{"n": 1, "n": 2}'
    odd = await program.post("/djsci/call/echo/", b'{"n": NaN}', content_type="application/json")
    assert problem_of(odd)["type"] == "bad_parameters"
    odd = await program.post("/djsci/call/echo/", twice, content_type="application/json")
    assert problem_of(odd)["type"] == "bad_parameters"
    assert await count_runs() == 0


WEBHOOK = """
def djsci_handler(request):
    return [request.body.decode("latin-1"), sorted(request.GET), dict(request.parameters)]
"""


@pytest.mark.parametrize(
    "body",
    ["{bad", '{"a":1,"a":2}', '{"a":NaN}', "[" * 150 + "]" * 150, "[NaN]", '"\\ud800"', "\xff"],
    ids=["no JSON", "twice", "NaN", "deep", "a list", "surrogate", "no UTF-8"],
)
@pytest.mark.parametrize("address", ["call", "sync_py"])
async def test_a_body_is_no_parameters_where_the_handler_takes_none(
    make_file, program, address, body
):
    file = await in_database(make_file, WEBHOOK, engine="thread")
    path = f"/djsci/{address}/{file.pk}/?zz=%00&yy=%ff"
    sent = body.encode("latin-1")
    answer = await program.post(path, sent, content_type="application/json")
    assert answer.json() == [body, ["yy", "zz"], {"yy": "\ufffd"}], answer.content
    run = await Run.objects.alatest("created")
    assert run.parameters == {"yy": "\ufffd"}
    assert "\x00" not in run.request
    assert "u0000" not in run.request


async def test_a_handler_without_parameters_still_finds_what_fits_among_them(make_file, program):
    file = await in_database(make_file, WEBHOOK, engine="thread")
    path = f"/djsci/call/{file.pk}/?a=1&b=2"
    answer = await program.post(path, {"b": [3]}, content_type="application/json")
    assert answer.json()[2] == {"a": "1", "b": [3]}


@pytest.mark.parametrize("parameters", ["n: int = 1", "**rest"])
async def test_a_handler_that_takes_parameters_refuses_what_cannot_be_kept(
    make_file, program, parameters
):
    code = f"def djsci_handler(request, {parameters}):\n    return 1"
    file = await in_database(make_file, code, engine="thread")
    for body, kind in (("{bad", "bad_request"), ('{"a":NaN}', "bad_parameters")):
        answer = await program.post(
            f"/djsci/call/{file.pk}/", body.encode(), content_type="application/json"
        )
        assert problem_of(answer)["type"] == kind
    assert (await program.get(f"/djsci/call/{file.pk}/?n=2&zz=a")).status_code == 200


async def test_too_many_fields_are_named(echo, program):
    fields = "&".join(f"f{number}=1" for number in range(1001))
    form = {"content_type": "application/x-www-form-urlencoded"}
    for told in (
        await program.post("/djsci/call/echo/", fields, **form),
        await program.put("/djsci/call/echo/", fields, **form),
        await program.get(f"/djsci/call/echo/?{fields}"),
    ):
        detail = problem_of(told)["detail"]
        assert (told.status_code, detail) == (400, "A form or a query has more than 1000 fields.")
    parts = {f"f{number}": SimpleUploadedFile("a", b"") for number in range(101)}
    told = problem_of(await program.post("/djsci/call/echo/", parts))
    assert told["detail"] == "A form has more than 100 files."


async def test_uploaded_files_reach_the_handler(echo, program):
    part = SimpleUploadedFile("a.csv", b"1,2", content_type="text/csv")
    said = (await program.post("/djsci/call/echo/", {"table": part, "n": "4"})).json()
    assert said["files"] == {"table": ["a.csv", 3, "1,2"]}
    assert said["n"] == 4


async def test_a_large_body_reaches_the_handler_and_a_larger_one_does_not(make_file, program):
    await in_database(
        make_file,
        "def djsci_handler(request):\n    return len(request.body)",
        name="size",
        engine="thread",
    )
    body = b"x" * (4 << 20)
    answer = await program.post("/djsci/call/size/", body, content_type="text/plain")
    assert answer.json() == len(body)
    with override_settings(DJSCI={"UPLOAD_LIMIT": 1 << 20}):
        answer = await program.post("/djsci/call/size/", body, content_type="text/plain")
    assert problem_of(answer)["type"] == "too_large"


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
async def test_a_form_is_read_whatever_the_method(echo, program, method):
    send = getattr(program, method)
    form = "application/x-www-form-urlencoded"
    said = (await send("/djsci/call/echo/?n=1", "n=6&word=a+b", content_type=form)).json()
    assert (said["n"], said["word"], said["POST"]) == (6, "a b", {"n": "6", "word": "a b"})
    part = SimpleUploadedFile("a.csv", b"1,2", content_type="text/csv")
    body = encode_multipart(BOUNDARY, {"table": part, "n": "4"})
    said = (await send("/djsci/call/echo/", body, content_type=MULTIPART_CONTENT)).json()
    assert (said["n"], said["files"]) == (4, {"table": ["a.csv", 3, "1,2"]})
    other = await send("/djsci/call/echo/", b"n=1", content_type=f"{form}; charset=utf-16")
    assert problem_of(other)["type"] == "bad_request"
    broken = await send("/djsci/call/echo/", b"n=1", content_type="multipart/form-data")
    assert problem_of(broken)["type"] == "bad_request"


def test_a_form_that_comes_in_chunks_is_read(rf):
    part = SimpleUploadedFile("a.csv", b"1,2", content_type="text/csv")
    body = encode_multipart(BOUNDARY, {"table": part, "n": "4"})
    request = rf.generic("POST", "/", body, content_type=MULTIPART_CONTENT)
    del request.META["CONTENT_LENGTH"]
    fields, files = form_bodies.read(request, body)
    assert (fields.dict(), files["table"].read()) == ({"n": "4"}, b"1,2")


FORM_FIELD = "csrfmiddlewaretoken"


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
async def test_the_callers_csrf_token_is_in_no_part_of_the_request(make_file, browser, rf, kind):
    code = """
def djsci_handler(request):
    return [request.body.decode("latin-1"), dict(request.POST),
            request.META["CONTENT_LENGTH"], request.headers["Content-Length"]]
"""
    file = await in_database(make_file, code, engine="thread")
    token = get_token(rf.get("/"))
    browser.cookies["csrftoken"] = token
    fields = {"a": "1", FORM_FIELD: token, "b": "x\r\n--y"}
    kept = {name: text for name, text in fields.items() if name != FORM_FIELD}
    if kind == "multipart":
        body, whole = (encode_multipart(BOUNDARY, each) for each in (fields, kept))
        content_type = f"multipart/form-data; boundary={BOUNDARY}"
    else:
        body, whole = (urlencode(each).encode() for each in (fields, kept))
        content_type = "application/x-www-form-urlencoded"
    for address in ("call", "sync_py"):
        path = f"/djsci/{address}/{file.pk}/"
        own = {"Sec-Fetch-Site": "same-origin"}
        answer = await browser.post(path, body, content_type=content_type, headers=own)
        length = str(len(whole))
        assert answer.json() == [whole.decode(), kept, length, length], answer.content
        assert token not in (await Run.objects.alatest("created")).request


@pytest.mark.parametrize(
    ("content_type", "body", "rest"),
    [
        ("application/x-www-form-urlencoded", b"csrf%6Diddlewaretoken=x&b=2&=&b", b"b=2&=&b"),
        (
            "multipart/form-data; boundary=q",
            b'--q\r\nContent-Disposition: form-data; name=" csrfmiddlewaretoken"\r\n\r\nx\r\n--q'
            b"\nX: y\r\n\r\n--q\r\ncontent-disposition:form-data; name=b\r\n\r\n\xff\r\n--q--\r\n",
            b"--q\nX: y\r\n\r\n--q\r\ncontent-disposition:form-data; name=b\r\n\r\n\xff"
            b"\r\n--q--\r\n",
        ),
        ("text/plain", b"csrfmiddlewaretoken=x", b"csrfmiddlewaretoken=x"),
    ],
    ids=["urlencoded", "multipart", "no form"],
)
def test_a_field_is_taken_out_of_a_form_and_the_rest_stays(rf, content_type, body, rest):
    request = rf.post("/", body, content_type=content_type)
    assert form_bodies.without(request, body, FORM_FIELD) == rest


async def test_credentials_never_reach_the_handler(echo, browser):
    browser.cookies["theme"] = "dark"
    said = (await browser.get("/djsci/call/echo/", headers={"X-CSRFToken": "t"})).json()
    assert said["cookies"] == {"theme": "dark"}
    assert not {"Authorization", "Cookie", "X-Csrftoken"} & set(said["headers"])


async def test_head_and_options_never_run(echo, program):
    for path in ("sync_py/echo/", "call/echo/"):
        for method in (program.head, program.options):
            answer = await method(f"/djsci/{path}")
            assert answer.status_code == 204
            assert {"GET", "POST", "HEAD", "OPTIONS"} <= set(answer["Allow"].split(", "))
    refused = await program.put("/djsci/sync_py/echo/")
    assert problem_of(refused)["type"] == "bad_method"
    assert refused["Allow"] == "GET, POST, HEAD, OPTIONS"
    traced = await program.generic("TRACE", "/djsci/call/echo/")
    assert problem_of(traced)["type"] == "bad_method"
    assert await count_runs() == 0


async def test_strangers_are_sent_to_the_login_or_refused(echo, stranger):
    nobody = AsyncClient()
    sent = await nobody.get("/djsci/sync_py/echo/?n=1")
    assert (sent.status_code, sent["Location"]) == (
        302,
        "/accounts/login/?next=/djsci/sync_py/echo/%3Fn%3D1",
    )
    answer = await nobody.get("/djsci/call/echo/")
    assert (answer.status_code, problem_of(answer)["type"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"]
    hidden = await stranger.get("/djsci/call/echo/")
    missing = await stranger.get("/djsci/call/nothing/")
    assert hidden.status_code == missing.status_code == 404
    assert hidden.content == missing.content
    assert await count_runs() == 0


async def test_a_token_in_the_address_is_refused(echo):
    answer = await AsyncClient().get(f"/djsci/call/echo/?token=djsci_{'a' * 42}")
    assert problem_of(answer)["type"] == "bad_request"


async def test_o7_a_failure_is_told_and_the_traceback_only_to_the_owner(
    make_file: MakeFile, program, make_program: MakeClient, grace
):
    file = await in_database(make_file, FAILS, engine="thread", access="authenticated")
    told = problem_of(await program.get(f"/djsci/call/{file.pk}/"))
    assert (told["type"], told["status"], told["detail"]) == (
        "handler_failed",
        500,
        "KeyError: 'auc'",
    )
    assert told["error"]["line"] == 4
    assert told["error"]["traceback"]
    assert await Run.objects.filter(pk=told["run"]).aexists()
    other = await in_database(make_program, grace)
    for path in ("call", "sync_py"):
        told = problem_of(await other.get(f"/djsci/{path}/{file.pk}/"))
        assert told["error"] == {"ename": "KeyError", "evalue": "'auc'", "cell": 1, "line": 4}


async def test_numbers_come_exactly_as_the_worker_wrote_them(make_file, program):
    code = "def djsci_handler(request):\n    return {'big': 2**70, 'f': 0.1 + 0.2, 'é': 'ü'}"
    file = await in_database(make_file, code, engine="thread")
    answer = await program.get(f"/djsci/sync_py/{file.pk}/")
    assert answer["Content-Type"] == "application/json"
    assert json.loads(answer.content) == {"big": 2**70, "f": 0.1 + 0.2, "é": "ü"}


async def test_a_tuple_is_an_answer_on_call_and_a_list_on_the_classic_address(make_file, program):
    code = (
        "def djsci_handler(request):\n    return {'a': 1}, 201, {'X-A': 'b', 'Set-Cookie': 'c=d'}"
    )
    file = await in_database(make_file, code, engine="thread")
    answer = await program.get(f"/djsci/call/{file.pk}/")
    assert (answer.status_code, answer.json(), answer["X-A"]) == (201, {"a": 1}, "b")
    assert "Set-Cookie" not in answer
    classic = await program.get(f"/djsci/sync_py/{file.pk}/")
    assert (classic.status_code, classic.json()[:2]) == (200, [{"a": 1}, 201])


async def test_o9_html_of_a_handler_is_sandboxed(make_file, program):
    code = (
        "import djsci\ndef djsci_handler(request):\n"
        "    return djsci.Response('<script>1</script>', 200, {'Content-Type': 'text/html'})"
    )
    file = await in_database(make_file, code, engine="thread")
    answer = await program.get(f"/djsci/call/{file.pk}/")
    assert (answer.content, answer["Content-Type"]) == (b"<script>1</script>", "text/html")
    assert answer["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer["X-Content-Type-Options"] == "nosniff"


async def test_a_wait_that_ends_is_a_202_with_the_run(make_file, program):
    code = "import time\ndef djsci_handler(request):\n    time.sleep(1.5)\n    return 'late'"
    file = await in_database(make_file, code, engine="thread")
    answer = await program.get(f"/djsci/call/{file.pk}/", headers={"Prefer": "wait=0"})
    run = answer.json()
    assert (answer.status_code, run["trigger"]) == (202, "call")
    assert answer["Location"] == run["links"]["self"] == f"/djsci/api/v1/runs/{run['id']}/"
    early = await program.get(run["links"]["result"])
    assert (problem_of(early)["type"], early.status_code) == ("conflict", 409)
    page = (await program.get(f"{run['links']['events']}?after=0&wait=25")).json()
    while not page["ended"]:
        page = (await program.get(f"{run['links']['events']}?after={page['after']}&wait=25")).json()
    assert (await program.get(run["links"]["result"])).json() == "late"


@pytest.mark.parametrize(
    ("prefer", "wait"),
    [
        ("wait=5", 5),
        ("respond-async, wait=10", 10),
        ('Wait = "7"', 7),
        ("wait=300", 300),
        ("wait=301", None),
        ("wait=-1", None),
        ("wait=x", None),
        ("wait=1.5", None),
        ("nowait=5", None),
        ("", None),
    ],
)
def test_prefer_is_read(rf, prefer, wait):
    from djsci import calling

    assert calling.preferred_wait(rf.get("/", headers={"Prefer": prefer})) == wait


@pytest.mark.parametrize("is_installed", [True, False], ids=["middleware", "no middleware"])
async def test_a_link_from_elsewhere_asks_first_and_the_button_runs(
    echo, browser, settings, is_installed
):
    if not is_installed:
        name = "django.middleware.csrf.CsrfViewMiddleware"
        settings.MIDDLEWARE = [entry for entry in settings.MIDDLEWARE if entry != name]
    link = "/djsci/call/echo/?n=5&word=%3Cb%3E"
    asked = await browser.get(link, headers={**FOREIGN, "Sec-Fetch-Dest": "document"})
    page = asked.content.decode()
    assert asked.status_code == 200
    assert "Run this?" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "sandbox" not in asked["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in asked["Content-Security-Policy"]
    assert await count_runs() == 0
    token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    forged = await browser.post(link, {"csrfmiddlewaretoken": "x" * 64})
    assert problem_of(forged)["type"] == "forbidden"
    assert "csrftoken" in asked.cookies
    done = await browser.post(
        link, {"csrfmiddlewaretoken": token}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert (done.json()["n"], done.json()["word"], done.json()["POST"]) == (5, "<b>", {})
    assert await count_runs() == 1


async def test_nothing_else_from_elsewhere_runs(echo, browser):
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {**FOREIGN, "Sec-Fetch-Dest": "iframe"},
    ):
        answer = await browser.get("/djsci/sync_py/echo/", headers=headers)
        assert problem_of(answer)["type"] == "forbidden"
    forged = await browser.post("/djsci/call/echo/", {"n": 1})
    assert problem_of(forged)["type"] == "forbidden"
    assert await count_runs() == 0


async def test_the_events_come_on_call_and_a_reconnect_starts_nothing(echo, program):
    answer = await program.get("/djsci/call/echo/", headers={"Accept": "text/event-stream"})
    assert answer["Content-Security-Policy"].startswith("sandbox")
    blocks = (await read(answer)).decode().strip().split("\n\n")
    assert blocks[0] == "retry: 1000"
    ids = [block.split("\n")[0].removeprefix("id: ") for block in blocks[1:]]
    run_id = ids[0].partition("/")[0]
    assert ids == [f"{run_id}/{seq}" for seq in range(1, len(ids) + 1)]
    headers = {"Accept": "text/event-stream", "Last-Event-ID": ids[1]}
    again = (await read(await program.get("/djsci/call/echo/", headers=headers))).decode()
    assert again.strip().split("\n\n")[1:] == blocks[3:]
    headers["Last-Event-ID"] = ids[-1]
    assert (await program.get("/djsci/call/echo/", headers=headers)).status_code == 204
    headers["Last-Event-ID"] = f"{run_id}/99"
    assert (await program.get("/djsci/call/echo/", headers=headers)).status_code == 400
    headers["Last-Event-ID"] = "nonsense"
    assert (await program.get("/djsci/call/echo/", headers=headers)).status_code == 400
    assert await count_runs() == 1


async def test_the_events_of_a_call_come_as_lines(echo, program):
    answer = await program.post("/djsci/call/echo/", headers={"Accept": "application/x-ndjson"})
    events = [json.loads(line) for line in (await read(answer)).splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["state"] == "succeeded"


async def test_a_token_that_may_only_run_follows_what_it_runs(echo, make_program, user):
    runner = await in_database(make_program, user, "run")
    answer = await runner.get("/djsci/call/echo/", headers={"Accept": "application/x-ndjson"})
    assert json.loads((await read(answer)).splitlines()[-1])["type"] == "end"


async def test_a_notebook_runs_at_either_address(make_file, program):
    body = notebook("x = 4", "def djsci_handler(request):\n    return x * 10")
    await in_database(make_file, body, name="book", entry="book.ipynb")
    assert (await program.get("/djsci/sync_py/book/")).json() == 40


def test_the_classic_address_works_with_a_sync_client_as_under_wsgi(echo, user):
    client = Client()
    client.force_login(user)
    answer = client.get("/djsci/sync_py/echo/?n=9")
    assert (answer.status_code, answer.json()["n"]) == (200, 9)


def test_a_stream_under_wsgi_is_read_from_the_log(echo, user, monkeypatch):
    monkeypatch.setattr(conf.intervals, "poll_remote", 0.02)
    client = Client()
    client.force_login(user)
    answer = client.get("/djsci/call/echo/", headers={"Accept": "application/x-ndjson"})
    lines = b"".join(answer.streaming_content).splitlines()
    answer.close()
    assert json.loads(lines[-1])["type"] == "end"
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))


async def test_the_first_releases_source_url_serves_only_readers(make_file, program, browser, user):
    file = await in_database(make_file, ECHO, name="old", engine="thread")

    def like_the_first_release() -> None:
        from django.core.files.base import ContentFile

        file.file.save("old_handler.py", ContentFile(ECHO.encode()))

    await in_database(like_the_first_release)
    path = f"/{file.file.name}"
    assert path.startswith("/private_files/")
    answer = await browser.get(path)
    assert (answer.status_code, answer.content) == (200, ECHO.encode())
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert (await browser.get("/private_files/missing.py")).status_code == 404
    assert (await AsyncClient().get(path)).status_code == 302
    assert (await program.get(path)).status_code == 302


TABLE = """
import pandas
def djsci_handler(request, nested: bool = False):
    frame = pandas.DataFrame({
        "day": pandas.to_datetime(["2026-01-05", None]), "price": [1.5, float("nan")],
        "big": [2**60, 3], "note": ['a "b", c', "é"], "ok": [True, False],
    })
    return [{"rows": [1]}] if nested else frame
"""
FIGURE = """
from matplotlib.figure import Figure
def djsci_handler(request):
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    return figure
"""


async def test_a_table_is_answered_as_csv_to_who_asks(make_file, program):
    file = await in_database(make_file, TABLE)
    path = f"/djsci/call/{file.pk}/"
    answer = await program.get(path, headers={"Accept": "text/csv, */*;q=0.5"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert answer["Content-Security-Policy"].startswith("sandbox")
    assert "Accept" in answer["Vary"]
    assert answer.content.decode().split("\r\n") == [
        "day,price,big,note,ok",
        '2026-01-05T00:00:00,1.5,1152921504606846976,"a ""b"", c",true',
        ",,3,é,false",
        "",
    ]
    for accept in ("*/*", "application/json", "application/json, text/csv", "text/csv;q=0.5, */*"):
        plain = await program.get(path, headers={"Accept": accept})
        assert plain.json()[1] == {"day": None, "price": None, "big": 3, "note": "é", "ok": False}
    nested = await program.get(f"{path}?nested=true", headers={"Accept": "text/csv"})
    assert (nested["Content-Type"], nested.json()) == ("application/json", [{"rows": [1]}])


ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture
def pyarrow(monkeypatch):
    """The library, of a folder beside the environment."""
    monkeypatch.syspath_prepend(os.path.join(sys.prefix, "beside"))
    tables._has_arrow.cache_clear()
    yield importlib.import_module("pyarrow")
    tables._has_arrow.cache_clear()


async def test_a_table_is_answered_as_arrow_to_who_asks(make_file, program, pyarrow):
    file = await in_database(make_file, TABLE)
    for path in (f"/djsci/call/{file.pk}/", await result_path(program, file)):
        answer = await program.get(path, headers={"Accept": f"{ARROW}, */*;q=0.1"})
        plain = await program.get(path, headers={"Accept": f"application/*, {ARROW};q=0.5"})
        assert answer["Content-Type"] == ARROW
        assert answer["Content-Security-Policy"].startswith("sandbox")
        assert answer["Cache-Control"] == "no-store"
        assert "Accept" in answer["Vary"]
        table = pyarrow.ipc.open_stream(answer.content).read_all()
        kinds = {field.name: str(field.type) for field in table.schema}
        whole = {"big": "int64", "price": "double", "ok": "bool"}
        assert kinds == {"day": "string", "note": "string"} | whole
        assert table.to_pylist() == plain.json()
        assert plain.json()[0]["big"] == 2**60
        csv = await program.get(path, headers={"Accept": f"{ARROW};q=0.5, text/csv"})
        assert csv.content.startswith(b"day,price")


async def result_path(program, file):
    path = f"/djsci/api/v1/files/{file.pk}/runs/"
    run = (await program.post(path, headers={"Prefer": "wait=60"})).json()
    return run["links"]["result"]


@pytest.mark.parametrize(
    ("rows", "csv"),
    [
        ('[{"a": 1}, {"a": "x"}]', b"a\r\n1\r\nx\r\n"),
        ('[{"a": 9223372036854775808}]', b"a\r\n9223372036854775808\r\n"),
        ('[{"a": 1}, 2]', None),
        ("[{}, {}]", None),
        (json.dumps([{str(number): 1} for number in range(1100)]), None),
    ],
    ids=["mixed", "large", "not rows", "nothing", "nearly empty"],
)
async def test_what_is_no_table_stays_json(rows, csv, rf, pyarrow):
    asked = rf.get("/", headers={"Accept": ARROW})
    assert await tables.answer(asked, rows) is None
    answer = await tables.answer(rf.get("/", headers={"Accept": "text/csv"}), rows)
    assert (answer and answer.content) == csv


async def test_without_pyarrow_arrow_is_not_offered(monkeypatch, rf):
    monkeypatch.setattr(tables, "_has_arrow", lambda: False)
    for accept, kind in ((f"{ARROW}, */*;q=0.1", None), (f"{ARROW}, text/csv;q=0.1", "text/csv")):
        answer = await tables.answer(rf.get("/", headers={"Accept": accept}), '[{"a": 1}]')
        assert (answer and answer["Content-Type"].split(";")[0]) == kind


async def test_a_figure_is_answered_as_a_picture(make_file, program):
    file = await in_database(make_file, FIGURE)
    for accept, kind, begin in (
        ("*/*", "image/png", b"\x89PNG"),
        ("image/svg+xml;q=0.9, image/png", "image/png", b"\x89PNG"),
        ("image/svg+xml, image/*;q=0.1", "image/svg+xml", b"<?xml"),
    ):
        answer = await program.get(f"/djsci/call/{file.pk}/", headers={"Accept": accept})
        assert answer["Content-Type"] == kind
        assert answer.content.startswith(begin)
        assert answer["Content-Security-Policy"].startswith("sandbox")


READS = """
import djsci
from pydantic import BaseModel, Field
class Line(BaseModel):
    price: float = Field(gt=0)
def djsci_handler(request, data: djsci.File, lines: list[Line] = [], note: str = ""):
    '''Read it.

    Args:
        data: A table.
    '''
    return [data.name, data.path.read_text(), [line.price for line in lines], note]
"""


@pytest.fixture
def reads(make_file: MakeFile) -> Any:
    return make_file(READS, name="reads", engine="thread")


async def test_a_file_comes_as_a_form_and_as_json(reads, program):
    upload = SimpleUploadedFile("a.csv", b"a,b", content_type="text/csv")
    answer = await program.post("/djsci/call/reads/", {"data": upload, "note": "hi"})
    assert answer.json() == ["a.csv", "a,b", [], "hi"], answer.content
    run = await Run.objects.alatest("created")
    assert run.parameters["data"].keys() == {"name", "size", "content_type", "sha256"}
    body = {"data": "data:text/csv;name=b.csv;base64,YSxi", "lines": [{"price": 2}]}
    for path, sent in (
        ("/djsci/call/reads/", body),
        ("/djsci/api/v1/files/reads/runs/", {"parameters": body}),
    ):
        answer = await program.post(
            path, json.dumps(sent), content_type="application/json", headers={"Prefer": "wait=20"}
        )
        said = answer.json()
        assert (said["result"] if isinstance(said, dict) else said) == ["b.csv", "a,b", [2.0], ""]


async def test_a_file_that_is_missing_or_none_starts_no_run(reads, program):
    body = {"data": "a,b", "lines": [{"price": 1}, {"price": 0}, {}]}
    answer = await program.post(
        "/djsci/call/reads/", json.dumps(body), content_type="application/json"
    )
    problem = problem_of(answer)
    assert problem["status"] == 422
    assert {error["field"] for error in problem["errors"]} == {
        "data",
        "lines[1].price",
        "lines[2].price",
    }
    answer = await program.post("/djsci/call/reads/", {"note": "x"})
    assert problem_of(answer)["errors"] == [{"field": "data", "message": "is missing"}]
    assert await count_runs() == 0


async def test_a_file_is_a_form_in_openapi(reads, program):
    whole = (await program.get("/djsci/api/v1/openapi.json")).json()
    content = whole["paths"][f"/djsci/call/{reads.pk}/"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    data = content["multipart/form-data"]["schema"]["properties"]["data"]
    assert data == {"type": "string", "format": "binary", "description": "A table."}
