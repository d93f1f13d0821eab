"""What is somebody else's is not there: by its id, in lists and counts, for whoever comes how."""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient

from djsci import blobs, uploads, versions
from djsci.access import tokens
from djsci.access.database import in_database
from djsci.core import events
from djsci.engines import registry
from djsci.models import PrivateFile, Run
from djsci.routing import websocket_urlpatterns
from tests.access.conftest import dump
from tests.access.test_matrix import ORIGIN, offered, plain, routes, spoken
from tests.conftest import MakeFile
from tests.web.conftest import MakeRun, Program, make_run  # noqa: F401 - a fixture

CODE = "def djsci_handler(request):\n    return 1\n"
HIDDEN = "hidden"  # in the name of all that is somebody else's
MISSING = {
    "ref": "missing",
    "name_id": "missing",
    "run_id": "missing",
    "token_id": "missing",
    "path": "missing.py",
}
BODIES = {
    "PATCH djsci/api/v1/files/{ref}": {"name": "taken", "settings": {"timeout": 1}},
    "POST djsci/console/files/{name_id}/versions/restore": {"version": "0" * 64},
}


class Yours:
    """A file of `owner`, with a run and a token of theirs; another, which `stranger` may run."""

    def __init__(self, make_file: MakeFile, make_a_run: MakeRun) -> None:
        person = get_user_model().objects.create_user
        self.make_file, self.make_a_run = make_file, make_a_run
        self.owner, self.stranger = person(f"{HIDDEN}-owner"), person("stranger")
        self.shared = self.file("shared", person("sharer"))
        self.shared.granted_users.add(self.stranger)
        self.mine = self.file("mine", self.stranger)
        self.runs = [self.run(file, self.stranger) for file in (self.shared, self.mine) * 2]

    def file(self, name: str, owner: Any) -> PrivateFile:
        file = self.make_file(f"{CODE}# {name}\n", name=name)
        file.owner = owner
        file.file.save(f"{name}.py", ContentFile(CODE))
        uploads.current_version(file)
        return file

    def run(self, file: PrivateFile, user: Any, state: str = "succeeded") -> Run:
        said = (
            events.Stream(name="stdout", text=f"{user} said it"),
            events.DisplayData(data={"text/html": "<b>shown</b>"}),
            events.Artifact(
                name="left.txt", size=4, content_type="text/plain", sha256=blobs.put(b"left")
            ),
        )
        return self.make_a_run(file, *said, user=user, state=state)

    def hide(self) -> None:
        """The owner's things: those of another, and runs of what the stranger may run, too."""
        self.hidden = self.file(f"{HIDDEN}-file", self.owner)
        self.hidden.notes = f"{HIDDEN} notes"
        self.hidden.save()
        self.live = self.run(self.hidden, self.owner, "queued")
        self.ended = self.run(self.hidden, self.owner)
        self.beside = [self.run(self.shared, self.owner, state) for state in ("failed", "queued")]
        self.token = tokens.make(self.owner, f"{HIDDEN}-token", ("run",), [self.hidden])[0]
        # As many came before the stranger's own things as after them.
        early = self.runs[0].created
        PrivateFile.objects.filter(pk=self.hidden.pk).update(created=early)
        Run.objects.filter(pk__in=(self.ended.pk, self.beside[0].pk)).update(created=early)

    def ids(self) -> dict[str, str]:
        """What a route's names are of the hidden things."""
        return {
            "ref": self.hidden.pk,
            "name_id": self.hidden.pk,
            "run_id": self.live.pk,
            "token_id": self.token.pk,
            "path": (self.hidden.file.name or "").removeprefix("private_files/"),
        }

    def own(self) -> dict[str, str]:
        return {
            "ref": self.mine.pk,
            "name_id": self.mine.pk,
            "run_id": self.runs[1].pk,
            "token_id": "missing",
            "path": (self.mine.file.name or "").removeprefix("private_files/"),
        }

    def comers(self) -> Iterator[tuple[str, AsyncClient]]:
        """The stranger by cookie and by token; the owner by a token for another file only."""
        browser = AsyncClient()
        browser.force_login(self.stranger)
        yield "cookie", browser
        yield "token", Program(tokens.make(self.stranger, "all", tokens.SCOPES)[1])
        other = self.file("other", self.owner)
        yield "limited", Program(tokens.make(self.owner, "one", tokens.SCOPES, [other])[1])


@pytest.fixture
def yours(make_file: MakeFile, make_run: MakeRun) -> Yours:  # noqa: F811
    return Yours(make_file, make_run)


def address(route: str, values: dict[str, str]) -> str:
    slash = "" if route.startswith("private_files") else "/"
    return f"/{route}{slash}".format_map({"seq": 3, "name": "left.txt", **values})


