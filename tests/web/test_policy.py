"""What every page may load and run, errors as pages, the login, the console in other templates."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper
from django.http import HttpResponse
from django.template import Context, RequestContext, Template
from django.test import Client, RequestFactory
from django.utils.functional import SimpleLazyObject

from djsci import policy
from djsci.access import permissions
from djsci.core.errors import BadMethod, Draining, Forbidden, LimitReached, NotFound, Pruned
from djsci.models import Run
from djsci.urls import djsci_urls
from djsci.web import highlight, prose
from djsci.web.page import page
from tests.conftest import MakeFile, notebook

POLICY = (
    "default-src 'none'; script-src 'nonce-{}' 'strict-dynamic'; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types lit-html"
)


def assert_is_strict(answer: Any) -> None:
    """The headers of every page, and no inline script or style in it."""
    found = re.search(r"'nonce-([\w-]{16,})'", answer["Content-Security-Policy"])
    assert found
    assert answer["Content-Security-Policy"] == POLICY.format(found[1])
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer["Cache-Control"] == "no-store"
    if answer.streaming or "html" not in answer.get("Content-Type", ""):
        return
    markup = answer.content.decode()
    assert not re.search(r"<[^>]*\s(?:style|on\w+)=|<style\b|javascript:", markup)
    for script in re.findall(r"<script\b[^>]*>", markup):
        assert f'nonce="{found[1]}"' in script or 'type="application/json"' in script


def console_routes() -> list[str]:
    return sorted(
        {
            str(route.pattern)
            for route in djsci_urls
            if str(route.pattern).startswith("djsci/console") and str(route.pattern).endswith("/")
        }
    )


@pytest.fixture
def run(user: Any, make_file: MakeFile, make_run: Any) -> Run:
    file = make_file(
        notebook("def djsci_handler(request, n: int = 1):\n    return n"), entry="x.ipynb"
    )
    made: Run = make_run(file, result="1")
    return made


def test_every_page_of_the_console_is_strict_whoever_asks_and_however(user: Any, run: Run) -> None:
    owner = Client()
    owner.force_login(user)
    seen: dict[str, set[int]] = {}
    for route in console_routes():
        path = "/" + re.sub(
            r"<[^>]*?(\w+)>",
            lambda found: {"run_id": run.pk, "name_id": run.file_id}.get(found[1], "1"),
            route,
        )
        for client in (owner, Client()):
            for answer in (client.get(path), client.put(path), client.options(path)):
                assert_is_strict(answer)
                seen.setdefault(route, set()).add(answer.status_code)
    assert_is_strict(owner.get("/djsci/api/v1/docs/"))
    assert len(seen) > 8
    assert all(405 in statuses for statuses in seen.values()), seen
    assert sum({200, 302} <= statuses for statuses in seen.values()) > 5, seen
    for answer in (owner.get("/djsci/console/nowhere/"), owner.post("/djsci/console/a/b")):
        assert answer.status_code == 404
        assert_is_strict(answer)


@pytest.mark.parametrize(
    ("error", "status", "way"),
    [
        (NotFound(), 404, "All files"),
        (Forbidden(), 403, "All files"),
        (BadMethod(), 405, "All files"),
        (Pruned(), 410, "All files"),
        (LimitReached("QUEUE: full.", retry_after=90), 429, "Try again in 1 min 30 s"),
        (Draining(), 503, 'href="/here/?a=b"'),
        (ZeroDivisionError("secret"), 500, "All runs"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_are_pages_with_a_way_on(
    user: Any, rf: RequestFactory, error: Exception, status: int, way: str
) -> None:
    @page("GET")
    def broken(request: Any, caller: Any) -> HttpResponse:
        raise error

    request = rf.get("/here/?a=b")
    request.user = user
    answer = broken(request)
    assert answer.status_code == status
    assert_is_strict(answer)
    text = answer.content.decode()  # type: ignore[attr-defined]
    assert way in text
    assert "secret" not in text
    if status == 429:
        assert answer["Retry-After"] == "90"


def test_a_page_without_a_database_says_so(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    client.force_login(user)

    def away(*anything: Any, **more: Any) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(permissions, "visible_runs", away)
    monkeypatch.setattr(permissions, "may_upload", away)
    answer = client.get("/djsci/console/runs/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert_is_strict(answer)
    assert "The database cannot be reached" in answer.content.decode()
    with monkeypatch.context() as wholly:
        wholly.setattr(CursorWrapper, "execute", away)
        answer = client.get("/djsci/console/runs/")
    assert answer.status_code == 503
    assert_is_strict(answer)


def test_a_forged_form_gets_a_page_of_ours(user: Any, run: Run) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    answer = client.post(f"/djsci/console/runs/{run.pk}/cancel/")
    assert answer.status_code == 403
    assert_is_strict(answer)
    assert "CSRF" in answer.content.decode()


@pytest.mark.parametrize("name", ["_csp_nonce", "csp_nonce"], ids=["Django 6", "django-csp"])
def test_the_nonce_of_the_project_is_ours(rf: RequestFactory, name: str) -> None:
    request = rf.get("/")
    own = policy.nonce(request)
    assert policy.nonce(request) == own != policy.nonce(rf.get("/"))
    setattr(request, name, SimpleLazyObject(lambda: "theirs"))
    answer = policy.with_policy(request, HttpResponse())
    assert "script-src 'nonce-theirs' 'strict-dynamic';" in answer["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("url", "origin"),
    [("https://cdn.test/s/", "https://cdn.test"), ("//cdn.test:8/s/", "http://cdn.test:8")],
)
def test_static_files_of_another_origin_are_let_in(
    rf: RequestFactory, settings: Any, url: str, origin: str
) -> None:
    settings.STATIC_URL = url
    parts = policy.with_policy(rf.get("/"), HttpResponse())["Content-Security-Policy"].split("; ")
    assert {f"style-src 'self' {origin}", f"font-src 'self' {origin}"} <= set(parts)
    assert f"img-src 'self' data: {origin}" in parts


def test_the_login_is_of_the_same_kind_and_leads_nowhere_else(
    user: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asgi_project import login

    settings.TEMPLATES = [
        {**settings.TEMPLATES[0], "DIRS": [f"{login.__file__.rpartition('/')[0]}/templates"]}
    ]
    settings.LOGIN_REDIRECT_URL = "/"
    cache.clear()
    client = Client()
    asked = client.get("/accounts/login/?next=/djsci/console/runs/")
    assert asked.status_code == 200
    assert_is_strict(asked)
    form = {"username": "ada<i>", "password": "wrong", "next": "https://elsewhere.test/"}
    wrong = client.post("/accounts/login/", form)
    assert_is_strict(wrong)
    text = wrong.content.decode()
    assert 'role="alert">This name and password do not match.' in text
    assert 'value="ada&lt;i&gt;"' in text
    assert "wrong" not in text
    right = {"username": "ada", "password": "ada"}
    for place, leads in (
        ("https://elsewhere.test/", "/"),
        ("//elsewhere.test/", "/"),
        ("/djsci/console/runs/", "/djsci/console/runs/"),
    ):
        answer = Client().post("/accounts/login/", {**right, "next": place})
        assert (answer.status_code, answer["Location"]) == (302, leads)
    monkeypatch.setattr(login, "MOST_FAILURES", 0)
    late = client.post("/accounts/login/", right)
    assert late.status_code == 429
    assert int(late["Retry-After"]) > 0
    assert_is_strict(late)
    assert "Too many failed logins" in late.content.decode()
    cache.clear()


def test_the_project_answers_errors_with_the_same_pages(user: Any, settings: Any) -> None:
    settings.CSRF_FAILURE_VIEW = "asgi_project.errors.forged"
    client = Client(enforce_csrf_checks=True)
    for answer, status in (
        (client.get("/nowhere/"), 404),
        (client.get("/", headers={"Host": "elsewhere.test"}), 400),
        (client.post("/accounts/login/", {"username": "ada"}), 403),
    ):
        assert answer.status_code == status
        assert_is_strict(answer)
        assert "To the console" in answer.content.decode()


TAG = Template("{% load djsci %}{% djsci_console run %}{% djsci_console run.pk %}")


def test_any_template_may_hold_a_console_for_those_who_may_watch(
    user: Any, run: Run, rf: RequestFactory, django_user_model: Any
) -> None:
    request = rf.get("/theirs/")
    request.user = user
    request.csp_nonce = "theirs"  # type: ignore[attr-defined]
    markup = TAG.render(RequestContext(request, {"run": run}))
    assert markup.count(f'<djsci-run-console config="djsci-run-{run.pk}">') == 2
    assert markup.count('<script type="module" nonce="theirs" src="/static/djsci/console.js">') == 1
    assert markup.count('href="/static/djsci/console.css"') == 1
    assert 'type="application/json"' in markup
    for other in (AnonymousUser(), django_user_model.objects.create_user("bob")):
        request = rf.get("/theirs/")
        request.user = other
        markup = TAG.render(RequestContext(request, {"run": run}))
        assert run.pk not in markup
        assert markup.count("no run here that you may see") == 2
    with pytest.raises(ImproperlyConfigured, match="needs `request`"):
        TAG.render(Context({"run": run}))


def test_source_becomes_spans_of_classes_line_by_line() -> None:
    text = '''
@cache
def f(x: int = 1) -> str:
    """<b>
    two"""
    return "a" if x in y else 2  # why
'''
    markup = str(highlight.highlighted(text, "py"))
    assert set(re.findall(r"<[^>]+>", markup)) == {
        "</span>",
        *(f'<span class="dj-{name}">' for name in "kfdbsnc"),
    }
    assert "&lt;b&gt;" in markup
    lines = markup.split("\n")
    assert all(line.count("<span") == line.count("</span>") for line in lines)
    plain = re.sub(r"<[^>]+>", "", markup).replace("&lt;", "<").replace("&gt;", ">")
    assert plain.replace("&quot;", '"') == f"\n{text}"
    assert highlight.highlighted("<i>%", "no such language") == "&lt;i&gt;%"
    assert "<span" not in highlight.highlighted("def f():\n" * 30_000, "py")


def test_prose_of_others_is_markup_that_loads_and_runs_nothing() -> None:
    text = (
        "# Head\n\n**b** `c<i>` <img src=//e.x onerror=x> [out](https://e.x/?a=1&b)"
        " [bad](javascript:x)"
        "\n\n![alt](//e.x/i.png) ![](data:image/png;base64,AA) <script>x</script>\n\n"
        "<iframe src=//e.x></iframe>\n\n|a|b|\n|:-|-:|\n|1|2|\n\n```python\ndef f(): '<b>'\n```\n"
    )
    markup = str(prose.prose(text))
    tags = set(re.findall(r"<[^>]+>", markup))
    attributes = {tag for tag in tags if " " in tag}
    assert attributes == {
        '<div class="dj-markdown">',
        '<a href="https://e.x/?a=1&amp;b" rel="nofollow noreferrer noopener">',
        '<pre class="dj-code">',
        *(f'<span class="dj-{name}">' for name in "kfs"),
    }
    assert {"<h3>", "<strong>", "<code>", "<th>", "<td>", "<em>"} <= tags
    assert "<em>alt</em>" in markup
    assert "bad" in markup
    assert prose.prose("<b>" * 10_000).startswith('<div class="dj-prose">&lt;b&gt;')
