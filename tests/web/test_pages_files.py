"""The pages of files: catalogue, form, source, versions, snippets, settings, upload."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from djsci import uploads
from djsci.access import tokens
from djsci.core.parameters import validate
from djsci.models import Audit, PrivateFile, Run
from djsci.web import fields, snippets, sparkline, typed
from tests.conftest import MakeFile, notebook

CODE = "def djsci_handler(request, name: str, count: int = 3):\n    'Greets.'\n    return name\n"
HOSTILE = "<script>alert(1)<b> " + "x" * 280
ROOT = "/djsci/console/"


@pytest.fixture
def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def signed_in(name: str, *permissions: str) -> Client:
    user = get_user_model().objects.create_user(name)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def make_run(file: PrivateFile, user: Any, *, minutes: float, **values: Any) -> Run:
    now = timezone.now() - timedelta(minutes=minutes)
    wanted = {"state": "succeeded", "elapsed": 1.0, "parameters": {}, **values}
    return Run.objects.create(
        file=file,
        version=file.version,
        user=user,
        trigger="form",
        engine="fork",
        isolation="process",
        timeout=3,
        memory=1,
        created=now,
        **wanted,
    )


def text(answer: Any, status: int = 200) -> str:
    page: str = answer.content.decode()
    assert answer.status_code == status, page[:3000]
    return page


def test_the_catalogue_tells_of_the_last_runs_in_few_queries(
    browser: Client, user: Any, make_file: MakeFile
) -> None:
    bob = get_user_model().objects.create_user("bob")
    for number in range(6):
        file = make_file(CODE, name=f"file {number}")
        for minute in range(40 if number == 1 else number):
            failed = {"state": "failed"} if minute == 1 else {}
            make_run(file, user, minutes=minute + 3, elapsed=minute + 1.0, **failed)
    with CaptureQueriesContext(_connection()) as few:
        page = text(browser.get(ROOT))
    assert len(few) <= 9, [query["sql"] for query in few]
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)[1:]
    assert len(rows) == 6
    assert "never" in rows[0]
    assert "<svg" not in rows[0]
    assert "3 min ago" in rows[1]
    assert "30 runs: half took at most 15 s, the longest 30 s; 1 did not succeed" in rows[1]
    assert "Greets." in rows[1]
    assert 'data-state="succeeded"' in rows[1]
    theirs = Client()
    theirs.force_login(bob)
    PrivateFile.objects.update(access="authenticated")
    assert "<svg" not in text(theirs.get(ROOT))  # nor do others' runs count


def _connection() -> Any:
    from django.db import connection

    return connection


def test_the_catalogue_is_filtered_searched_and_turned(
    browser: Client, user: Any, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = get_user_model().objects.create_user("bob")
    made = {name: make_file(CODE.replace("Greets", f"Doc {name}"), name=name) for name in "abc"}
    made["n"] = make_file(notebook("1"), name="n", entry="n.ipynb", engine="fork")
    uploads.create(name="bobs", entry="b.py", files={"b.py": CODE.encode()}, owner=bob)
    make_run(made["a"], user, minutes=9, state="failed")
    make_run(made["a"], user, minutes=1)
    make_run(made["b"], user, minutes=1, state="timed_out")
    make_run(made["c"], user, minutes=1, state="running", elapsed=None)

    def found(**asked: str) -> list[str]:
        page = text(browser.get(ROOT, asked))
        return re.findall(r'class="strong"[^>]*><bdi>([^<]*)</bdi>', page)

    assert found() == ["a", "b", "bobs", "c", "n"]
    assert found(kind="ipynb") == ["n"]
    assert found(state="succeeded") == ["a"]
    assert found(state="failed") == ["b"]
    assert found(state="live") == ["c"]
    assert found(state="never") == ["bobs", "n"]
    assert found(owner="me") == ["a", "b", "c", "n"]
    assert found(owner="bob") == ["bobs"]
    assert found(q="doc b") == ["b"]
    assert found(q=made["c"].pk) == ["c"]
    assert found(q="\0", kind="odd") == ["a", "b", "bobs", "c", "n"]
    assert "No file that you may see fits" in text(browser.get(ROOT, {"q": "zz"}))
    monkeypatch.setattr("djsci.web.pages_catalogue.PAGE_ITEMS", 2)
    page = text(browser.get(ROOT, {"owner": "me"}))
    (following,) = re.findall(r'href="\?([^"]*after=[^"]*)"', page)
    assert following == "owner=me&amp;after=b"
    assert found(owner="me", after="b") == ["c", "n"]


def test_bars_are_drawn_oldest_first_with_nearest_rank_percentiles() -> None:
    bars = sparkline.draw([(float(length), length != 2) for length in range(1, 21)])
    assert bars is not None
    assert (bars.p50, bars.p95) == (10.0, 19.0)
    assert bars.good.startswith("M1.5 20V18.5M9.5 20V17")
    assert bars.bad == "M5.5 20V18"
    assert sparkline.draw([]) is None
    alone = sparkline.draw([(0.0, True)])
    assert alone is not None
    assert alone.p95 == 0.0


NESTED = {
    "type": "object",
    "properties": {
        "place": {
            "type": "object",
            "description": "Where",
            "properties": {
                "city": {"type": "string"},
                "level": {"type": "integer", "minimum": 0, "maximum": 9, "default": 1},
            },
            "required": ["city"],
        },
        "days": {"type": "array", "items": {"enum": ["mon", "tue"]}, "default": ["mon"]},
        "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
        "anything": {},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}], "maxItems": 1},
    },
    "additionalProperties": False,
}


def form_of(**values: Any) -> Any:
    from django.http import QueryDict

    made = QueryDict(mutable=True)
    for name, value in values.items():
        made.setlist(f"p-{name.replace('__', '.')}", value if isinstance(value, list) else [value])
    return made


def test_fields_nest_and_are_read_back() -> None:
    made = {field.name: field for field in fields.of_schema(NESTED)}
    assert {name: field.kind for name, field in made.items()} == {
        "place": "group",
        "days": "choices",
        "maybe": "select",
        "anything": "any",
        "pair": "json",
    }
    city, level = made["place"].fields
    assert (city.key, city.kind, city.is_required) == ("p-place.city", "text", True)
    assert (level.least, level.most, level.step, level.value) == ("0", "9", "1", "1")
    assert made["maybe"].options == ("true", "false")
    filled = form_of(
        place__city="Rome",
        place__level="2",
        days=["tue"],
        maybe="false",
        anything="[1]",
        pair="[4]",
    )
    given = typed.parameters(NESTED, filled)
    assert given == {
        "place": {"city": "Rome", "level": 2},
        "days": ["tue"],
        "maybe": False,
        "anything": [1],
        "pair": [4],
    }
    assert validate(NESTED, given, is_text=False, is_strict=True) == given
    empty = form_of(place__level="", days=[], maybe="", anything="just text", pair="")
    assert typed.parameters(NESTED, empty) == {
        "place": {"city": ""},
        "days": [],
        "anything": "just text",
    }
    errors = [
        {"field": "place.level", "message": "must be"},
        {"field": "pair[0]", "message": "odd"},
    ]
    marked = {field.name: field for field in fields.of_schema(NESTED, typed=empty, errors=errors)}
    assert marked["place"].error == ""
    assert marked["place"].fields[1].error == "must be"
    assert marked["pair"].error == "[0] odd"


def test_a_form_begins_with_the_parameters_of_a_run_that_one_may_see(
    browser: Client, user: Any, make_file: MakeFile
) -> None:
    file = make_file(CODE, access="authenticated")
    other = make_file(CODE)
    given = {"name": '"><script>', "count": 7, "gone": 1}
    run = make_run(file, user, minutes=1, parameters=given)
    path = f"{ROOT}files/{file.pk}/"
    page = text(browser.get(path, {"from": run.pk}))
    assert 'value="&quot;&gt;&lt;script&gt;"' in page
    assert 'value="7"' in page
    assert "takes no <code>gone</code>" in page
    config = re.search(r'<script id="djsci-form-config"[^>]*>(.*?)</script>', page)
    assert config
    told = json.loads(config[1])
    assert (told["run"], told["ref"], told["schema"]["required"]) == (None, file.pk, ["name"])
    assert told["cancel"] == "/djsci/console/runs/{run}/cancel/"
    assert told["page"] == "/djsci/console/runs/{run}/"
    for there, run_id in ((path, "x"), (f"{ROOT}files/{other.pk}/", run.pk)):
        assert 'value="7"' not in text(browser.get(there, {"from": run_id}))
    assert 'value="7"' not in text(signed_in("bob").get(path, {"from": run.pk}))


def test_the_source_is_shown_by_cells_with_anchors_and_nothing_hidden(
    browser: Client, make_file: MakeFile
) -> None:
    code = "x = '<b>\u202e'\ndef djsci_handler(request):\n    return x"
    body = json.loads(notebook("import helpers", code))
    body["cells"].insert(1, {"cell_type": "markdown", "metadata": {}, "source": "# <i>Prose</i>"})
    file = make_file(
        json.dumps(body),
        entry="n.ipynb",
        companions={"helpers.py": b"one = 1\n", "data.bin": b"\0\1", "<i>.txt": b"plain <u>"},
    )
    path = f"{ROOT}files/{file.pk}/source/"
    page = text(browser.get(path))
    assert page.index('id="cell-1-L1"') < page.index("&lt;i&gt;Prose") < page.index("cell-2-L3")
    assert "\u202e" not in page
    assert "‹U+202E›" in page
    assert '<span class="dj-k">def</span>' in page
    assert "<i>" not in page
    assert "%3Ci%3E.txt" in page
    helper = text(browser.get(path, {"part": "helpers.py"}))
    assert '<span class="dj-n">1</span>' in helper
    assert f"/djsci/api/v1/files/{file.pk}/source/helpers.py?version=" in helper
    assert "not text" in text(browser.get(path, {"part": "data.bin"}))
    assert "plain &lt;u&gt;" in text(browser.get(path, {"part": "<i>.txt"}))
    for asked in ({"part": "no"}, {"version": "0" * 64}, {"version": "a"}, {"version": "\0" * 9}):
        assert browser.get(path, asked).status_code == 404
    download = re.search(r'href="(/djsci/api/[^"]*)" download', helper)
    assert download
    assert browser.get(download[1].replace("&amp;", "&")).content == b"one = 1\n"


def test_versions_are_brought_compared_and_brought_back(
    browser: Client, user: Any, make_file: MakeFile
) -> None:
    body = json.loads(notebook("a = 1\nb = 2", "def djsci_handler(request):\n    return a"))
    file = make_file(json.dumps(body), entry="n.ipynb", engine="fork", companions={"d.csv": b"1\n"})
    first = file.version
    path = f"{ROOT}files/{file.pk}/versions/"
    body["cells"][0]["source"] = "a = 1\nb = '<b>'"
    new = SimpleUploadedFile("n.ipynb", json.dumps(body).encode())
    answer = browser.post(path, {"file": new, "keep": "true"})
    assert (answer.status_code, answer["Location"]) == (303, path)
    file.refresh_from_db()
    second = file.version
    assert second is not None
    assert second != first
    assert "d.csv" in second.files
    assert second.uploader == user
    page = text(browser.get(path))
    assert page.index(second.sha256[:10]) < page.rindex(first.sha256[:10])
    changes = text(browser.get(f"{path}diff/", {"from": first.sha256[:16]}))
    assert re.search(r'class="removed">- b = 2\s', changes)
    assert re.search(r'class="added">\+ b = &#x27;&lt;b&gt;&#x27;\s', changes)
    assert re.findall(r"<h2><bdi>(.*?)</bdi>", changes) == ["cell 1"]
    same = text(browser.get(f"{path}diff/", {"from": second.sha256, "to": second.sha256}))
    assert "Both hold the same." in same
    companion = SimpleUploadedFile("d.csv", b"2\n")
    assert browser.post(path, {"files": companion}).status_code == 303
    file.refresh_from_db()
    assert file.version is not None
    assert file.version.entry == "n.ipynb"
    bad = SimpleUploadedFile("n.py", b"def djsci_handler(request:\n")
    refused = text(browser.post(path, {"file": bad}), 422)
    assert "Line 1" in refused
    assert browser.post(f"{path}restore/", {"version": first.sha256}).status_code == 303
    file.refresh_from_db()
    assert file.version == first
    assert Audit.objects.filter(action="upload", subject=file.pk).count() == 3
    bob = signed_in("bob", "view_privatefile")
    assert "Make present" not in text(bob.get(path))
    assert bob.post(path, {"files": SimpleUploadedFile("d.csv", b"3")}).status_code == 403
    assert bob.post(f"{path}restore/", {"version": first.sha256}).status_code == 403


def test_a_file_is_uploaded_by_a_form_and_refused_without_loss(
    browser: Client, tmp_path: Any
) -> None:
    path = f"{ROOT}files/new/"
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w').close()\n" + CODE
    page = text(browser.get(path))
    assert 'enctype="multipart/form-data"' in page
    form = {
        "file": SimpleUploadedFile("h.py", code.encode()),
        "files": [SimpleUploadedFile("a.csv", b"1"), SimpleUploadedFile("b.csv", b"2")],
        "name": "My <b> file",
        "access": "authenticated",
    }
    answer = browser.post(path, form)
    assert answer.status_code == 303, answer.content.decode()[:2000]
    file = PrivateFile.objects.get()
    assert answer["Location"] == f"{ROOT}files/{file.pk}/"
    assert (file.name, file.access) == ("My <b> file", "authenticated")
    assert file.version is not None
    assert set(file.version.files) == {"h.py", "a.csv", "b.csv"}
    assert not ran.exists()
    broken = SimpleUploadedFile("n.ipynb", notebook("ok = 1", "def f(:\n"))
    bad = SimpleUploadedFile("bad.py", b"x = 1\ndef f(:\n")
    refused = text(browser.post(path, {"file": bad, "name": 'kept "name"'}), 422)
    assert "Line 2" in refused
    assert 'value="kept &quot;name&quot;"' in refused
    assert "Choose one notebook" in text(browser.post(path, {"name": "x"}), 400)
    taken = text(browser.post(path, {"file": broken, "name": "MY <B> FILE"}), 409)
    assert "MY &lt;B&gt; FILE" in taken
    twice = [SimpleUploadedFile("a.csv", b"1"), SimpleUploadedFile("a.csv", b"2")]
    form = {"file": SimpleUploadedFile("h.py", CODE.encode()), "files": twice}
    assert "Two files are named a.csv" in text(browser.post(path, form), 400)
    assert PrivateFile.objects.count() == 1
    for method in ("get", "post"):
        assert getattr(signed_in(f"no{method}"), method)(path).status_code == 403
    assert "files/new" not in text(signed_in("no").get(ROOT))
    bob = signed_in("may", "add_privatefile")
    assert f"{ROOT}files/new/" in text(bob.get(ROOT))
    made = bob.post(path, {"file": SimpleUploadedFile("h.py", CODE.encode())})
    assert made.status_code == 303
    alone = PrivateFile.objects.get(name="h.py")
    assert alone.access == "private"
    secret = tokens.make(alone.owner, "program", ["files:write"])[1]
    program = Client(headers={"Authorization": f"Bearer {secret}"})
    form = {"file": SimpleUploadedFile("t.py", CODE.encode()), "access": "authenticated"}
    assert "may not share" in text(program.post(path, form), 403)
    assert not PrivateFile.objects.filter(name="t.py").exists()


def test_settings_are_changed_by_those_who_may(
    browser: Client, user: Any, make_file: MakeFile, settings: Any
) -> None:
    settings.DJSCI = {**settings.DJSCI, "MEMORY_LIMIT": 1 << 30, "TIMEOUT": 60}
    file = make_file(CODE, name="old", engine="fork")
    bob = get_user_model().objects.create_user("bob")
    Group.objects.create(name="lab")
    path = f"{ROOT}files/{file.pk}/settings/"
    form = {
        "name": "new",
        "access": "authenticated",
        "users": "bob\n",
        "groups": "lab",
        "timeout": "2.5",
        "memory": "512",
        "engine": "kernel",
        "isolation": "",
        "instance": "",
        "output": "interactive",
        "retries": "1",
        "concurrency": "",
    }
    assert browser.post(path, form)["Location"] == f"{path}?saved=1"
    file.refresh_from_db()
    assert (file.name, file.access) == ("new", "authenticated")
    assert file.settings == {
        "engine": "kernel",
        "timeout": 2.5,
        "memory": 512 << 20,
        "output": "interactive",
        "retries": 1,
    }
    assert [*file.granted_users.all()] == [bob]
    assert file.granted_groups.get().name == "lab"
    assert set(Audit.objects.values_list("action", flat=True)) >= {"access", "grant"}
    assert 'value="512"' in text(browser.get(path))
    refused = text(browser.post(path, {**form, "memory": "9999", "timeout": "x"}), 400)
    assert "at most 1024 MiB" in refused
    assert 'value="9999"' in refused
    odd = text(browser.post(path, {**form, "users": "bob\nno<i>one"}), 400)
    assert "There is no no&lt;i&gt;one." in odd
    assert [*file.granted_users.all()] == [bob]
    stranger = Client()
    stranger.force_login(bob)
    assert stranger.get(path).status_code == stranger.post(path, form).status_code == 403
    PrivateFile.objects.filter(pk=file.pk).update(name="odd\nname")
    assert browser.post(path, {**form, "name": "oddname"}).status_code == 303
    file.refresh_from_db()
    assert file.name == "odd\nname"  # an input cannot hold it: it stays
    gone = f"{path}delete/"
    run = make_run(file, user, minutes=1, state="running", elapsed=None)
    assert "1 run " in text(browser.get(gone))
    assert "is live" in text(browser.post(gone), 409)
    Run.objects.filter(pk=run.pk).update(state="lost")
    assert stranger.post(gone).status_code == 403
    assert browser.post(gone).status_code == 303
    assert not PrivateFile.objects.exists()


def test_snippets_carry_no_token_and_parameters_that_fit(
    browser: Client, make_file: MakeFile
) -> None:
    code = (
        "from datetime import date\nfrom typing import Literal\n"
        "def djsci_handler(request, who: str, on: date, size: Literal['a', 'b'], tags: list[int],"
        ' deep: dict, note: str = "it\'s</script>"):\n    return who'
    )
    file = make_file("# /// script\n# dependencies = ['polars<2']\n# ///\n" + code)
    assert file.version is not None
    schema = file.version.parameters
    example = snippets.parameters(schema)
    assert validate(schema, example, is_text=False, is_strict=True) == example
    for snippet in snippets.of_file("https://x.test", "/djsci/", file.pk, schema):
        assert "DJSCI_TOKEN" in snippet.text
        if snippet.language == "python":
            compile(snippet.text, snippet.id, "exec")
        assert not re.search(r"djsci_[0-9A-Za-z]{36}", snippet.text)
    page = text(browser.get(f"{ROOT}files/{file.pk}/api/"))
    assert "wss://" not in page
    assert f"ws://testserver/djsci/ws/call/{file.pk}/" in page
    assert "Its header asks for <code>polars&lt;2</code>." in page
    shown = re.search(r'<djsci-json[^>]*><script type="application/json">(.*?)</script>', page)
    assert shown
    assert json.loads(shown[1]) == schema


def test_hostile_names_are_text_on_every_page(browser: Client, make_file: MakeFile) -> None:
    code = "def djsci_handler(request, a: str = '<img src=x>'):\n    '''<b onload=x>\u202e'''"
    file = make_file(code, name=HOSTILE, companions={"<s>.txt": b"<s>"})
    bare = PrivateFile.objects.create(name="new\nline\u202e</title>")
    for path in ("", *(f"files/{file.pk}/{tab}" for tab in TABS), f"files/{bare.pk}/"):
        page = text(browser.get(f"{ROOT}{path}"))
        assert not re.search(r"<(?:script>alert|img|b onload|s>)", page), path
        assert "\u202e" not in page, path
        assert page.count("</title>") == 1 + page.count("</title><path"), path
        assert not re.search(r"<[^>]*\s(?:style|on\w+)=", page), path
    for tab in TABS:
        page = text(browser.get(f"{ROOT}files/{bare.pk}/{tab}"))
        assert "has no content" in page or "settings" in tab, tab


TABS = ("", "source/", "versions/", "api/", "settings/", "settings/delete/")


FILES = """
import djsci
from typing import TypedDict
class Both(TypedDict):
    note: str
    data: djsci.File