async def ask(client: AsyncClient, method: str, path: str, sent: Any = None) -> tuple[int, str]:
    """Status and body, without what differs from one answer to the next."""
    is_api = "/api/v1/" in path and path.rpartition(".")[2] != "html"
    body = json.dumps(sent or {}) if is_api else ""
    options: dict[str, Any] = {}
    if method not in ("GET", "ANY"):
        options = {"data": body or sent or {}, "content_type": "application/json"}
        if not is_api:
            del options["content_type"]
    answer = await getattr(client, "post" if method == "ANY" else method.lower())(path, **options)
    if answer.streaming:
        content = b"".join([part async for part in answer.streaming_content])
    else:
        content = answer.content
    text = content.decode() + "\n".join(answer.get(name, "") for name in ("Location", "ETag"))
    return answer.status_code, steady(text)


def steady(text: str) -> str:
    """Without nonces and forms' keys and tokens, and without what time it is."""
    text = re.sub(
        r'(nonce[-=]"?|name="key" value="|csrf\w*"[^>]*?value="|"csrf\w*": ?")[\w+/=-]+',
        r"\1",
        text,
    )
    return re.sub(r'ago="\d+">[^<]*|"now": [\d.]+', "now", text)


async def objects() -> list[tuple[str, str]]:
    """Every method and route that names a thing."""
    sockets = {plain(str(pattern.pattern)) for pattern in websocket_urlpatterns}
    named = [route for route in sorted(routes() - sockets) if "{" in route]
    return [(method, route) for route in named for method in sorted(await offered(route))]


def differing(found: tuple[int, str], missing: tuple[int, str], ids: dict[str, str]) -> bool:
    """Whether an answer tells more than that nothing is there."""
    text = found[1]
    for name, value in ids.items():
        text = text.replace(value, MISSING[name])
    return (found[0], text) != missing


async def test_a2_what_is_anothers_answers_as_what_is_missing_and_stays_as_it_was(
    yours: Yours,
) -> None:
    await in_database(yours.hide)
    comers = await in_database(lambda: list(yours.comers()))
    for _, client in comers:
        await client.get("/djsci/api/v1/files/")  # a token's first use is noted
    ids, before = yours.ids(), await in_database(dump)
    wrong = []
    for method, route in await objects():
        for comer, client in comers:
            sent = BODIES.get(f"{method} {route}", {})
            found = await ask(client, method, address(route, ids), sent)
            missing = await ask(client, method, address(route, MISSING), sent)
            if differing(found, missing, ids) or (comer == "cookie" and found[0] != 404):
                wrong.append((comer, method, route, found, missing))
    assert wrong == []
    assert await in_database(dump) == before


async def test_a2_a_socket_to_what_is_anothers_is_closed_as_one_to_nothing(yours: Yours) -> None:
    await in_database(yours.hide)
    (_, browser), (_, program), _ = await in_database(lambda: list(yours.comers()))
    cookie = browser.cookies.output(header="", sep=";").strip()
    bearer = f"Bearer {program.secret}"  # type: ignore[attr-defined]
    await program.get("/djsci/api/v1/files/")
    before = await in_database(dump)
    for headers in ({"Cookie": cookie, "Origin": ORIGIN}, {"Authorization": bearer}):
        for pattern in websocket_urlpatterns:
            route = plain(str(pattern.pattern))
            found = await spoken(f"/{route}/".format_map(yours.ids()), headers)
            assert found == await spoken(f"/{route}/".format_map(MISSING), headers)
            assert found[-1]["code"] == 4404
    assert await in_database(dump) == before


async def test_a2_naming_what_is_anothers_in_a_body_or_query_does_nothing(yours: Yours) -> None:
    await in_database(yours.hide)
    hidden, mine = yours.hidden, yours.mine
    assert hidden.version
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "api/v1/tickets", {"file": "{ref}"}),
        ("POST", "api/v1/tickets", {"run": "{run_id}"}),
        ("POST", "api/v1/tokens", {"name": "t", "scopes": ["run"], "files": ["{ref}"]}),
        ("POST", "console/tokens", {"name": "t", "scopes": "run", "files": "{ref}"}),
        ("POST", "console/runs/cancel", {"run": "{run_id}"}),
        ("GET", "console/runs/news/?run={run_id}", {}),
        ("GET", f"console/runs/compare/?run={yours.runs[1].pk}&run={{run_id}}", {}),
        ("GET", "api/v1/runs/?file={ref}", {}),
        ("GET", "console/runs/?file={ref}", {}),
        ("GET", "console/?q={ref}", {}),
        ("GET", f"api/v1/files/{mine.pk}/source/?version={{version}}", {}),
        ("GET", f"console/files/{mine.pk}/source/?version={{version}}", {}),
        ("GET", f"console/files/{mine.pk}/versions/diff/?from={{version}}", {}),
        ("POST", f"console/files/{mine.pk}/versions/restore", {"version": "{version}"}),
    ]
    ids = {**yours.ids(), "version": hidden.version.sha256}
    missing = {**MISSING, "version": "0" * 64}
    client = AsyncClient()
    await client.aforce_login(yours.stranger)
    before = await in_database(dump)
    for method, path, body in asked:
        told = []
        for values in (ids, missing):
            sent = json.loads(json.dumps(body), object_hook=lambda given: filled(given, values))  # noqa: B023
            where = f"/djsci/{path}".format_map(values)
            told.append(await ask(client, method, where if "?" in where else f"{where}/", sent))
        text = told[0][1]
        for name, value in ids.items():
            text = text.replace(value, missing[name])
        assert (told[0][0], text) == told[1], path
    assert await in_database(dump) == before


