"""The sockets without a server: the protocol, and what a socket must not touch."""

import asyncio
import json
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator

from djsci.access import tokens
from djsci.access.callers import Caller
from djsci.access.database import DB_POOL, in_database
from djsci.routing import application
from djsci.runs import draining, streams
from djsci.web import incoming
from tests.conftest import MakeFile

CODE = """
def djsci_handler(request, n: int = 3):
    for number in range(n):
        print(number)
    return n
"""


class Socket:
    """A client that hands ASGI messages to the application, in this loop."""

    def __init__(self, path: str, secret: str) -> None:
        headers = [
            (b"authorization", f"Bearer {secret}".encode()),
            (b"host", b"testserver"),
            (b"x-forwarded-for", b"203.0.113.9"),
        ]
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": b"",
            "headers": headers,
            "client": ["127.0.0.1", 1],
            "server": ["testserver", 80],
            "subprotocols": ["djsci.v1"],
        }
        self._asgi = ApplicationCommunicator(application(_nothing), scope)

    async def open(self) -> dict[str, Any]:
        await self._asgi.send_input({"type": "websocket.connect"})
        return await self.message()

    async def message(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._asgi.receive_output(5)
        return message

    async def frame(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads((await self.message())["text"])
        return frame

    async def say(self, **frame: Any) -> None:
        await self._asgi.send_input({"type": "websocket.receive", "text": json.dumps(frame)})

    async def leave(self) -> None:
        await self._asgi.send_input({"type": "websocket.disconnect", "code": 1001})
        await self._asgi.wait(5)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """The HTTP side, which no test here asks."""


@pytest.fixture
def secret(user: Any) -> str:
    return tokens.make(user, "sockets", list(tokens.SCOPES))[1]


@pytest.fixture
def call_path(make_file: MakeFile) -> str:
    return f"/djsci/ws/call/{make_file(CODE).pk}/"


async def test_a_blocked_shared_thread_does_not_hold_a_socket_up(
    secret: str, call_path: str
) -> None:
    blocked, release = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        release.wait(20)

    hog = asyncio.create_task(sync_to_async(block)())
    try:
        assert await asyncio.get_running_loop().run_in_executor(None, blocked.wait, 10)
        socket = Socket(call_path, secret)
        assert await socket.open() == {"type": "websocket.accept", "subprotocol": "djsci.v1"}
        assert (await socket.frame())["type"] == "hello"
        await socket.say(type="ping")
        assert await socket.frame() == {"type": "head", "seq": 0}
        await socket.say(type="start", parameters={"n": 2})
        assert (await socket.frame())["type"] == "started"
        assert not release.is_set()
        await socket.leave()
    finally:
        release.set()
        await hog


async def test_a_thousand_sockets_leave_nothing_behind(secret: str, call_path: str) -> None:
    before = asyncio.all_tasks()
    for _ in range(100):
        sockets = [Socket(call_path, secret) for _ in range(10)]
        for socket in sockets:
            await socket.open()
        for socket in sockets[::2]:
            assert (await socket.frame())["type"] == "hello"
        for socket in sockets:
            await socket.leave()
    assert streams.count() == 0
    assert asyncio.all_tasks() == before


async def test_a_socket_that_opens_while_the_server_drains_is_sent_back(
    secret: str, call_path: str
) -> None:
    draining.begin()
    try:
        socket = Socket(call_path, secret)
        await socket.open()
        assert (await socket.frame())["code"] == "draining"
        assert await socket.message() == {"type": "websocket.close", "code": 4410}
        await socket.leave()
    finally:
        draining.over()


async def test_a_failure_of_ours_closes_4500_and_says_so(
    secret: str, call_path: str, caplog: pytest.LogCaptureFixture, caller: Caller
) -> None:
    from djsci.models import PrivateFile

    socket = Socket(call_path, secret)
    await socket.open()
    assert (await socket.frame())["type"] == "hello"
    # A row that no surface would write: what is wrong is ours, not the client's.
    await in_database(PrivateFile.objects.update, settings={"engine": "thread", "timeout": "soon"})
    await socket.say(type="start")
    error = await socket.frame()
    assert (error["type"], error["code"]) == ("error", "server_error")
    assert await socket.message() == {"type": "websocket.close", "code": 4500}
    assert "soon" not in json.dumps(error)
    await socket.leave()


async def test_frames_that_wait_behind_a_stuck_one_are_bounded(
    secret: str, call_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "BURST", 1000.0)
    socket = Socket(call_path, secret)
    await socket.open()
    assert (await socket.frame())["type"] == "hello"
    release = threading.Event()
    stuck = [DB_POOL.submit(release.wait, 20) for _ in range(DB_POOL._max_workers)]
    try:
        await socket.say(type="cancel")
        for _ in range(100):
            await socket.say(type="ping")
        refusal = await socket.frame()
        assert (refusal["type"], refusal["code"]) == ("error", "limit")
        assert (await socket.message())["code"] == 4429
    finally:
        release.set()
        for one in stuck:
            one.result(20)
    await socket.leave()
