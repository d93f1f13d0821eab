"""What bounds a stream: places, bytes, time, rights; and how it says so."""

import asyncio
import gc
import json
from typing import Any

import pytest
from django.test import Client

from djsci import conf
from djsci.access.database import in_database
from djsci.core.errors import LimitReached
from djsci.models import LogRow, Run
from djsci.runs import lines, streams
from djsci.web.streams import wanted_form
from tests.conftest import MakeFile

from .conftest import problem_of, read

SLEEPS = """
import time
import djsci

def djsci_handler(request):
    print("started", flush=True)
    until = time.monotonic() + 20
    while not djsci.cancelled() and time.monotonic() < until:
        time.sleep(0.01)
"""
PRINTS = """
def djsci_handler(request, count: int = 20):
    for number in range(count):
        print("x" * 1000, number)
"""
SSE = {"Accept": "text/event-stream"}
LINES = {"Accept": "application/x-ndjson"}


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "json"),
        ("text/event-stream", "sse"),
        ("application/x-ndjson", "ndjson"),
        ("application/json;q=0.5, text/event-stream", "sse"),
        ("text/event-stream;q=0.1, application/json", "json"),
        ("application/x-ndjson, */*;q=0.1", "ndjson"),
        ("image/png", "json"),
    ],
)
def test_accept_chooses_the_form(rf, accept, form):
    assert wanted_form(rf.get("/", headers={"Accept": accept} if accept else {})) == form


def test_places_are_counted_for_user_run_and_process(monkeypatch):
    before = streams.count()  # those of tests whose clients are still leaving
    monkeypatch.setattr(streams, "MOST_OF_A_USER", 2)
    monkeypatch.setattr(streams, "MOST_OF_A_RUN", 3)
    monkeypatch.setattr(streams, "MOST_OF_A_PROCESS", before + 4)
    held = [streams.open_stream(1, "r"), streams.open_stream(1, "r")]
    with pytest.raises(LimitReached, match="You have 2") as refused:
        streams.open_stream(1, "other")
    assert refused.value.retry_after
    held.append(streams.open_stream(2, "r"))
    with pytest.raises(LimitReached, match="This run has 3"):
        streams.open_stream(2, "r")
    with streams.opened(2) as late, pytest.raises(LimitReached, match="This run"):
        late.join("r")
    held.append(streams.open_stream(3, "s"))
    with pytest.raises(LimitReached, match="This server has"):
        streams.open_stream(4, "t")
    held[0].close()
    held[0].close()
    assert streams.count() <= before + 3
    held.clear()
    gc.collect()
    assert streams.count() <= before


def test_a_wsgi_server_keeps_threads_for_other_requests(make_file, user, monkeypatch):
    make_file(PRINTS, name="prints", engine="thread")
    client = Client()
    client.force_login(user)
    open_streams = [client.get("/djsci/call/prints/", headers=LINES) for _ in range(4)]
    assert [answer.status_code for answer in open_streams] == [200] * 4
    refused = client.get("/djsci/call/prints/", headers=LINES)
    assert (refused.status_code, problem_of(refused)["type"]) == (503, "no_capacity")
    assert Run.objects.count() == 4
    for answer in open_streams:
        assert b"".join(answer.streaming_content).endswith(b"}\n")
        answer.close()
    again = client.get("/djsci/call/prints/", headers=LINES)
    assert again.status_code == 200
    again.close()
    assert streams.count() == 0


def test_o7_a_line_shows_paths_for_what_is_stored_and_hides_tracebacks():
    sha256 = "a" * 64
    display = {
        "seq": 7,
        "t": 1.0,
        "type": "display_data",
        "data": {"image/png": {"ref": sha256, "size": 9}, "text/plain": "x"},
        "metadata": {},
    }
    line = json.dumps(display, separators=(",", ":"))
    shown = json.loads(lines.public(line, run_id="r", with_traceback=False))
    path = "/djsci/api/v1/runs/r/outputs/7/data/?type=image/png"
    assert shown["data"] == {"image/png": {"ref": path, "size": 9}, "text/plain": "x"}
    stream = {"seq": 1, "t": 1.0, "type": "stream", "text": f'"ref":"{sha256}"'}
    printed = json.dumps(stream, separators=(",", ":"))
    assert lines.public(printed, run_id="r", with_traceback=False) == printed
    error = '{"seq":1,"t":1.0,"type":"error","ename":"E","evalue":"v","traceback":["secret"]}'
    assert "secret" not in lines.public(error, run_id="r", with_traceback=False)
    assert lines.public(error, run_id="r", with_traceback=True) == error


async def live(make_file: MakeFile, program: Any) -> dict[str, Any]:
    """A run that goes on until it is cancelled."""
    await in_database(make_file, SLEEPS, name="sleeps", engine="thread")
    run: dict[str, Any] = (await program.post("/djsci/api/v1/files/sleeps/runs/")).json()
    return run


