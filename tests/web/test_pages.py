"""The console's pages as Django serves them: who sees what, forms, errors, frames, policies."""

import re
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.test import Client

from djsci import runs
from djsci.core.events import FINAL
from djsci.models import Run
from djsci.web import documents, fields
from tests.conftest import MakeFile

TYPED = """
from datetime import date
from typing import Literal

def djsci_handler(request, name: str, count: int = 3, loud: bool = False, when: date | None = None,
                  size: Literal["small", "large"] = "small", tags: list[str] = [], more: dict = {}):
    '''Greets somebody.

    As often as told.'''
    print("\\x1b[31mhello\\x1b[0m", name)
    return {"name": name, "count": count, "loud": loud, "when": when, "size": size, "tags": tags,
            "more": more}
"""


@pytest.fixture
def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def stranger(user: Any) -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_user("bob"))
    return client


def ended(run_id: str) -> Run:
    assert async_to_sync(runs.finish)(run_id, wait=30) is not None
    return runs.get_now(run_id)


def read(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


def run_of(answer: Any) -> Run:
    assert answer.status_code == 303, answer.content.decode()[:2000]
    return ended(answer["Location"].rstrip("/").split("/")[-1])


def test_pages_ask_strangers_to_sign_in(user: Any, make_file: MakeFile) -> None:
    file = make_file(TYPED)
    for path in ("", f"files/{file.pk}/", "runs/", "runs/x/", "runs/x/log.txt"):
        answer = Client().get(f"/djsci/console/{path}")
        assert answer.status_code == 302, path
        assert answer["Location"].startswith("/accounts/login/?next=/djsci/console/")


def test_the_catalogue_shows_what_one_may_see(
    browser: Client, stranger: Client, make_file: MakeFile
) -> None:
    make_file(TYPED, name="<b>mine")
    make_file(TYPED, name="everyones", access="authenticated")
    mine, theirs = (each.get("/djsci/console/").content.decode() for each in (browser, stranger))
    assert "&lt;b&gt;mine" in mine
    assert "<b>mine" not in mine
    assert "everyones" in mine
    assert "everyones" in theirs
    assert "mine" not in theirs
    found = browser.get("/djsci/console/", {"q": "every"}).content.decode()
    assert "everyones" in found
    assert "mine" not in found


def test_options_and_heads_that_could_run_say_only_what_is_served(
    browser: Client, make_file: MakeFile
) -> None:
    form = f"/djsci/console/files/{make_file(TYPED).pk}/run/"
    page = browser.options("/djsci/console/")
    assert (page.status_code, page["Allow"]) == (204, "GET, HEAD, OPTIONS")
    refused = browser.put("/djsci/console/")
    assert (refused.status_code, refused["Allow"]) == (405, "GET, HEAD, OPTIONS")
    for answer in (browser.options(form), browser.head(form)):
        assert (answer.status_code, answer["Allow"]) == (204, "POST, HEAD, OPTIONS")
        assert answer.content == b""
    assert not Run.objects.exists()


def test_hidden_and_missing_look_the_same(
    stranger: Client, browser: Client, make_file: MakeFile
) -> None:
    file = make_file(TYPED, name="hidden")
    run = run_of(browser.post(f"/djsci/console/files/{file.pk}/run/", {"p-name": "x"}))
    for path in ("files/{}/", "runs/{}/", "runs/{}/log.txt"):
        there = path.format(run.pk if "runs" in path else file.pk)
        answers = [stranger.get(f"/djsci/console/{each}") for each in (there, path.format("no"))]
        assert {answer.status_code for answer in answers} == {404}
    for path in (f"files/{file.pk}/run/", f"runs/{run.pk}/cancel/"):
        assert stranger.post(f"/djsci/console/{path}").status_code == 404


def test_a_form_starts_a_run_with_typed_parameters(browser: Client, make_file: MakeFile) -> None:
    file = make_file(TYPED, name="typed")
    page = browser.get("/djsci/console/files/typed/").content.decode()
    assert "As often as told." in page
    key = re.search(r'name="key" value="([^"]+)"', page)
    assert key
    form = {
        "key": key[1],
        "p-name": "Ada",
        "p-count": "7",
        "p-loud": "true",
        "p-when": "2030-06-01",
        "p-size": "large",
        "p-tags": "one thing\nanother",
        "p-more": '{"a": [1]}',
    }
    answers = [browser.post(f"/djsci/console/files/{file.pk}/run/", form) for _ in range(2)]
    assert answers[0]["Location"] == answers[1]["Location"]
    run = run_of(answers[0])
    assert run.state == "succeeded", run.error
    assert run.trigger == "form"
    assert run.parameters == {
        "name": "Ada",
        "count": 7,
        "loud": True,
        "when": "2030-06-01",
        "size": "large",
        "tags": ["one thing", "another"],
        "more": {"a": [1]},
    }


def test_what_is_left_empty_leaves_the_default(browser: Client, make_file: MakeFile) -> None:
    file = make_file(TYPED)
    form = {"p-name": "", "p-count": "", "p-when": "", "p-tags": "", "p-more": "", "p-size": ""}
    run = run_of(browser.post(f"/djsci/console/files/{file.pk}/run/", form))
    assert run.parameters == {"name": "", "loud": False}


@pytest.mark.parametrize(
    ("form", "field", "kept"),
    [
        ({"p-name": "x", "p-count": "many"}, "count", 'value="many"'),
        ({"p-name": "x", "p-when": "soon"}, "when", 'value="soon"'),
        ({"p-name": "x", "p-more": "{"}, "more", "{</textarea>"),
        ({"p-name": "x", "p-size": "huge"}, "size", ""),
    ],
    ids=["number", "date", "json", "choice"],
)
def test_a_wrong_value_comes_back_at_its_field(
    browser: Client, make_file: MakeFile, form: dict[str, str], field: str, kept: str
) -> None:
    file = make_file(TYPED)
    answer = browser.post(f"/djsci/console/files/{file.pk}/run/", form)
    page = answer.content.decode()
    assert answer.status_code == 422
    (wrong,) = re.findall(r'<div class="field wrong"[^>]*>(.*?)</div>', page, re.DOTALL)
    assert f"<code>{field}</code>" in wrong
    assert kept in wrong
    assert not Run.objects.exists()


def test_a_handler_of_unknown_parameters_takes_an_object(
    browser: Client, make_file: MakeFile
) -> None:
    file = make_file("def djsci_handler(request, **more):\n    return request.json()")
    run = run_of(browser.post(f"/djsci/console/files/{file.pk}/run/", {"p-parameters": '{"a": 1}'}))
    assert run.parameters == {"a": 1}
    refused = browser.post(f"/djsci/console/files/{file.pk}/run/", {"p-parameters": "[1]"})
    assert refused.status_code == 422


def test_the_source_is_for_those_who_may_read_it(
    browser: Client, stranger: Client, make_file: MakeFile
) -> None:
    file = make_file("# a secret remark\n" + TYPED, access="authenticated")
    path = f"/djsci/console/files/{file.pk}/"
    assert "a secret remark" in browser.get(f"{path}source/").content.decode()
    for tab in ("", "api/"):
        theirs = stranger.get(f"{path}{tab}")
        assert theirs.status_code == 200
        assert "a secret remark" not in theirs.content.decode()
        assert f"{path}source/" not in theirs.content.decode()
    for tab in ("source/", "versions/", "versions/diff/", "settings/", "settings/delete/"):
        assert stranger.get(f"{path}{tab}").status_code == 403, tab


def test_a_forged_form_is_refused(user: Any, make_file: MakeFile) -> None:
    file = make_file(TYPED)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    path = f"/djsci/console/files/{file.pk}/run/"
    assert strict.post(path, {"p-name": "x"}).status_code == 403
    strict.get(f"/djsci/console/files/{file.pk}/")
    token = strict.cookies["csrftoken"].value
    good = {"p-name": "x", "csrfmiddlewaretoken": token}
    crossed = strict.post(path, good, headers={"Sec-Fetch-Site": "cross-site"})
    assert crossed.status_code == 403
    assert not Run.objects.exists()
    ended_run = run_of(strict.post(path, good))
    assert ended_run.state == "succeeded"


def test_pages_carry_a_policy_without_inline_scripts(browser: Client, make_file: MakeFile) -> None:
    file = make_file(TYPED, name="policy")
    run = run_of(browser.post(f"/djsci/console/files/{file.pk}/run/", {"p-name": "</script>"}))
    for path in ("", f"files/{file.pk}/", "runs/", f"runs/{run.pk}/", "runs/none/"):
        answer = browser.get(f"/djsci/console/{path}")
        page, policy = answer.content.decode(), answer["Content-Security-Policy"]
        nonce = re.search(r"script-src 'nonce-([^']+)' 'strict-dynamic'", policy)
        assert nonce, path
        for part in ("default-src 'none'", "frame-ancestors 'none'", "style-src 'self';"):
            assert part in policy
        assert not re.search(r"<[^>]*\s(?:style|on\w+)=", page), path
        for script in re.findall(r"<script\b[^>]*>", page):
            assert f'nonce="{nonce[1]}"' in script or 'type="application/json"' in script
    assert browser.get(f"/djsci/console/runs/{run.pk}/").content.count(b"</script>") == 2


def test_the_log_is_text_for_those_who_may_watch(browser: Client, make_file: MakeFile) -> None:
    file = make_file(TYPED)
    run = run_of(browser.post(f"/djsci/console/files/{file.pk}/run/", {"p-name": "é"}))
    answer = browser.get(f"/djsci/console/runs/{run.pk}/log.txt")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert read(answer) == "\x1b[31mhello\x1b[0m é\n"
    plain = browser.get(f"/djsci/console/runs/{run.pk}/log.txt", {"ansi": "strip"})
    assert read(plain) == "hello é\n"


def test_a_run_is_cancelled_by_its_form(browser: Client, make_file: MakeFile) -> None:
    file = make_file(
        "import time\n"
        "def djsci_handler(request):\n"
        "    for _ in range(300):\n"
        "        time.sleep(0.01)"
    )
    answer = browser.post(f"/djsci/console/files/{file.pk}/run/")
    assert answer.status_code == 303
    run_id = answer["Location"].rstrip("/").split("/")[-1]
    cancelled = browser.post(f"/djsci/console/runs/{run_id}/cancel/")
    assert cancelled.status_code == 303
    assert ended(run_id).state == "cancelled"
    for thread in threading.enumerate():  # an abandoned one works on to its end
        if thread.name == "djsci-run":
            thread.join(10)


def test_history_lists_runs_newest_first(browser: Client, make_file: MakeFile) -> None:
    file = make_file(TYPED, name="listed")
    form_path = f"/djsci/console/files/{file.pk}/run/"
    ids = [run_of(browser.post(form_path, {"p-name": str(n)})).pk for n in range(3)]
    page = browser.get("/djsci/console/runs/").content.decode()
    places = [page.index(run_id) for run_id in reversed(ids)]
    assert places == sorted(places)
    older = browser.get(
        "/djsci/console/runs/", {"older": documents.cursor_of(Run.objects.get(pk=ids[1]))}
    ).content.decode()
    assert ids[0] in older
    assert ids[1] not in older
    assert ids[2] not in older
    assert not set(ids) & set(browser.get("/djsci/console/runs/?state=lost").content.split())
    assert all(Run.objects.get(pk=run_id).state in FINAL for run_id in ids)


def test_fields_follow_the_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "size": {"enum": ["a", 2]},
            "rate": {"type": "number", "default": 0.5},
            "names": {"type": "array", "items": {"type": "string"}, "default": ["x", "y"]},
            "deep": {"type": "object"},
            "on": {"type": "boolean", "default": True},
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        },
        "required": ["size"],
    }
    made = {field.name: field for field in fields.of_schema(schema)}
    assert {name: field.kind for name, field in made.items()} == {
        "day": "date",
        "size": "select",
        "rate": "number",
        "names": "lines",
        "deep": "json",
        "on": "checkbox",
        "either": "text",
    }
    assert made["size"].options == ("a", "2")
    assert made["size"].is_required
    assert made["rate"].value == "0.5"
    assert made["names"].value == "x\ny"
    assert made["on"].is_checked
