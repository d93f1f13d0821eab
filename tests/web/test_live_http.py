"""Over real sockets, on both servers: names, streams as they happen, peers that leave."""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from tests import live

PRINTS = """
import time

def djsci_handler(request, count: int = 5, pause: float = 0.0, more: int = 0):
    for number in range(count):
        print("line", number, "x" * more, flush=True)
        if pause:
            time.sleep(pause)
    return {"path": request.path, "count": count}
"""
CALLS = """
import http.client, os

def djsci_handler(request, port: int):
    held = [dict(request.headers), dict(request.META), dict(request.COOKIES), dict(os.environ)]
    try:
        caller = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        caller.request("GET", "/djsci/api/v1/runs/", headers=dict(request.headers))
        return [repr(held), caller.getresponse().status]
    except OSError as error:
        return [repr(held), type(error).__name__]
"""
NAMES = ["plain", "a b.c", "mörgen", "100%", "a+b", "é?x#y", "日本"]
SSE = {"Accept": "text/event-stream"}
LINES = {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request: pytest.FixtureRequest) -> Iterator[tuple[live.Site, live.Seeded]]:
    thread = {"owner": "ada", "trusted": True, "settings": {"engine": "thread"}}
    files = [{**thread, "name": name, "files": {"h.py": PRINTS}} for name in NAMES]
    files.append({"owner": "ada", "name": "calls", "files": {"h.py": CALLS}})
    intervals = {"head": 0.2, "send_blocked": 1.0, "socket_bytes": 64 << 20}
    with live.server(request.param, intervals=intervals) as running:
        made = running.seed({"users": [{"name": "ada", "superuser": True}], "files": files})
        yield running, made


@pytest.fixture
async def client(site: tuple[live.Site, live.Seeded]):
    running, made = site
    options = {"base_url": running.url, "headers": made.bearer("ada"), "timeout": 60}
    async with httpx.AsyncClient(**options) as opened:
        yield opened


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_is_found_as_it_is_encoded_in_the_address(client, name):
    answer = await client.get(f"/djsci/sync_py/{quote(name, safe='')}/?count=1")
    assert answer.status_code == 200, answer.text
    assert answer.json()["path"] == f"/djsci/sync_py/{name}/"


