"""Attacks through a victim's browser: foreign pages, stolen or outlived sessions, floods.

What one function can show is in `tests/access/test_origins.py` and `test_requests.py`; what ends
a socket of a bad client (B6) in `tests/web/test_sockets.py`.
"""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import yaml
from django.test import AsyncClient, Client, override_settings
from websockets.exceptions import ConnectionClosed

from djsci.access.database import in_database
from djsci.models import Run
from tests import live
from tests.access.test_matrix import MATRIX, QUERIES, World
from tests.client import Follower, Refused, until
from tests.conftest import MakeFile
from tests.web.conftest import MakeRun, make_run  # noqa: F401 - a fixture

CODE = """
import time

def djsci_handler(request, seconds: float = 0, lines: int = 0):
    print("begun", flush=True)
    for number in range(lines):
        print("x" * 1000)
    time.sleep(seconds)
    return "ran"
"""
OLD_KEY, NEW_KEY = "the old key of a site " * 3, "the new key of a site " * 3
TALK = {
    "name": "talk",
    "owner": "ada",
    "access": "authenticated",
    "trusted": True,
    "settings": {"engine": "thread"},
    "files": {"handler.py": CODE},
}
WANTED = {"users": [{"name": "ada", "superuser": True}], "files": [TALK]}


@dataclass
class Place:
    """A server that answers to two names, and what was seeded in it."""

    site: live.Site
    made: live.Seeded

    @property
    def port(self) -> int:
        return urlsplit(self.site.url).port or 0

    def count(self, model: str = "Run") -> int:
        code = f"from djsci.models import {model}\nanswer = {model}.objects.count()"
        return int(self.site.execute(code))


