"""`api/v1/files/`: what is uploaded is what is shown, found, replaced and removed."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from djsci.access.database import in_database
from djsci.models import Audit, PrivateFile, Run
from tests.conftest import MakeFile, notebook

from .conftest import problem_of

FILES = "/djsci/api/v1/files/"
CODE = b"import helpers\ndef djsci_handler(request, n: int = 1):\n    return helpers.twice(n)\n"
HELPERS = b"def twice(n):\n    return 2 * n\n"
JSON = "application/json"


def part(name: str, content: bytes = CODE) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


async def upload(client: AsyncClient, **fields: Any) -> dict[str, Any]:
    body = {"file": part("main.py"), "files": [part("helpers.py", HELPERS)], **fields}
    answer = await client.post(FILES, body)
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    assert answer["Location"] == made["links"]["self"]
    assert answer["ETag"] == f'"{made["version"]}"'
    return made


async def test_an_upload_is_shown_listed_and_run(program):
    made = await upload(program, name="double")
    assert list(made) == [
        "id",
        "name",
        "kind",
        "version",
        "entry",
        "files",
        "access",
        "owner",
        "settings",
        "parameters",
        "adapter",
        "created",
        "changed",
        "links",
    ]
    assert (made["name"], made["kind"], made["entry"]) == ("double", "py", "main.py")
    assert set(made["files"]) == {"main.py", "helpers.py"}
    assert (made["access"], made["owner"]) == ("private", "ada")
    assert made["parameters"]["properties"]["n"] == {"type": "integer", "default": 1}
    assert (await program.get(f"{FILES}double")).json() == made
    assert (await program.get(f"{FILES}{made['id']}/")).json() == made
    listed = (await program.get(FILES)).json()
    assert (listed["items"], listed["next"]) == ([made], None)
    ran = await program.get(made["links"]["call"] + "?n=21")
    assert ran.json() == 42, ran.content


SCRIPT = b"""
import argparse, djsci
def main(greeting: str = "hi"):
    return greeting
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, required=True)
    days = parser.parse_args().days
    if days > 9:
        parser.error("too many days")
    djsci.result(days)
