"""The two WebSockets, over a real Daphne and a real uvicorn."""

import asyncio
import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests import live
from tests.client import Follower, Refused, until

CODE = """
import time

def djsci_handler(request, lines: int = 3, width: int = 0, pause: float = 0, then: str = ""):
    for number in range(lines):
        print(f"{number:06}" + "é" * width, flush=pause > 0)
        time.sleep(pause)
    if then:
        raise ValueError(then)
    return {"lines": lines, "user": request.user.username, "path": request.path_info,
            "method": request.method, "body": request.body.decode(), "q": request.GET.get("q")}
"""
INTERVALS = {
    "head": 0.5,
    "recheck": 0.4,
    "start": 1.0,
    "socket_bytes": 256 << 10,
    "frame_bytes": 64 << 10,
    "drain_jitter": 0.2,
}


@dataclass
class Place:
    """A server with users and files."""

    site: live.Site
    made: live.Seeded

    def client(self, user: str | None = "ada", **options: Any) -> Follower:
        headers = self.made.bearer(user) if user else {}
        return Follower(url=self.site.url, headers={**headers, **options})

    def with_cookie(self, session: str, origin: str | None = None) -> Follower:
        headers = {"Cookie": f"sessionid={session}", "Origin": origin or self.site.url}
        return Follower(url=self.site.url, headers=headers)


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with live.server(request.param, intervals=INTERVALS) as site:
        yield Place(site, seeded(site))


def seeded(site: live.Site) -> live.Seeded:
    trusted = {"owner": "ada", "trusted": True, "files": {"handler.py": CODE}}
    thread = {"engine": "thread"}
    return site.seed(
        {
            "users": [
                {"name": "ada", "superuser": True},
                {"name": "bob"},
                {"name": "eve"},
                {"name": "reader", "permissions": ["view_privatefile"]},
                {"name": "caller", "scopes": ["run", "runs:read"]},
            ],
            "files": [
                {"name": "talk", "settings": thread, **trusted, "access": "authenticated"},
                {"name": "secret", "settings": thread, **trusted},
                {"name": "walled", "settings": {"isolation": "moat"}, **trusted, "trusted": False},
            ],
        }
    )


def text_of(lines: int, width: int = 0) -> str:
    return "".join(f"{number:06}" + "é" * width + "\n" for number in range(lines))


async def test_a_call_says_hello_then_started_then_every_event_then_closes(place: Place) -> None:
    run = await place.client().call("talk", {"lines": 5})
    types = [frame["type"] for frame in run.frames if frame["type"] != "head"]
    assert types[:2] == ["hello", "started"]
    assert set(types[2:]) == {"events"}
    assert run.frames[0] | {"events": 0} == {
        "type": "hello",
        "v": 1,
        "head": 0,
        "heartbeat": 0.5,
        "events": 0,
    }
    assert [event["seq"] for event in run.events] == list(range(1, run.last + 1))
    assert run.text() == text_of(5)
    assert run.end is not None
    assert run.end["state"] == "succeeded"
    assert run.result["user"] == "ada"
    async with run.connection(f"/djsci/ws/runs/{run.run_id}/?after={run.last - 1}") as socket:
        hello = await until(socket, "hello")
        events = await until(socket, "events")
        assert (hello["head"], events["first"], events["last"]) == (run.last, run.last, run.last)
        assert await until(socket, "never") == {"type": "close", "code": 1000}


async def test_any_cut_is_taken_up_exactly(place: Place) -> None:
    run = await place.client().call("talk", {"lines": 12, "pause": 0.01})
    for after in range(run.last + 1):
        later = place.client()
        later.events = run.events[:after]
        if after < run.last:
            await later.follow(run.run_id)
        assert later.events == run.events
    polled = await place.client().poll(run.run_id)
    assert polled.events == run.events


async def test_a_long_log_comes_in_portions_and_whole(place: Place) -> None:
    run = await place.client().call("talk", {"lines": 4000, "width": 100})
    wanted = text_of(4000, 100)
    assert hashlib.sha256(run.text().encode()).digest() == hashlib.sha256(wanted.encode()).digest()
    portions = [frame for frame in run.frames if frame["type"] == "next"]
    assert len(portions) >= 2
    assert set(run.closes) == {1000}
    assert run.attempts == len(portions) + 1


async def test_a_whole_request_reaches_the_handler(place: Place) -> None:
    request = {"method": "PUT", "path": "/a/b", "query": {"q": "é&"}, "body": "text"}
    run = await place.client().call("talk", request=request)
    assert run.result | {"lines": 0} == {
        "lines": 0,
        "user": "ada",
        "path": "/a/b",
        "method": "PUT",
        "body": "text",
        "q": "é&",
    }
    again = await place.client().call("talk", request={"query": "lines=1", "body_base64": "aGk="})
    assert (again.result["lines"], again.result["body"]) == (1, "hi")