async def test_head_and_options_have_no_body_and_run_nothing(client):
    before = (await client.get("/djsci/api/v1/runs/")).json()["items"]
    for method in ("HEAD", "OPTIONS"):
        answer = await client.request(method, "/djsci/call/plain/")
        assert (answer.status_code, answer.content) == (204, b"")
    answer = await client.head("/djsci/api/v1/runs/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await client.get("/djsci/api/v1/runs/")).json()["items"] == before


async def test_a_form_without_a_boundary_is_a_problem(client):
    headers = {"Content-Type": "multipart/form-data"}
    for path in ("call/plain/", "api/v1/files/", "api/v1/files/plain/runs/"):
        answer = await client.post(f"/djsci/{path}", content=b"no form", headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (400, "bad_request"), path


async def test_h21_a_run_that_calls_our_api_has_no_credential_and_no_way(site, client):
    running, made = site
    answer = await client.get(f"/djsci/call/calls/?port={httpx.URL(running.url).port}")
    assert answer.status_code == 200, answer.text
    held, came = answer.json()
    assert made.tokens["ada"] not in held
    assert "Authorization" not in held
    assert running.environment["DJSCI_DATA"] not in held
    [run] = (await client.get("/djsci/api/v1/runs/?limit=1")).json()["items"]
    assert came == 401 if run["isolation"] == "process" else came.endswith("Error")


async def test_events_come_while_the_run_goes_on_and_a_cut_resumes(client):
    seen: list[str] = []
    async with client.stream("GET", "/djsci/call/plain/?pause=0.3", headers=SSE) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            seen.append(line)
            if line.startswith("data:") and '"stream"' in line:
                break
    last = next(line.removeprefix("id: ") for line in reversed(seen) if line.startswith("id: "))
    headers = {**SSE, "Last-Event-ID": last}
    async with client.stream("GET", "/djsci/call/plain/?pause=0.3", headers=headers) as answer:
        async for line in answer.aiter_lines():
            seen.append(line)
    events = [json.loads(line[6:]) for line in seen if line.startswith("data: ")]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    text = "".join(event["text"] for event in events if event["type"] == "stream")
    assert text == "".join(f"line {number} \n" for number in range(5))
    assert ": hb" in seen
    run_id = last.partition("/")[0]
    run = (await client.get(f"/djsci/api/v1/runs/{run_id}/")).json()
    assert (run["state"], run["trigger"]) == ("succeeded", "call")
    newest = (await client.get("/djsci/api/v1/runs/?limit=1")).json()["items"][0]
    assert newest["id"] == run_id


async def test_a_client_that_leaves_changes_nothing(client):
    path = "/djsci/api/v1/files/plain/runs/"
    run = (await client.post(path, json={"parameters": {"count": 3, "pause": 1.0}})).json()
    page = (await client.get(f"{run['links']['events']}?wait=25")).json()
    while page["events"][-1:] == [] or page["events"][-1]["type"] != "stream":
        page = (await client.get(f"{run['links']['events']}?after={page['after']}&wait=25")).json()
    with pytest.raises(httpx.ReadTimeout):
        await client.get(f"{run['links']['events']}?after={page['after']}&wait=25", timeout=0.2)
    async with client.stream("GET", run["links"]["events"], headers=LINES) as answer:
        await anext(answer.aiter_lines())
    async with client.stream("GET", run["links"]["events"], headers=LINES) as answer:
        lines = [json.loads(line) async for line in answer.aiter_lines()]
    assert lines[-1]["state"] == "succeeded"
    assert (await client.get(run["links"]["result"])).json()["count"] == 3


async def test_many_readers_hear_the_same(client):
    path = "/djsci/api/v1/files/plain/runs/"
    run = (await client.post(path, json={"parameters": {"count": 50, "pause": 0.01}})).json()

    async def follow() -> list[str]:
        async with client.stream("GET", run["links"]["events"], headers=LINES) as answer:
            return [line async for line in answer.aiter_lines()]

    heard = await asyncio.gather(*(follow() for _ in range(15)))
    assert json.loads(heard[0][-1])["type"] == "end"
    assert all(lines == heard[0] for lines in heard)


async def test_a_reader_that_takes_nothing_is_given_up_and_comes_back(site, client):
    running, made = site
    path = "/djsci/api/v1/files/plain/runs/"
    body = {"parameters": {"count": 7000, "more": 1000}}
    run = (await client.post(path, json=body, headers={"Prefer": "wait=60"})).json()
    assert run["state"] == "succeeded", run
    address = httpx.URL(running.url)
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((address.host, address.port))
        stuck.sendall(
            f"GET {run['links']['events']} HTTP/1.1\r\nHost: {address.netloc.decode()}\r\n"
            f"Accept: application/x-ndjson\r\n"
            f"Authorization: {made.bearer('ada')['Authorization']}\r\n\r\n".encode()
        )
        assert await asyncio.to_thread(stuck.recv, 1, socket.MSG_PEEK)
        async with asyncio.timeout(30):
            while await streams_of(client):  # noqa: ASYNC110 - a count of another process
                await asyncio.sleep(0.1)
    events, after = [], 0
    while not events or events[-1]["type"] != "end":
        async with client.stream(
            "GET", f"{run['links']['events']}?after={after}", headers=LINES
        ) as answer:
            lines = [json.loads(line) async for line in answer.aiter_lines()]
        events += [event for event in lines if event["type"] != "next"]
        assert lines[-1]["type"] in ("next", "end")
        after = events[-1]["seq"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    text = "".join(event["text"] for event in events if event["type"] == "stream")
    assert text == "".join(f"line {number} {'x' * 1000}\n" for number in range(7000))


async def streams_of(client: httpx.AsyncClient) -> int:
    """How many streams the server has open."""
    text = (await client.get("/djsci/metrics")).text
    return int(re.findall(r"^djsci_streams (\d+)$", text, re.MULTILINE)[0])
