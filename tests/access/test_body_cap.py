"""Bodies are cut at their cap, before the application has read them, on a real server too."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from django.core.asgi import get_asgi_application
from django.test import override_settings

from djsci.access.body_cap import MOST_LARGE, SMALL, BodyCap

UPLOADS = 2 * SMALL  # with UPLOAD_LIMIT of 1 MiB
PIECE = b"x" * (64 << 10)
urlpatterns: list[Any] = []


@pytest.fixture(autouse=True)
def _limit(settings: Any) -> None:
    settings.DJSCI = {"UPLOAD_LIMIT": SMALL}


async def count_body(scope: Any, receive: Any, send: Any) -> None:
    """Answers how many bytes came; leaves without a word when the client does."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message.get("more_body", False)
    body = str(size).encode()
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class Client:
    """The other side of an ASGI application: sends pieces, keeps what is answered."""

    def __init__(self, size: int, declared: int | None = None) -> None:
        self.left = size
        self.declared = declared
        self.sent: list[dict[str, Any]] = []
        self.taken = 0

    async def receive(self) -> dict[str, Any]:
        piece = PIECE[: self.left]
        self.left -= len(piece)
        self.taken += len(piece)
        return {"type": "http.request", "body": piece, "more_body": self.left > 0}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def ask(self, application: Any, path: str, method: str = "POST") -> int:
        headers = []
        if self.declared is not None:
            headers.append((b"content-length", str(self.declared).encode()))
        scope = {"type": "http", "path": path, "method": method, "headers": headers}
        await application(scope, self.receive, self.send)
        return self.sent[0]["status"]


@pytest.mark.parametrize(
    ("method", "path", "cap"),
    [
        ("POST", "/djsci/call/x/", UPLOADS),
        ("GET", "/djsci/sync_py/x/", UPLOADS),
        ("POST", "/djsci/sync_ipynb/x", UPLOADS),
        ("POST", "/under/djsci/call/x/", UPLOADS),
        ("POST", "/djsci/api/v1/files/", UPLOADS),
        ("PUT", "/djsci/api/v1/files/x/", UPLOADS),
        ("PUT", "/djsci/api/v1/files/x", UPLOADS),
        ("POST", "/admin/djsci/privatefile/add/", UPLOADS),
        ("PATCH", "/djsci/api/v1/files/x/", SMALL),
        ("POST", "/djsci/api/v1/files/x/runs/", SMALL),
        ("POST", "/djsci/api/v1/tokens/", SMALL),
        ("POST", "/djsci/", SMALL),
    ],
)
async def test_each_path_has_its_cap(method: str, path: str, cap: int):
    application = BodyCap(count_body)
    assert await Client(cap).ask(application, path, method) == 200
    assert await Client(cap, declared=cap).ask(application, path, method) == 200
    assert await Client(cap + 1).ask(application, path, method) == 413
    assert await Client(0, declared=cap + 1).ask(application, path, method) == 413
    assert application.large == 0


async def test_a_page_of_the_host_project_has_the_cap_it_is_given():
    assert await Client(UPLOADS + 1).ask(BodyCap(count_body), "/accounts/login/") == 200
    capped = BodyCap(count_body, elsewhere=SMALL)
    assert await Client(SMALL + 1).ask(capped, "/accounts/login/") == 413


async def test_the_refusal_is_a_problem_and_comes_once():
    client = Client(4 * SMALL)
    await client.ask(BodyCap(count_body), "/djsci/api/v1/tokens/")
    start, *bodies = client.sent
    headers = dict(start["headers"])
    body = b"".join(message["body"] for message in bodies)
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"content-length"] == str(len(body)).encode()
    problem = json.loads(body)
    assert (problem["type"], problem["status"]) == ("too_large", 413)
    assert [message["more_body"] for message in bodies] == [True, False]


async def test_a_declared_length_is_refused_before_the_application_is_called():
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("called")

    client = Client(0, declared=10_000_000_000)
    assert await client.ask(BodyCap(never), "/djsci/call/x/") == 413