async def test_the_same_key_finds_the_same_run(place: Place) -> None:
    first = await place.client().call("talk", {"lines": 1}, key="once")
    second = await place.client().call("talk", {"lines": 1}, key="once")
    assert first.events == second.events
    assert first.run_id == second.run_id
    with pytest.raises(Refused) as refused:
        await place.client().call("talk", {"lines": 2}, key="once")
    assert (refused.value.code, refused.value.error["code"]) == (4400, "conflict")


async def refusal(client: Follower, path: str, *sent: str | bytes) -> tuple[str, int]:
    """The code of the `error` frame, and of the close behind it."""
    async with client.connection(path) as socket:
        for text in sent:
            await socket.send(text)
        error = await until(socket, "error")
        assert error["title"]
        assert error["detail"]
        closed = await until(socket, "never")
        return error["code"], closed["code"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (["nonsense"], ("bad_request", 4400)),
        ([b'{"type":"ping"}'], ("bad_request", 4400)),
        (['{"type":"websocket_disconnect"}'], ("bad_request", 4400)),
        (['{"type":"start","parameters":3}'], ("bad_request", 4400)),
        (['{"a":' * 100_000], ("too_large", 4413)),
        (["[" * 100_000], ("bad_request", 4400)),
        (['{"type":"ping","x":"' + "x" * (256 << 10) + '"}'], ("too_large", 4413)),
        (['{"type":"ping","x":"' + "x" * (2 << 20) + '"}'], ("too_large", 4413)),
        ([b"\x00" * (2 << 20)], ("bad_request", 4400)),
        (['{"type":"ping"}'] * 60, ("limit", 4429)),
        (['{"type":"start","parameters":{"lines":"x"}}'], ("bad_parameters", 4400)),
        (['{"type":"start","parameters":{"unknown":1}}'], ("bad_parameters", 4400)),
        (
            ['{"type":"start","parameters":{"pause":0.05}}', '{"type":"start"}'],
            ("bad_request", 4400),
        ),
        ([], ("bad_request", 4400)),
    ],
    ids=[
        "not-json",
        "binary",
        "unknown-type",
        "start-not-object",
        "too-large-and-deep",
        "deep",
        "too-large",
        "far-too-large",
        "large-binary",
        "flood",
        "wrong-parameter",
        "unknown-parameter",
        "two-starts",
        "no-start",
    ],
)
async def test_b6_a_bad_client_is_told_why_and_closed(
    place: Place, sent: list[str | bytes], expected: tuple[str, int]
) -> None:
    assert await refusal(place.client(), "/djsci/ws/call/talk/", *sent) == expected


async def test_b6_a_frame_of_twenty_megabytes_is_not_even_taken_in(place: Place) -> None:
    """Both servers end such a socket themselves, before we could say why."""
    for large in ("x" * (20 << 20), b"\x00" * (20 << 20)):
        with pytest.raises(ConnectionClosed):
            async with place.client().connection("/djsci/ws/call/talk/") as socket:
                await socket.send(large)
                await asyncio.wait_for(socket.wait_closed(), 20)
                await socket.send("never")
    async with place.client().connection("/djsci/ws/call/talk/") as socket:
        assert (await until(socket, "hello"))["head"] == 0


async def test_what_is_not_there_or_not_ones_own_is_closed_by_its_code(place: Place) -> None:
    run = await place.client().call("talk", {"lines": 1})
    own = f"/djsci/ws/runs/{run.run_id}/"
    for user, path, expected in [
        ("ada", "/djsci/ws/call/nothing/", ("not_found", 4404)),
        ("bob", "/djsci/ws/call/secret/", ("not_found", 4404)),
        ("reader", "/djsci/ws/call/secret/", ("forbidden", 4403)),
        ("ada", "/djsci/ws/runs/nothing/", ("not_found", 4404)),
        ("bob", own, ("not_found", 4404)),
        ("ada", f"{own}?after={run.last + 1}", ("bad_request", 4400)),
        ("ada", f"{own}?after=-1", ("bad_request", 4400)),
        ("ada", f"{own}?after=x", ("bad_request", 4400)),
    ]:
        assert await refusal(place.client(user), path) == expected, (user, path)
    start = '{"type":"start"}'
    assert await refusal(place.client(), "/djsci/ws/call/walled/", start) == (
        "isolation_unavailable",
        4500,
    )
    live_run = await started(place, lines=200, pause=0.05)
    watched = f"/djsci/ws/runs/{live_run}/"
    assert await refusal(place.client(), watched, start) == ("bad_request", 4400)


