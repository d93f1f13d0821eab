"""Every role at every route: `matrix.yaml` says who gets where, and must name every route."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.test import AsyncClient

from djsci import blobs
from djsci.access import tokens
from djsci.access.database import in_database
from djsci.core import events
from djsci.guest.requests import HandlerRequest
from djsci.routing import application, websocket_urlpatterns
from djsci.urls import djsci_urls
from tests.access.conftest import MODEL_PERMISSIONS
from tests.conftest import MakeFile
from tests.web.conftest import MakeRun, make_run  # noqa: F401 - a fixture

MATRIX: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("matrix.yaml").read_text(encoding="utf-8")
)
ROLES = ("anonymous", "stranger", "runner", "owner", "staff", "superuser")
HANDLER = "def djsci_handler(request):\n    return 1\n"
REFUSED = (401, 403, 404, 405)
QUERIES = {
    "djsci/api/v1/runs/{run_id}/outputs/{seq}/data": "?type=text/html",
    "djsci/console/files/{name_id}/versions/diff": "?from={version}",
    "djsci/console/runs/compare": "?run={run_id}&run={other_run}",
}
ORIGIN = "http://testserver"
CATCH_ALL = ("djsci/console/[\\s\\S]*", "djsci/[\\s\\S]*")


def plain(route: str) -> str:
    """A route with its names in braces and without its final slash."""
    route = re.sub(
        r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>", lambda at: f"{{{at[1] or at[2]}}}", route
    )
    return route.removeprefix("^").removesuffix("\\Z").removesuffix("/?").rstrip("/")


def routes() -> set[str]:
    found = {plain(str(pattern.pattern)) for pattern in [*djsci_urls, *websocket_urlpatterns]}
    return found - set(CATCH_ALL)


async def offered(route: str) -> set[str]:
    """The methods that a route says it takes; `ANY` where the request is the handler's own."""
    if route.startswith("djsci/call/"):
        return {"ANY"}
    values = {
        "seq": 1,
        **dict.fromkeys(("ref", "name_id", "run_id", "token_id", "name", "path"), "x"),
    }
    answer = await AsyncClient().options(f"/{route.format_map(values)}/")
    allowed = {*answer.get("Allow", "GET").replace(" ", "").split(",")}
    return allowed - {"HEAD", "OPTIONS"}


class World:
    """A private file of `owner`, which `runner` may run, and has; a token of each."""

    def __init__(self, make: MakeFile, make_a_run: MakeRun, superuser: Any) -> None:
        person = type(superuser).objects.create_user
        self.users = {name: person(name) for name in ("stranger", "runner", "owner")}
        self.users["staff"] = person("staff", is_staff=True)
        self.users["staff"].user_permissions.set(
            Permission.objects.filter(
                codename__in=MODEL_PERMISSIONS, content_type__app_label="djsci"
            )
        )
        self.users["superuser"] = superuser
        self.make_file, self.make_run = make, make_a_run
        self.values: dict[str, str] = {}

    def renew(self) -> None:
        """A file and a run as they were, whatever the last request did."""
        file = self.make_file(HANDLER)
        file.owner = self.users["owner"]
        file.file.save("matrix.py", ContentFile(HANDLER))
        file.granted_users.add(self.users["runner"])
        sha256 = blobs.put(b"left")
        said = (
            events.DisplayData(data={"text/html": "<b>shown</b>"}),
            events.Artifact(name="left.txt", size=4, content_type="text/plain", sha256=sha256),
        )
        request = json.dumps(HandlerRequest(method="POST").to_dict())
        run = self.make_run(file, *said, user=self.users["runner"], request=request)
        other = self.make_run(file, user=self.users["runner"])
        token, _ = tokens.make(self.users["owner"], "shown", ("run",))
        self.values = {
            "ref": file.pk,
            "name_id": file.pk,
            "run_id": run.pk,
            "other_run": other.pk,
            "token_id": str(token.pk),
            "path": file.file.name.removeprefix("private_files/"),
            "version": file.version.sha256,
            "seq": "2",
        }

    async def ask(self, entry: str, role: str, scope: str = "") -> int | str:
        """What comes of a request of somebody; with a `scope` by a token that has it alone."""
        await in_database(self.renew)
        method, _, route = entry.partition(" ")
        headers = {"X-Forwarded-For": "203.0.113.9"}
        if route.endswith("frame"):
            headers |= {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "same-origin"}
        if scope:
            made = await in_database(tokens.make, self.users[role], "used", scope.split())
            headers["Authorization"] = f"Bearer {made[1]}"
        client = AsyncClient()
        if role != "anonymous" and not scope:
            await client.aforce_login(self.users[role])
        self.values["name"] = "left.txt" if "artifacts" in route else "handler.py"
        slash = "" if route.startswith("private_files") else "/"
        query = QUERIES.get(route, "")
        path = f"/{route}{slash}{query}".format_map(self.values)
        if method == "WS":
            cookie = client.cookies.output(header="", sep=";").strip()
            return await opened(path, {**headers, "Cookie": cookie, "Origin": ORIGIN})
        ask = getattr(client, "get" if method == "ANY" else method.lower())
        given = {"data": {"version": self.values["version"]}} if method == "POST" else {}
        return verdict(await ask(path, headers=headers, **given))