async def test_an_understated_length_does_not_help():
    """C10: bytes are counted, whatever was declared."""
    assert await Client(4 * SMALL, declared=10).ask(BodyCap(count_body), "/djsci/call/x/") == 413


async def test_what_the_application_says_after_the_refusal_is_dropped():
    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    client = Client(4 * SMALL)
    assert await client.ask(BodyCap(stubborn), "/djsci/call/x/") == 413
    assert len([each for each in client.sent if each["type"] == "http.response.start"]) == 1


async def test_only_so_many_large_bodies_come_in_at_once():
    gate, full = asyncio.Event(), asyncio.Barrier(MOST_LARGE + 1)
    application = BodyCap(count_body)

    class Slow(Client):
        async def receive(self) -> dict[str, Any]:
            if self.taken > SMALL and not gate.is_set():
                await full.wait()
                await gate.wait()
            return await super().receive()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        slow = [
            group.create_task(Slow(UPLOADS).ask(application, "/djsci/call/x/"))
            for _ in range(MOST_LARGE)
        ]
        await full.wait()
        assert application.large == MOST_LARGE
        for client in (Client(UPLOADS), Client(UPLOADS, declared=UPLOADS)):
            assert await client.ask(application, "/djsci/call/x/") == 503
            assert dict(client.sent[0]["headers"])[b"retry-after"] == b"2"
        assert await Client(SMALL).ask(application, "/djsci/call/x/") == 200
        gate.set()
    assert [task.result() for task in slow] == [200] * MOST_LARGE
    assert application.large == 0


async def test_a_client_that_leaves_gives_its_place_back():
    class Leaving(Client):
        async def receive(self) -> dict[str, Any]:
            if self.taken > SMALL:
                return {"type": "http.disconnect"}
            return await super().receive()

    application = BodyCap(count_body)
    with suppress(IndexError):
        await Leaving(UPLOADS).ask(application, "/djsci/call/x/")
    assert application.large == 0


async def test_sockets_and_the_lifespan_pass_untouched():
    seen = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], receive, send))

    application = BodyCap(note)
    for kind in ("websocket", "lifespan"):
        await application({"type": kind}, None, None)  # type: ignore[arg-type]
    assert seen == [("websocket", None, None), ("lifespan", None, None)]


@pytest.fixture
async def port(settings: Any) -> AsyncIterator[int]:
    """The port of a uvicorn of our own, with a Django that has no pages behind the cap."""
    settings.ROOT_URLCONF = __name__
    config = uvicorn.Config(
        BodyCap(get_asgi_application(), elsewhere=SMALL), lifespan="off", log_level="critical"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server._serve([listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        async with asyncio.timeout(20):
            await task


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


HEAD = "POST /no/such/page/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"


async def test_a_real_server_refuses_a_huge_declared_body_at_once(port: int):
    async with connected(port) as (reader, writer):
        writer.write(f"{HEAD}Content-Length: 10000000000\r\n\r\n".encode())
        assert b" 413 " in await reader.readline()


async def test_a_real_server_refuses_endless_chunks_and_closes(port: int):
    chunk = b"10000\r\n" + PIECE + b"\r\n"
    async with connected(port) as (reader, writer):

        async def pour() -> None:
            with suppress(ConnectionError):
                while True:
                    writer.write(chunk)
                    await writer.drain()

        writer.write(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        pouring = asyncio.create_task(pour())
        assert b" 413 " in await reader.readline()
        await pouring  # until the server has closed


async def test_a_real_server_serves_what_is_small(port: int):
    async with connected(port) as (reader, writer):
        writer.write(f"{HEAD}Content-Length: 2\r\n\r\nhi".encode())
        assert b" 404 " in await reader.readline()


@override_settings(DJSCI={})
async def test_the_cap_is_the_settings_of_now():
    assert await Client(20 * SMALL).ask(BodyCap(count_body), "/djsci/call/x/") == 200