async def started(place: Place, **parameters: Any) -> str:
    """The id of a run that goes on without us."""
    async with httpx.AsyncClient(headers=place.made.bearer("ada"), timeout=20) as http:
        path = f"{place.site.url}/djsci/api/v1/files/talk/runs/"
        answer = await http.post(path, json={"parameters": parameters})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


async def test_strangers_are_refused_before_the_socket_opens(place: Place) -> None:
    session, path = place.made.sessions["ada"], "/djsci/ws/call/talk/"
    for client, where, protocols in [
        (Follower(url=place.site.url, headers={"Origin": place.site.url}), path, None),
        (Follower(url=place.site.url), path, None),
        (place.with_cookie(session, "http://evil.example"), path, None),
        (place.with_cookie(session, "null"), path, None),
        (Follower(url=place.site.url, headers={"Cookie": f"sessionid={session}"}), path, None),
        (Follower(url=place.site.url, headers={"Authorization": "Bearer djsci_no"}), path, None),
        (place.client(), f"{path}?token={place.made.tokens['ada']}", None),
        (place.client(), path, ["graphql-ws"]),
        (place.client(), "/djsci/ws/elsewhere/", None),
    ]:
        with pytest.raises(Refused) as refused:
            async with client.connection(where, protocols):
                pass
        # Daphne's own library answers an opaque origin before it asks us.
        codes = (400, 403) if client.headers.get("Origin") == "null" else (403,)
        assert refused.value.code in codes, (client.headers, where, protocols)


async def ticket(place: Place, user: str, **target: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=place.site.url, headers=place.made.bearer(user)) as http:
        answer = await http.post("/djsci/api/v1/tickets/", json=target)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_b2_a_ticket_opens_its_socket_once_from_anywhere(place: Place) -> None:
    made = await ticket(place, "caller", file="talk")
    page = Follower(url=place.site.url, headers={"Origin": "http://elsewhere.example"})
    async with page.connection(made["socket"], made["subprotocols"]) as socket:
        assert socket.subprotocol == "djsci.v1"
        await socket.send('{"type":"start","parameters":{"lines":1}}')
        run_id = (await until(socket, "started"))["run"]
        while (await until(socket, "events", "close"))["type"] != "close":
            pass
    with pytest.raises(Refused):  # it has been used
        async with page.connection(made["socket"], made["subprotocols"]):
            pass
    watch = await ticket(place, "caller", run=run_id)
    other = await ticket(place, "ada", run=run_id)
    for where, protocols in [
        ("/djsci/ws/call/talk/", other["subprotocols"]),  # to something else
        (watch["socket"], [*other["subprotocols"], watch["subprotocols"][1]]),
        (watch["socket"], ["djsci.v1", "djsci.ticket.a.b.c"]),
    ]:
        with pytest.raises(Refused) as refused:
            async with page.connection(where, protocols):
                pass
        assert refused.value.code == 403
    async with page.connection(watch["socket"], watch["subprotocols"]) as socket:
        assert (await until(socket, "events"))["first"] == 1


async def test_a_session_of_our_own_page_opens_a_socket(place: Place) -> None:
    client = place.with_cookie(place.made.sessions["ada"])
    async with client.connection("/djsci/ws/call/talk/", None) as socket:
        assert socket.subprotocol is None
        assert (await until(socket, "hello"))["v"] == 1
    async with client.connection("/djsci/ws/call/talk", ["other", "djsci.v1"]) as socket:
        assert socket.subprotocol == "djsci.v1"


async def test_silence_and_ping_are_answered_by_the_head(place: Place) -> None:
    async with place.client().connection("/djsci/ws/call/talk/") as socket:
        await until(socket, "hello")
        await socket.send('{"type":"ping"}')
        assert await until(socket, "head", timeout=0.4) == {"type": "head", "seq": 0}
        assert await until(socket, "head", timeout=5) == {"type": "head", "seq": 0}


async def test_a_run_is_cancelled_over_its_socket(place: Place) -> None:
    async with place.client().connection("/djsci/ws/call/talk/") as socket:
        await socket.send('{"type":"cancel"}')
        assert (await until(socket, "error"))["code"] == "conflict"
        await socket.send('{"type":"start","parameters":{"lines":1000,"pause":0.02}}')
        run_id = (await until(socket, "started"))["run"]
        await until(socket, "events")
        await socket.send('{"type":"cancel"}')
        await until(socket, "never")
    run = await place.client().follow(run_id)
    assert run.end is not None
    assert run.end["state"] == "cancelled"