async def opened(path: str, headers: dict[str, str]) -> int | str:
    """What comes of a handshake: 403 before it, a closing code after it, or `in`."""
    said = await spoken(path, headers)
    if not said:
        return 403
    return int(said[-1]["code"]) if said[-1]["type"] == "websocket.close" else "in"


async def spoken(path: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    """What a socket says after the handshake, to its first word or its closing; often nothing."""
    scope = {
        "type": "websocket",
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()]
        + [(b"host", b"testserver")],
        "client": ["127.0.0.1", 1],
        "server": ["testserver", 80],
        "subprotocols": ["djsci.v1"],
    }
    socket = ApplicationCommunicator(application(_nothing), scope)
    await socket.send_input({"type": "websocket.connect"})
    if (await socket.receive_output(10))["type"] != "websocket.accept":
        return []
    said = [await socket.receive_output(10)]
    if "error" in said[0].get("text", ""):
        said.append(await socket.receive_output(10))
    await socket.send_input({"type": "websocket.disconnect", "code": 1001})
    await socket.wait(10)
    return said


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """The HTTP side, which no socket asks."""


@pytest.fixture
def world(make_file: MakeFile, make_run: MakeRun, user: Any) -> World:  # noqa: F811
    return World(make_file, make_run, user)


def verdict(answer: Any) -> int | str:
    """`in`: whoever asked may; what the request lacks is another matter."""
    if answer.status_code == 302 and answer["Location"].startswith(settings.LOGIN_URL):
        return "login"
    assert answer.status_code < 500, answer
    return answer.status_code if answer.status_code in REFUSED else "in"


async def test_a1_every_route_and_method_is_in_the_matrix(db: None) -> None:
    """C1: a route that nobody thought of is a route without a check."""
    sockets = {plain(str(pattern.pattern)) for pattern in websocket_urlpatterns}
    expected = {f"WS {route}" for route in sockets}
    for route in routes() - sockets:
        expected |= {f"{method} {route}" for method in await offered(route)}
    assert set(MATRIX) == expected


async def test_a1_every_role_gets_where_the_matrix_says(world: World) -> None:
    """C1: sockets, pages and the API alike ask who it is, whatever a page would show."""
    wrong = {}
    for entry, row in MATRIX.items():
        found = {role: await world.ask(entry, role) for role in ROLES}
        if found != {role: row[role] for role in ROLES}:
            wrong[entry] = found
    assert wrong == {}


async def test_a1_a_token_gets_in_by_its_own_scope_only(world: World) -> None:
    wrong = {}
    for entry, row in MATRIX.items():
        needed = {*row["scope"].split()} & {*tokens.SCOPES}
        scopes = [" ".join(needed or tokens.SCOPES), " ".join({*tokens.SCOPES} - needed)]
        found = [await world.ask(entry, "owner", given) == "in" for given in scopes]
        if found != [row["scope"] != "never", row["scope"] == "any"]:
            wrong[entry] = found
    assert wrong == {}