def filled(given: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        return [item.format_map(values) for item in value] if isinstance(value, list) else value

    return {
        key: value.format_map(values) if isinstance(value, str) else one(value)
        for key, value in given.items()
    }


async def looked_at(yours: Yours, client: AsyncClient) -> dict[str, tuple[int, str]]:
    """All that a reader can look at, and what is found by turning pages."""
    found: dict[str, tuple[int, str]] = {}
    sockets = {plain(str(pattern.pattern)) for pattern in websocket_urlpatterns}
    for route in sorted(routes() - sockets):
        is_read = not re.search("/sync_|/health/|/metrics", route)  # it runs, it tells of the site
        if is_read and "GET" in await offered(route):
            path = address(route, yours.own())
            found[path] = await ask(client, "GET", path)
    for query in ("runs/?state=queued", "runs/?sort=name", f"?q={HIDDEN}", f"runs/?user={HIDDEN}"):
        found[query] = await ask(client, "GET", f"/djsci/console/{query}")
    found["shared"] = await ask(client, "GET", f"/djsci/console/files/{yours.shared.pk}/")
    found["its runs"] = await ask(client, "GET", f"/djsci/console/files/{yours.shared.pk}/runs/")
    for listed in ("files", "runs"):
        cursor: str | None = ""
        while cursor is not None:
            path = f"/djsci/api/v1/{listed}/?limit=1&cursor={cursor}".removesuffix("&cursor=")
            status, text = found[path] = await ask(client, "GET", path)
            assert status == 200, text
            cursor = json.loads(text)["next"]
    return found


async def test_a4_whatever_others_have_changes_nothing_that_one_reads(yours: Yours) -> None:
    client = AsyncClient()
    await client.aforce_login(yours.stranger)
    before = await looked_at(yours, client)
    assert len(before) > 40
    assert any("mine" in text for _, text in before.values())
    await in_database(yours.hide)
    after = await looked_at(yours, client)
    assert after.keys() == before.keys()
    lines = [(set(before[path][1].splitlines()), after[path][1].splitlines()) for path in before]
    assert [line for old, new in lines for line in new if line not in old] == []
    assert after == before


async def test_a6_new_content_of_a_trusted_file_runs_isolated(yours: Yours, settings: Any) -> None:
    """Only the version that a superuser looked at is let near the server."""
    settings.DJSCI = {"ISOLATION": "process", "POOL": {"size": 0, "preload": []}}
    code = "import os\n\n\ndef djsci_handler(request):\n    return os.getpid()\n"
    file = await in_database(yours.make_file, code)
    await in_database(PrivateFile.objects.filter(pk=file.pk).update, owner=yours.stranger)
    client = AsyncClient()
    await client.aforce_login(yours.stranger)
    page = f"/djsci/console/files/{file.pk}/versions/"

    async def run() -> tuple[str, bool]:
        where, headers = f"/djsci/api/v1/files/{file.pk}/runs/", {"Prefer": "wait=60"}
        made = await client.post(where, {}, content_type="application/json", headers=headers)
        assert made.json()["state"] == "succeeded", made.content
        return made.json()["engine"], made.json()["result"] == os.getpid()

    assert await run() == ("thread", True)
    for sent in (("files", "helpers.py", ""), ("file", "handler.py", f"{code}# anew\n")):
        given = {sent[0]: SimpleUploadedFile(sent[1], sent[2].encode()), "keep": "true"}
        assert (await client.post(page, given)).status_code == 303
        assert await run() == ("fork", False)
        renewed = await PrivateFile.objects.select_related("version").aget(pk=file.pk)
        assert renewed.version
        for engine in ("thread", "fork"):
            renewed.settings = {"engine": engine}
            source = await in_database(versions.source, renewed.version)
            assert not (
                await in_database(registry.choose, renewed, renewed.version, source)
            ).is_trusted