async def test_a_refused_cancel_leaves_the_socket_open(place: Place) -> None:
    async with place.client("caller").connection("/djsci/ws/call/talk/") as socket:
        await socket.send('{"type":"start","parameters":{"lines":20,"pause":0.05}}')
        await until(socket, "events")
        await socket.send('{"type":"cancel"}')
        assert (await until(socket, "error"))["code"] == "forbidden"
        last: dict[str, Any] = {}
        while "end" not in {event["type"] for event in last.get("events", ())}:
            last = await until(socket, "events")
        assert last["events"][-1]["state"] == "succeeded"


async def test_a_client_that_leaves_changes_nothing(place: Place) -> None:
    async with place.client().connection("/djsci/ws/call/talk/") as socket:
        await socket.send('{"type":"start","parameters":{"lines":30,"pause":0.02}}')
        run_id = (await until(socket, "started"))["run"]
        await until(socket, "events")
    run = await place.client().follow(run_id)
    assert run.text() == text_of(30)


async def test_o7_tracebacks_reach_those_who_read_the_source(place: Place) -> None:
    told = await place.client("ada").call("talk", {"lines": 0, "then": "boom"})
    hidden = await place.client("bob").call("talk", {"lines": 0, "then": "boom"})
    (theirs,), (ours,) = hidden.of_type("error"), told.of_type("error")
    assert (theirs["ename"], theirs["evalue"], theirs["traceback"]) == ("ValueError", "boom", [])
    assert any("boom" in text for text in ours["traceback"])


async def test_a_user_has_twenty_streams(place: Place) -> None:
    async with asyncio.timeout(20):
        stack = [place.client("eve").connection("/djsci/ws/call/talk/") for _ in range(20)]
        sockets = [await each.__aenter__() for each in stack]
        for socket in sockets:
            await until(socket, "hello")
        code = await refusal(place.client("eve"), "/djsci/ws/call/talk/")
        for each in stack:
            await each.__aexit__(None, None, None)
    assert code == ("limit", 4429)


async def until_printed(socket: Any) -> None:
    types: set[str] = set()
    while "stream" not in types:
        types = {event["type"] for event in (await until(socket, "events"))["events"]}


@pytest.mark.parametrize("kind", [pytest.param("daphne", marks=pytest.mark.faults), "uvicorn"])
async def test_a_server_that_drains_sends_its_clients_back(kind: Any) -> None:
    with live.server(kind, intervals=INTERVALS, settings={"DJSCI": {"DRAIN": 3}}) as site:
        here = Place(site, await asyncio.to_thread(seeded, site))
        clients = [here.client(), here.with_cookie(here.made.sessions["ada"])]
        async with (
            clients[0].connection("/djsci/ws/call/talk/") as running,
            clients[1].connection("/djsci/ws/call/talk/") as waiting,
        ):
            await running.send('{"type":"start","parameters":{"lines":2000,"pause":0.05}}')
            run_id = (await until(running, "started"))["run"]
            await until_printed(running)  # only a run that an executor holds is waited for
            site.process.send_signal(signal.SIGTERM)
            for socket in (running, waiting):
                assert (await until(socket, "error"))["code"] == "draining"
                assert await until(socket, "never") == {"type": "close", "code": 4410}
            assert await refusal(here.client(), f"/djsci/ws/runs/{run_id}/") == ("draining", 4410)
        assert await asyncio.to_thread(site.process.wait, 30) == 0


@pytest.mark.faults
async def test_a_slow_reader_gets_everything_from_a_bare_daphne() -> None:
    """Daphne resets a connection one second after its own close frame, unless it is told."""
    with live.server("daphne") as site:
        here = Place(site, await asyncio.to_thread(seeded, site))
        run = await here.client().call("talk", {"lines": 12_000, "width": 120})
        with bare_daphne(site) as url:
            client = Follower(url=url, headers=here.client().headers)
            text = ""
            path = f"/djsci/ws/runs/{run.run_id}/"
            async with client.connection(path, max_queue=1, ping_interval=None) as socket:
                events: list[dict[str, Any]] = [{"type": ""}]
                while events and events[-1]["type"] != "end":
                    events = (await until(socket, "events")).get("events", [])
                    text += "".join(event.get("text", "") for event in events)
                    await asyncio.sleep(0.1)
    assert text == text_of(12_000, 120)


def bare_daphne(site: live.Site) -> Any:
    """The same project served by Daphne's own command, which knows nothing of us."""
    import contextlib
    import socket
    import time

    @contextlib.contextmanager
    def running() -> Iterator[str]:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(
            [*command, "asgi_project.asgi:application"],
            env=site.environment,
            cwd=live.ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until_then = time.monotonic() + 30
            while time.monotonic() < until_then:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)

    return running()