def djsci_handler(request, data: djsci.File, more: list[djsci.File] = [], both: Both = None):
    return [data.name, [each.name for each in more], both and both["data"].name]
"""


def test_a_form_with_files_is_sent_as_one(browser: Client, make_file: MakeFile) -> None:
    file = make_file(FILES)
    page = text(browser.get(f"{ROOT}files/{file.pk}/"))
    assert 'enctype="multipart/form-data"' in page
    assert "<djsci-handler-form" not in page
    assert re.search(r'type="file" name="p-data" required', page)
    assert re.search(r'type="file" name="p-more" multiple', page)
    path = f"{ROOT}files/{file.pk}/run/"

    def chosen(name: str) -> SimpleUploadedFile:
        return SimpleUploadedFile(name, name.encode())

    refused = text(browser.post(path, {"key": "a"}), 422)
    assert "is missing" in refused
    sent = {
        "p-data": chosen("a"),
        "p-more": [chosen("b"), chosen("c")],
        "p-both.note": "x",
        "p-both.data": chosen("d"),
    }
    answer = browser.post(path, sent)
    assert answer.status_code == 303, text(answer)
    run = Run.objects.get()
    assert [each["name"] for each in run.parameters["more"]] == ["b", "c"]
    assert (run.parameters["data"]["name"], run.parameters["both"]["data"]["name"]) == ("a", "d")
    again = browser.post(f"{ROOT}runs/{run.pk}/again/", {"key": "k"})
    assert again.status_code == 303, text(again)
    second = Run.objects.exclude(pk=run.pk).get()
    assert second.parameters == run.parameters
    assert 'value="a"' not in text(browser.get(f"{ROOT}files/{file.pk}/?from={run.pk}"))


def test_snippets_fit_bounds(make_file: MakeFile) -> None:
    code = "from typing import Annotated\nfrom pydantic import Field\nimport djsci\n"
    code += "def djsci_handler(request, a: Annotated[int, Field(gt=3, le=4)], f: djsci.File,"
    code += " b: Annotated[str, Field(min_length=9)], c: Annotated[float, Field(lt=0)],"
    code += " d: Annotated[list[int], Field(min_length=2)], e: Annotated[int, Field(multiple_of=7)]"
    code += ", g: Annotated[float, Field(gt=0, lt=1)], h: Annotated[str, Field(max_length=2)]): ..."
    schema = make_file(code).version.parameters
    example = snippets.parameters(schema)
    assert validate(schema, example, is_text=False, is_strict=True) == example