@pytest.fixture(
    scope="module", params=[pytest.param("daphne", marks=pytest.mark.faults), "uvicorn"]
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A server that asks again and again whether its clients may still be there."""
    settings = {
        "ALLOWED_HOSTS": ["127.0.0.1", ".own.test"],
        "SECRET_KEY": NEW_KEY,
        "SECRET_KEY_FALLBACKS": [OLD_KEY],
        "DJSCI": {"ALLOWED_ORIGINS": ["https://app.own.test"]},
    }
    with live.server(request.param, settings=settings, intervals={"recheck": 0.5}) as site:
        yield Place(site, site.seed(WANTED))


@pytest.fixture(
    scope="module", params=[pytest.param("daphne", marks=pytest.mark.faults), "uvicorn"]
)
def calm(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A server that asks again as seldom as on a site, so not within these tests."""
    with live.server(request.param, intervals={"start": 60, "send_blocked": 1}) as site:
        yield Place(site, site.seed(WANTED))


def handshake(place: Place, path: str, host: str, headers: dict[str, str]) -> int:
    """The status that answers a handshake, whose lines are written by hand."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection(("127.0.0.1", place.port), timeout=20) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return int(connection.recv(64).split()[1])


def test_b1_b2_a_cookie_opens_sockets_from_its_own_origin_only(place: Place) -> None:
    """C4: an origin is compared whole: none passes for what its text begins or ends with."""
    cookie = {"Cookie": f"sessionid={place.made.sessions['ada']}"}
    own = f"own.test:{place.port}"
    foreign = {
        "another host": "http://evil.test",
        "another port": f"http://own.test:{place.port + 1}",
        "a subdomain": f"http://sub.own.test:{place.port}",
        "another scheme": f"https://own.test:{place.port}",
        "null": "null",
        "userinfo": f"http://own.test:{place.port}@evil.test",
        "an allowed name before another": "https://app.own.test.evil.test",
        "none": None,
    }
    for path in ("/djsci/ws/call/talk/", "/djsci/ws/runs/any/"):
        found = {}
        for name, origin in foreign.items():
            headers = {**cookie, **({"Origin": origin} if origin else {})}
            found[name] = handshake(place, path, own, headers)
        if found["null"] == 400:  # Daphne's own library answers an opaque origin before us
            found["null"] = 403
        assert found == dict.fromkeys(foreign, 403)
        # A name that was pointed here: its own page is of the same origin as the address it calls.
        for host in ("evil.test", f"evil.test:{place.port}", "own.test.evil.test", "notown.test"):
            rebound = {**cookie, "Origin": f"http://{host}"}
            assert handshake(place, path, host, rebound) in (400, 403), host
        for origin in (f"http://{own}", "https://app.own.test"):
            assert handshake(place, path, own, {**cookie, "Origin": origin}) == 101
        bearer = place.made.bearer("ada")
        assert handshake(place, path, own, bearer) == 101
        assert handshake(place, path, "evil.test", bearer) in (400, 403)


NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FRAME = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
NO_CORS = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"}
IMAGE = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TEXT = {"Content-Type": "text/plain"}


def test_b3_nothing_of_another_site_runs_a_file(place: Place) -> None:
    """C7: a request without CORS is not taken for one of this site."""
    before = place.count()
    runs = ("sync_py/talk/", "sync_ipynb/talk/", "call/talk/", "call/talk/deeper")
    posts = (*runs, "api/v1/files/talk/runs/", "console/files/talk/run/")
    with httpx.Client(base_url=place.site.url, timeout=30) as http:
        http.cookies.update(place.made.cookies("ada"))
        found = {}
        for site in ("cross-site", "same-site"):
            for headers in (NAVIGATE | FORM, NAVIGATE | TEXT, NO_CORS | TEXT, FRAME | FORM):
                for path in posts:
                    sent = {"Sec-Fetch-Site": site, "Origin": "http://evil.test", **headers}
                    answer = http.post(f"/djsci/{path}", headers=sent, content=b'{"seconds": 0}')
                    found[site, path, str(headers)] = answer.status_code
            for headers in (IMAGE, FRAME, NO_CORS):
                for path in runs:
                    answer = http.get(f"/djsci/{path}", headers={"Sec-Fetch-Site": site, **headers})
                    found[site, path, str(headers)] = answer.status_code
        for path in runs:  # a browser that sends no Fetch Metadata
            for headers in ({"Origin": "http://evil.test"}, {"Referer": "http://evil.test/"}):
                found["", path, str(headers)] = http.get(
                    f"/djsci/{path}", headers=headers
                ).status_code
        assert {key: status for key, status in found.items() if status != 403} == {}
        for path in runs:
            hostile = f"/djsci/{path}?seconds=0&x=%3Cscript%3E"
            page = http.get(hostile, headers={"Sec-Fetch-Site": "cross-site", **NAVIGATE})
            assert page.status_code == 200
            assert "Run" in page.text
            assert "csrfmiddlewaretoken" in page.text
            assert "<script>" not in page.text
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert place.count() == before
        assert http.get("/djsci/sync_py/talk/").json() == "ran"
        assert place.count() == before + 1


def test_b4_a_login_takes_a_new_session_and_its_cookies_are_kept_from_scripts_and_sites() -> None:
    settings = {"DJSCI_HTTPS": "1"}
    with live.server("uvicorn", environment=settings) as site:
        site.seed({"users": [{"name": "ada"}]})
        behind_tls = {"X-Forwarded-Proto": "https"}
        with httpx.Client(base_url=site.url, headers=behind_tls, timeout=30) as http:
            page = http.get("/accounts/login/")
            token, own = page.cookies["csrftoken"], site.url.replace("http://", "https://")

            def sign_in(session: str, form_token: str, **headers: str) -> httpx.Response:
                http.cookies.clear()
                sent = {"Cookie": f"sessionid={session}; csrftoken={token}", **headers}
                form = {"username": "ada", "password": "ada", "csrfmiddlewaretoken": form_token}
                return http.post("/accounts/login/", data=form, headers=sent)

            for forged in (
                {"Origin": "https://evil.test"},
                {"Origin": "null"},
                {"Referer": "https://evil.test/"},
                {},
            ):
                refused = sign_in("", token, **forged)
                assert (refused.status_code, "sessionid" in refused.cookies) == (403, False), forged
            assert sign_in("", "x" * 32, Origin=own).status_code == 403
            planted = site.execute(
                "from django.contrib.sessions.backends.db import SessionStore\n"
                "store = SessionStore()\nstore['cart'] = 1\nstore.save()\n"
                "answer = store.session_key"
            )
            for session in (planted, "f" * 32):
                entered = sign_in(session, token, Origin=own)
                assert entered.status_code == 302
                made = entered.headers.get_list("set-cookie")
                given = {text.partition("=")[0]: text.lower() for text in made}
                assert all("secure" in text and "samesite=lax" in text for text in given.values())
                assert "httponly" in given["sessionid"]
                assert session not in given["sessionid"]
                assert token not in given["csrftoken"]
                old = http.get("/djsci/console/", headers={"Cookie": f"sessionid={session}"})
                assert old.status_code == 302
            assert http.get("/accounts/logout/").status_code == 405


CORS = {
    "CORS_ALLOWED_ORIGINS": ["https://app.test"],
    "CORS_URLS_REGEX": r"^/djsci/(api|call)/.*$",
}


def test_b5_with_cors_headers_a_foreign_page_calls_by_token_and_not_by_cookie(
    user: Any, make_file: MakeFile, settings: Any
) -> None:
    from djsci.access import tokens

    make_file(CODE, name="talk")
    bearer = {"Authorization": f"Bearer {tokens.make(user, 'page', ['run'])[1]}"}
    page = {"Origin": "https://app.test", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    path, name = "/djsci/call/talk/", "Access-Control-Allow-Origin"

    def answers() -> tuple[Any, Any, Any]:
        cookie = Client(enforce_csrf_checks=True)
        cookie.force_login(user)
        asked = {**page, "Access-Control-Request-Method": "POST"}
        return (
            Client().options(path, headers=asked),
            Client().post(path, headers={**page, **bearer}),
            cookie.post(path, headers=page),
        )

    preflight, called, by_cookie = answers()
    assert [each.status_code for each in (preflight, called, by_cookie)] == [204, 200, 403]
    for answer in (preflight, called, by_cookie):
        assert not [each for each in answer.headers if each.lower().startswith("access-control")]
    middleware = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
    with override_settings(MIDDLEWARE=middleware, **CORS):
        preflight, called, by_cookie = answers()
    assert [each.status_code for each in (preflight, called, by_cookie)] == [200, 200, 403]
    assert called.json() == "ran"
    assert preflight[name] == called[name] == page["Origin"]
    assert "authorization" in preflight["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in called
    assert Run.objects.count() == 2


def resident(place: Place) -> int:
    return int(psutil.Process(place.site.process.pid).memory_info().rss)


def streams(place: Place) -> int:
    text = httpx.get(f"{place.site.url}/djsci/metrics", timeout=30).text
    return int(re.findall(r"(?m)^djsci_streams (\d+)", text)[0])


async def until_no_stream_is_open(place: Place) -> None:
    async with asyncio.timeout(30):
        while await asyncio.to_thread(streams, place):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)


@pytest.mark.faults
async def test_b7_floods_of_frames_and_sockets_end_4429_and_leave_no_memory(calm: Place) -> None:
    people = [f"p{number}" for number in range(25)]
    made = await asyncio.to_thread(calm.site.seed, {"users": [{"name": each} for each in people]})
    clients = [Follower(url=calm.site.url, headers=made.bearer(each)) for each in people]
    path = "/djsci/ws/call/talk/"

    async def flood() -> int | None:
        async with clients[0].connection(path) as one:
            with suppress(ConnectionClosed):  # while we still send: that is the point
                for _ in range(1000):
                    await one.send('{"type":"ping"}')
            code = (await until(one, "never"))["code"]
            return int(code) if code else None

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(clients[0].connection(path))
        await until(first, "hello")
        before = resident(calm)
        assert [await flood() for _ in range(5)] == [4429] * 5
        opened = 1
        for client in clients:
            share = [client.connection(path) for _ in range(20 - (client is clients[0]))]
            for each in await asyncio.gather(*map(stack.enter_async_context, share)):
                assert (await until(each, "hello", "error"))["type"] == "hello"
                opened += 1
        assert opened == 500
        assert await asyncio.to_thread(streams, calm) == 500
        for client in clients[:3]:  # each has its twenty
            async with client.connection(path) as more:
                assert (await until(more, "error"))["code"] == "limit"
                assert (await until(more, "never"))["code"] == 4429
        await first.send('{"type":"ping"}')
        assert (await until(first, "head"))["seq"] == 0
        assert resident(calm) - before < 50 << 20
    await until_no_stream_is_open(calm)


async def test_b7_readers_that_take_nothing_are_ended_in_little_memory(calm: Place) -> None:
    """Daphne takes whatever is sent into its memory: there the cap of a socket is what ends it."""
    client = Follower(url=calm.site.url, headers=calm.made.bearer("ada"))
    run = await client.call("talk", {"lines": 9000})
    before, stalled = resident(calm), []
    request = (
        f"GET /djsci/ws/runs/{run.run_id}/ HTTP/1.1\r\nHost: 127.0.0.1:{calm.port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {calm.made.tokens['ada']}\r\n\r\n"
    )
    try:
        for _ in range(5):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", calm.port))
            reader.sendall(request.encode())
            stalled.append(reader)
        for reader in stalled:
            assert await asyncio.to_thread(reader.recv, 12) == b"HTTP/1.1 101"
        await until_no_stream_is_open(calm)
        assert resident(calm) - before < 50 << 20
    finally:
        for reader in stalled:
            reader.close()


SNAPSHOT: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("headers.yaml").read_text(encoding="utf-8")
)
VARYING = {"allow", "content-length", "location", "etag", "expires", "content-disposition",
           "content-type", "content-location", "last-modified", "retry-after"}  # fmt: skip


def steady(answer: Any) -> dict[str, str]:
    """The headers that guard an answer; what differs with its content is left out."""
    return {
        name.lower(): re.sub(r"(nonce|sha256)-[^']+", r"\1-…", value)
        for name, value in answer.headers.items()
        if name.lower() not in VARYING
    }


async def found_headers(world: World) -> dict[str, dict[str, dict[str, str]]]:
    found: dict[str, dict[str, dict[str, str]]] = {}
    is_changed = True
    for entry in MATRIX:
        method, _, route = entry.partition(" ")
        if method == "WS":
            continue
        found[entry] = {}
        for role in ("anonymous", "owner"):
            if is_changed:
                await in_database(world.renew)
            is_changed = method not in ("GET", "ANY")
            world.values["name"] = "left.txt" if "artifacts" in route else "handler.py"
            client = AsyncClient()
            if role == "owner":
                await client.aforce_login(world.users[role])
            slash = "" if route.startswith("private_files") else "/"
            path = f"/{route}{slash}{QUERIES.get(route, '')}".format_map(world.values)
            ask = getattr(client, "get" if method == "ANY" else method.lower())
            given = {"data": {"version": world.values["version"]}} if method == "POST" else {}
            frame = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "same-origin"}
            headers = frame if route.endswith("frame") else {}
            found[entry][role] = steady(await ask(path, headers=headers, **given))
    return found


async def test_b8_the_headers_of_every_route_are_those_of_the_snapshot(
    make_file: MakeFile,
    make_run: MakeRun,  # noqa: F811
    user: Any,
    settings: Any,
) -> None:
    # Without Django's own security middleware: what djsci answers is safe in any project.
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    found = await found_headers(await in_database(World, make_file, make_run, user))
    sets = SNAPSHOT["sets"]
    expected = {
        entry: {role: sets[name] for role, name in roles.items()}
        for entry, roles in SNAPSHOT["routes"].items()
    }
    assert found.keys() == expected.keys()
    wrong = {entry: found[entry] for entry in found if found[entry] != expected[entry]}
    assert wrong == {}
    for headers in sets.values():
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] in ("same-origin", "no-referrer")
        assert re.search(r"frame-ancestors '(none|self)'", headers["content-security-policy"])
        assert not [name for name in headers if name.startswith("access-control")]


GET = "from djsci.models import PrivateFile, Token\nfrom django.contrib.auth.models import User\n"
LOSSES = {
    "signed out": "from django.contrib.sessions.models import Session\n"
    "Session.objects.filter(pk='{session}').delete()",
    "deactivated": f"{GET}User.objects.filter(username='{{name}}').update(is_active=False)",
    "new password": f"{GET}user = User.objects.get(username='{{name}}')\n"
    "user.set_password('x'); user.save()",
    "token revoked": "from django.utils import timezone\n"
    f"{GET}Token.objects.filter(user__username='{{name}}').update(revoked=timezone.now())",
    "grant removed": f"{GET}PrivateFile.objects.get(pk='{{file}}').granted_users.clear()",
    "made private": f"{GET}PrivateFile.objects.filter(pk='{{file}}').update(access='private')",
}
LAST = """
from djsci.models import Run
runs = Run.objects.filter(file__name={!r})
answer = [runs.count(), runs.get().cancel != ""]
"""


@dataclass
class Zoe:
    """Somebody who is about to lose the right to follow a run of hers."""

    client: Follower
    headers: dict[str, str]
    name: str
    loss: str
    is_of_file: bool

    @property
    def refusal(self) -> tuple[str, int]:
        return ("forbidden", 4403) if self.is_of_file else ("not_authenticated", 4401)


async def zoe_of(place: Place, loss: str) -> Zoe:
    name = f"zoe-{loss.replace(' ', '-')}"
    access = {"access": "private", "granted": [name]} if "grant" in loss else {}
    wanted = {"users": [{"name": name}], "files": [{**TALK, "name": name, **access}]}
    made = await asyncio.to_thread(place.site.seed, wanted)
    cookie = {"Cookie": f"sessionid={made.sessions[name]}", "Origin": place.site.url}
    headers = made.bearer(name) if "token" in loss else cookie
    return Zoe(
        client=Follower(url=place.site.url, headers=headers),
        headers=headers,
        name=name,
        loss=LOSSES[loss].format(session=made.sessions[name], name=name, file=made.files[name]),
        is_of_file="grant" in loss or "private" in loss,
    )


async def begun(one: Any) -> str:
    """Start a run and wait until it prints: before that it would end by the loss itself."""
    await one.send('{"type":"start","parameters":{"seconds":3}}')
    run_id: str = (await until(one, "started"))["run"]
    while "stream" not in {each["type"] for each in (await until(one, "events"))["events"]}:
        pass
    return run_id


@pytest.mark.parametrize("loss", LOSSES)
async def test_b9_a_lost_right_ends_socket_and_stream(place: Place, loss: str) -> None:
    """C5: a cookie does not outlive the password it was had by."""
    zoe = await zoe_of(place, loss)
    async with (
        zoe.client.connection(f"/djsci/ws/call/{zoe.name}/") as one,
        httpx.AsyncClient(base_url=place.site.url, headers=zoe.headers, timeout=30) as http,
    ):
        events = f"/djsci/api/v1/runs/{await begun(one)}/events/"
        async with http.stream("GET", events, headers={"Accept": "text/event-stream"}) as stream:
            assert stream.status_code == 200
            await asyncio.to_thread(place.site.execute, zoe.loss)
            again = await http.get(f"/djsci/call/{zoe.name}/")
            body = "".join([part async for part in stream.aiter_text()])
        error, closed = await until(one, "error"), await until(one, "never")
    assert again.status_code == (404 if zoe.is_of_file else 401)
    assert '"type":"end"' not in body
    assert (error["code"], closed["code"]) == zoe.refusal


@pytest.mark.parametrize("loss", LOSSES)
async def test_b9_after_a_loss_the_next_command_is_refused_at_once(calm: Place, loss: str) -> None:
    zoe = await zoe_of(calm, loss)
    path = f"/djsci/ws/call/{zoe.name}/"
    async with zoe.client.connection(path) as running, zoe.client.connection(path) as idle:
        await until(idle, "hello")
        await begun(running)
        await asyncio.to_thread(calm.site.execute, zoe.loss)
        for one, command in ((running, "cancel"), (idle, "start")):
            await one.send(json.dumps({"type": command}))
            error, closed = await until(one, "error"), await until(one, "never")
            assert (error["code"], closed["code"]) == zoe.refusal
    assert await asyncio.to_thread(calm.site.execute, LAST.format(zoe.name)) == [1, False]


async def test_b10_a_session_outlives_the_rotation_of_the_key_and_is_not_written(
    place: Place,
) -> None:
    read = (
        "from django.contrib.sessions.models import Session\n"
        "answer = [[*map(str, row)] for row in Session.objects.filter(pk={!r}).values_list()]"
    )
    key = await asyncio.to_thread(
        place.site.execute,
        "from django.contrib.auth.models import User\nfrom django.test import override_settings\n"
        f"from tests.seed import session_of\nwith override_settings(SECRET_KEY={OLD_KEY!r}, "
        "SECRET_KEY_FALLBACKS=[]):\n    answer = session_of(User.objects.get(username='ada'))",
    )
    before = await asyncio.to_thread(place.site.execute, read.format(key))
    headers = {"Cookie": f"sessionid={key}", "Origin": place.site.url}
    client = Follower(url=place.site.url, headers=headers)
    run = await client.call("talk", {"seconds": 1})  # longer than the interval of the next check
    again = await Follower(url=place.site.url, headers=headers).follow(run.run_id)
    assert again.events == run.events
    assert len(before) == 1
    assert await asyncio.to_thread(place.site.execute, read.format(key)) == before
    with pytest.raises(Refused):
        await Follower(url=place.site.url, headers={**headers, "Cookie": "sessionid=x"}).call(
            "talk"
        )