"""


async def test_which_adapter_reads_a_file_is_shown_and_can_be_set(program):
    posted = await program.post(FILES, {"file": part("s.py", SCRIPT), "name": "script"})
    made = posted.json()
    assert (posted.status_code, made["adapter"]) == (201, "argparse")
    assert made["parameters"]["required"] == ["days"]
    call = made["links"]["call"]
    assert (await program.get(f"{call}?days=3")).json() == 3
    assert problem_of(await program.get(f"{call}?days=x"))["type"] == "bad_parameters"
    assert not await Run.objects.filter(state="failed").aexists()
    told = problem_of(await program.get(f"{call}?days=10"))
    assert (told["status"], told["type"]) == (422, "bad_parameters")
    assert told["detail"] == "BadArguments: too many days"
    place = f"{FILES}script/"
    for adapter, code in (("lambda", "The adapter 'lambda' does not read"), ("odd", "One of")):
        body = {"settings": {"adapter": adapter}}
        told = problem_of(await program.patch(place, body, content_type=JSON))
        assert (told["status"], told["errors"][0]["field"]) == (400, "adapter")
        assert code in told["errors"][0]["message"]
    changed = await program.patch(place, {"settings": {"adapter": "main"}}, content_type=JSON)
    assert (changed.json()["adapter"], changed.json()["version"]) == ("main", made["version"])
    assert list(changed.json()["parameters"]["properties"]) == ["greeting"]
    assert (await program.get(f"{call}?greeting=hello")).json() == "hello"
    again = await program.put(place, b"x = 1\n", "application/octet-stream")
    assert problem_of(again)["type"] == "no_handler"
    back = await program.patch(place, {"settings": {"adapter": None}}, content_type=JSON)
    assert back.json()["adapter"] == "argparse"
    assert (await program.get(f"{call}?days=3")).json() == 3


async def test_what_a_header_asks_for_is_shown(program):
    header = b"# /// script\n# requires-python = '>=3.11'\n# dependencies = ['Django']\n# ///\n"
    posted = await program.post(FILES, {"file": part("s.py", header + HELPERS + CODE)})
    made = posted.json()
    assert made["requirements"] == {"dependencies": ["django"], "python": ">=3.11"}
    assert (await program.get(made["links"]["self"])).json() == made
    refused = await program.post(FILES, {"file": part("s.py", header.replace(b"Dj", b"/"))})
    told = problem_of(refused)
    assert (told["type"], told["errors"][0]["line"]) == ("bad_source", 3)


async def test_a_browser_uploads_with_a_csrf_token_only(browser):
    body = {"file": part("a.py", b"def djsci_handler(request):\n    return 1\n"), "name": "a"}
    assert problem_of(await browser.post(FILES, body))["type"] == "forbidden"
    browser.cookies["csrftoken"] = "c" * 32
    body["file"].seek(0)
    made = await browser.post(FILES, body, headers={"X-CSRFToken": "c" * 32})
    assert made.status_code == 201, made.content


@pytest.mark.parametrize(
    ("content", "code", "place"),
    [
        (b"def djsci_handler(:\n", "bad_source", ("line", 1)),
        (b"x = 1\n", "no_handler", None),
        (b"\x7fELF\x00\x01", "wrong_kind", None),
    ],
    ids=["syntax error", "no handler", "binary"],
)
async def test_what_cannot_run_is_refused(program, content, code, place):
    answer = await program.post(FILES, {"file": part("a.py", content), "name": "a"})
    told = problem_of(answer)
    assert told["type"] == code
    if place:
        assert told["errors"][0][place[0]] == place[1]
    assert not await PrivateFile.objects.aexists()


async def test_an_upload_without_an_entry_is_refused(program):
    for body in ({"name": "a"}, {"file": [part("a.py"), part("b.py")]}):
        told = problem_of(await program.post(FILES, body))
        assert (told["type"], told["errors"][0]["field"]) == ("bad_request", "file")
    told = problem_of(await program.post(FILES, {"a": 1}, content_type=JSON))
    assert told["type"] == "bad_request"


async def test_a_taken_name_is_a_conflict(program):
    await upload(program, name="double")
    told = problem_of(await program.post(FILES, {"file": part("x.py"), "name": "DOUBLE"}))
    assert (told["type"], told["errors"][0]["field"]) == ("conflict", "name")


async def put_form(client: AsyncClient, ref: str, fields: dict[str, Any], **headers: str) -> Any:
    body = encode_multipart(BOUNDARY, fields)
    return await client.put(f"{FILES}{ref}/", body, MULTIPART_CONTENT, headers=headers)


async def test_new_content_is_a_new_version_unless_it_moved(program):
    made = await upload(program, name="double")
    tag = f'"{made["version"]}"'
    new = CODE + b"# new\n"
    raw = await program.put(f"{FILES}double", new, "text/x-python", headers={"If-Match": tag})
    assert (raw.status_code, raw["ETag"]) == (200, f'"{raw.json()["version"]}"')
    assert raw["ETag"] != tag
    assert set(raw.json()["files"]) == {"main.py", "helpers.py"}
    late = await program.put(f"{FILES}double", CODE, "text/x-python", headers={"If-Match": tag})
    assert (late.status_code, problem_of(late)["type"]) == (412, "changed")
    form = await put_form(
        program, "double", {"file": part("b.ipynb", notebook("1"))}, **{"If-Match": "*"}
    )
    assert form.status_code == 200, form.content
    assert (form.json()["kind"], set(form.json()["files"])) == ("ipynb", {"b.ipynb"})
    versions = (await program.get(f"{FILES}double/versions")).json()["items"]
    assert [item["version"] for item in versions] == [
        form.json()["version"],
        raw.json()["version"],
        made["version"],
    ]
    assert await Audit.objects.filter(action="upload", subject=made["id"]).acount() == 3


async def test_new_content_may_bring_a_name_and_all_or_nothing_is_kept(program):
    made = await upload(program, name="double")
    await upload(program, name="taken")
    new = CODE + b"# new\n"

    async def put(**fields: Any) -> Any:
        return await put_form(program, made["id"], {"file": part("main.py", new), **fields})

    for name, told in (("Taken", (409, "conflict")), ("a/b", (400, "bad_request"))):
        refused = problem_of(await put(name=name))
        assert (refused["status"], refused["type"]) == told
        assert refused["errors"][0]["field"] == "name"
    assert problem_of(await put(access="authenticated"))["type"] == "forbidden"  # by a token
    assert problem_of(await put(access="everybody"))["type"] == "bad_request"
    still = (await program.get(f"{FILES}{made['id']}/")).json()
    assert (still["name"], still["version"]) == ("double", made["version"])
    answer = await put(name="twice", access="private")
    assert (answer.status_code, answer.json()["name"]) == (200, "twice"), answer.content
    assert answer.json()["version"] != made["version"]
    assert (await put(name="")).json()["name"] == "twice"
    assert (await program.get(f"{FILES}twice/")).json()["version"] == answer.json()["version"]


async def test_new_content_may_be_shared_by_a_person(browser, make_file: MakeFile):
    await in_database(make_file, CODE, name="one")
    browser.cookies["csrftoken"] = "c" * 32
    answer = await put_form(
        browser,
        "one",
        {"file": part("main.py"), "access": "authenticated"},
        **{"X-CSRFToken": "c" * 32},
    )
    assert (answer.status_code, answer.json()["access"]) == (200, "authenticated"), answer.content


async def test_trust_can_be_read_back(browser, make_file: MakeFile):
    code = "def djsci_handler(request):\n    return 1\n"
    file = await in_database(make_file, code, name="one")
    first = file.version.sha256
    browser.cookies["csrftoken"] = "c" * 32
    headers = {"X-CSRFToken": "c" * 32}

    async def trust(is_trusted: bool) -> Any:
        wanted = {"settings": {"trusted": is_trusted}}
        answer = await browser.patch(f"{FILES}one/", wanted, content_type=JSON, headers=headers)
        return answer.status_code == 200 and is_trusted in (await versions()).values()

    async def versions() -> dict[str, bool]:
        items = (await browser.get(f"{FILES}one/versions/")).json()["items"]
        return {item["version"]: item["trusted"] for item in items}

    assert await trust(False)
    assert await versions() == {first: False}
    assert await trust(True)
    known = (await browser.get(f"{FILES}one/")).json()
    assert (
        "trusted" not in known["settings"]
    )  # sent back after an upload, it would trust what nobody saw
    assert await versions() == {first: True}
    new = await put_form(browser, "one", {"file": part("handler.py", CODE)}, **headers)
    assert await versions() == {first: True, new.json()["version"]: False}
    assert await trust(True)
    assert await trust(False)
    assert set((await versions()).values()) == {False}


async def test_the_source_is_an_attachment(program):
    made = await upload(program, name="double")
    answer = await program.get(f"{FILES}double/source/")
    assert (answer.content, answer["Content-Type"]) == (CODE, "application/octet-stream")
    assert answer["Content-Disposition"] == 'attachment; filename="main.py"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert (await program.get(f"{FILES}double/source/helpers.py")).content == HELPERS
    assert (await program.get(f"{FILES}double/source/none.py")).status_code == 404
    await program.put(f"{FILES}double", CODE + b"# new\n", "text/x-python")
    old = await program.get(f"{FILES}double/source/?version={made['version']}")
    assert old.content == CODE
    assert (await program.head(f"{FILES}double/source/")).status_code == 200


async def test_name_and_settings_change(program, make_program, user):
    made = await upload(program, name="double")
    answer = await program.patch(
        f"{FILES}double/", {"name": "twice", "settings": {"timeout": 5}}, content_type=JSON
    )
    assert answer.status_code == 200, answer.content
    assert (answer.json()["name"], answer.json()["settings"]) == ("twice", {"timeout": 5})
    wrong = await program.patch(
        f"{FILES}twice/", {"settings": {"timeout": "long"}}, content_type=JSON
    )
    assert problem_of(wrong)["errors"][0]["field"] == "timeout"
    odd = await program.patch(f"{FILES}twice/", {"colour": 1}, content_type=JSON)
    told = problem_of(odd)
    assert (told["type"], told["title"]) == (
        "bad_parameters",
        "The body does not fit what is asked for here.",
    )
    for privileged, detail in (
        ({"access": "authenticated"}, "A token may not share this file; sign in."),
        ({"settings": {"trusted": True}}, "trusted: A token may not set this; sign in."),
    ):
        refused = await program.patch(f"{FILES}twice/", privileged, content_type=JSON)
        told = problem_of(refused)
        assert (told["type"], told["detail"]) == ("forbidden", detail)
    assert (await program.get(f"{FILES}{made['id']}/")).json()["access"] == "private"


async def test_a_person_shares_a_file(browser, make_file: MakeFile):
    await in_database(make_file, "def djsci_handler(request):\n    return 1\n", name="one")
    browser.cookies["csrftoken"] = "c" * 32
    answer = await browser.patch(
        f"{FILES}one/",
        {"access": "authenticated"},
        content_type=JSON,
        headers={"X-CSRFToken": "c" * 32},
    )
    assert answer.json()["access"] == "authenticated", answer.content


async def test_a_deleted_file_is_gone_and_one_in_use_stays(program):
    made = await upload(program, name="double")
    ended = await program.post(f"{FILES}double/runs/", headers={"Prefer": "wait=30"})
    assert ended.status_code == 200
    run_id = ended.json()["id"]
    await Run.objects.filter(pk=run_id).aupdate(state="running")
    assert problem_of(await program.delete(f"{FILES}double/"))["type"] == "conflict"
    await Run.objects.filter(pk=run_id).aupdate(state="failed")
    gone = await program.delete(f"{FILES}double/")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await program.get(f"{FILES}{made['id']}/")).status_code == 404


async def test_strangers_see_nothing_and_those_who_may_run_see_no_source(
    program, stranger, make_file: MakeFile
):
    await in_database(make_file, CODE, name="secret")
    shared = await in_database(make_file, CODE, name="shared", access="authenticated")
    assert (await AsyncClient().get(FILES)).status_code == 401
    listed = (await stranger.get(FILES)).json()["items"]
    assert [item["id"] for item in listed] == [shared.pk]
    hidden = await stranger.get(f"{FILES}secret/")
    assert hidden.content == (await stranger.get(f"{FILES}nothing/")).content
    for method, path, status in (
        ("get", "secret/source/", 404),
        ("get", "shared/source/", 403),
        ("get", "shared/versions/", 403),
        ("put", "shared/", 403),
        ("patch", "shared/", 403),
        ("delete", "shared/", 403),
        ("delete", "secret/", 404),
    ):
        answer = await getattr(stranger, method)(FILES + path)
        assert answer.status_code == status, (method, path)
    refused = await stranger.post(FILES, {"file": part("a.py"), "name": "a"})
    assert problem_of(refused)["type"] == "forbidden"
    assert await PrivateFile.objects.acount() == 2


async def test_a_list_comes_in_pages_newest_first(program, make_file: MakeFile):
    code = "def djsci_handler(request):\n    return 1\n"
    made = [(await in_database(make_file, code, name=f"file {n}")).pk for n in range(5)]
    await PrivateFile.objects.filter(pk=made[0]).aupdate(created=None)
    seen, cursor = [], ""
    while cursor is not None:
        page = (await program.get(f"{FILES}?limit=2&cursor={cursor}")).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert seen == [*reversed(made[1:]), made[0]]
    for bad in ("cursor=x", "limit=0", "limit=x"):
        assert problem_of(await program.get(f"{FILES}?{bad}"))["type"] == "bad_request"
    cursor = urlsafe_b64encode(b'[null, "x"]').decode()  # such as a list with other keys gives
    forged = await program.get(f"{FILES}{made[1]}/versions/?cursor={cursor}")
    assert problem_of(forged)["type"] == "bad_request"
    assert (await program.get(f"{FILES}?limit=1000")).status_code == 200


async def test_a_row_of_the_first_release_without_a_file_is_listed(program, user):
    row = await PrivateFile.objects.acreate(name="", owner=user)
    listed = (await program.get(FILES)).json()["items"]
    assert (listed[0]["id"], listed[0]["version"], listed[0]["files"]) == (row.pk, None, {})
    assert problem_of(await program.get(f"/djsci/sync_py/{row.pk}/"))["type"] == "not_found"


async def test_every_route_without_a_final_slash_and_unknown_ones(program):
    assert (await program.get("/djsci/api/v1/files")).status_code == 200
    for path in ("/djsci/api/v1/", "/djsci/api/v1/files/a/b/c/", "/djsci/nope", "/djsci/a\nb"):
        assert problem_of(await program.get(path))["type"] == "not_found"
    refused = await program.patch(FILES)
    assert (problem_of(refused)["type"], refused["Allow"]) == (
        "bad_method",
        "GET, POST, HEAD, OPTIONS",
    )
    offered = await program.options(f"{FILES}x/")
    assert (offered.status_code, offered["Allow"]) == (
        204,
        "GET, PUT, PATCH, DELETE, HEAD, OPTIONS",
    )
    assert (await program.head(f"{FILES}x/runs/")).status_code == 204
    json.dumps((await program.get("/djsci/api/v1/openapi.json")).json())