async def end(program: Any, run: dict[str, Any]) -> None:
    await program.post(run["links"]["cancel"])
    page = (await program.get(run["links"]["events"])).json()
    while not page["ended"]:
        query = f"?after={page['after']}&wait=25"
        page = (await program.get(run["links"]["events"] + query)).json()


async def test_too_many_streams_are_refused_and_a_closed_one_makes_room(
    make_file, program, monkeypatch
):
    monkeypatch.setattr(streams, "MOST_OF_A_USER", 1)
    run = await live(make_file, program)
    first = await program.get(run["links"]["events"], headers=SSE)
    refused = await program.get(run["links"]["events"], headers=SSE)
    assert (refused.status_code, problem_of(refused)["type"]) == (429, "limit")
    assert refused["Retry-After"] == "30"
    first.close()
    assert (await program.get(run["links"]["events"], headers=SSE)).status_code == 200
    await end(program, run)


async def test_a_call_whose_stream_has_no_place_starts_nothing(make_file, program, monkeypatch):
    await in_database(make_file, PRINTS, name="prints", engine="thread")
    monkeypatch.setattr(streams, "MOST_OF_A_USER", 0)
    refused = await program.get("/djsci/call/prints/", headers=SSE)
    assert (refused.status_code, problem_of(refused)["type"]) == (429, "limit")
    assert refused["Content-Security-Policy"].startswith("sandbox")
    assert not await Run.objects.aexists()


async def test_a_silent_run_is_heard_by_heartbeats(make_file, program, monkeypatch):
    monkeypatch.setattr(conf.intervals, "head", 0.05)
    run = await live(make_file, program)
    answer = await program.get(run["links"]["events"], headers=SSE)
    beats = 0
    async with asyncio.timeout(20):
        async for part in answer.streaming_content:
            beats += part == b": hb\n\n"
            if beats == 3:
                break
    answer.close()
    await end(program, run)


async def test_a_stream_ends_when_its_reader_loses_the_right(make_file, program, monkeypatch, user):
    monkeypatch.setattr(conf.intervals, "recheck", 0.05)
    run = await live(make_file, program)
    state = ""
    async with asyncio.timeout(20):  # a run that is claimed later would be denied
        while state != "running":
            state = (await program.get(run["links"]["self"])).json()["state"]
            await asyncio.sleep(0.02)
    answer = await program.get(run["links"]["events"], headers=SSE)
    await type(user).objects.filter(pk=user.pk).aupdate(is_active=False)
    async with asyncio.timeout(20):
        text = await read(answer)
    assert b'"type":"end"' not in text
    await type(user).objects.filter(pk=user.pk).aupdate(is_active=True)
    await end(program, run)


async def test_a_stream_over_its_cap_is_cut_between_events_and_goes_on(
    make_file, program, monkeypatch
):
    await in_database(make_file, PRINTS, name="prints", engine="thread")
    answer = await program.post("/djsci/api/v1/files/prints/runs/", headers={"Prefer": "wait=20"})
    run = answer.json()
    await in_database(_one_row_each, run["id"])
    monkeypatch.setattr(conf.intervals, "socket_bytes", 1)
    monkeypatch.setattr("djsci.runs.log.ROW_BYTES", 1)
    seen: list[int] = []
    after = 0
    for _ in range(100):
        answer = await program.get(f"{run['links']['events']}?after={after}", headers=LINES)
        *events, last = [json.loads(line) for line in (await read(answer)).splitlines()]
        seen += [event["seq"] for event in events]
        if last["type"] == "end":
            seen.append(last["seq"])
            break
        assert last == {"type": "next", "after": seen[-1]}
        after = last["after"]
    head = (await Run.objects.aget(pk=run["id"])).head
    assert seen == list(range(1, head + 1))


def _one_row_each(run_id: str) -> None:
    """Every event of the log in a row of its own."""
    rows = list(LogRow.objects.filter(run_id=run_id).order_by("last"))
    texts = [line for row in rows for line in row.data.split("\n")]
    LogRow.objects.filter(run_id=run_id).delete()
    LogRow.objects.bulk_create(
        LogRow(
            run_id=run_id,
            first=seq,
            last=seq,
            created=rows[0].created,
            bytes=len(text),
            data=text,
        )
        for seq, text in enumerate(texts, 1)
    )


async def test_a_long_poll_returns_at_the_first_event(make_file, program):
    run = await live(make_file, program)
    async with asyncio.timeout(20):
        page = (await program.get(run["links"]["events"] + "?wait=25")).json()
        while not any(event["type"] == "stream" for event in page["events"]):
            query = f"?after={page['after']}&wait=25"
            page = (await program.get(run["links"]["events"] + query)).json()
    assert page["ended"] is False
    waiting = asyncio.ensure_future(
        program.get(f"{run['links']['events']}?after={page['after']}&wait=25")
    )
    await end(program, run)
    async with asyncio.timeout(20):
        assert (await waiting).json()["events"]
