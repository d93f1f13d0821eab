"""`api/v1/runs/`: started, listed, read in four forms, cancelled."""

import asyncio
import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import AsyncClient
from django.utils import timezone

from djsci.access.database import in_database
from djsci.models import Run
from djsci.runs import streams
from tests.conftest import MakeFile

from .conftest import problem_of, read

RUNS = "/djsci/api/v1/runs/"
JSON = "application/json"
COUNTS = """
def djsci_handler(request, count: int = 3):
    for number in range(count):
        print("line", number)
    return list(range(count))
"""
WAITS = """
import time
import djsci

def djsci_handler(request):
    print("started", flush=True)
    while not djsci.cancelled():
        time.sleep(0.01)
"""


@pytest.fixture
def counts(make_file: MakeFile) -> Any:
    return make_file(COUNTS, name="counts", engine="thread")


async def start(client: AsyncClient, name: str = "counts", **parameters: Any) -> dict[str, Any]:
    answer = await client.post(
        f"/djsci/api/v1/files/{name}/runs/",
        {"parameters": parameters},
        content_type=JSON,
        headers={"Prefer": "wait=20"},
    )
    assert answer.status_code == 200, answer.content
    run: dict[str, Any] = answer.json()
    return run


async def test_a_run_is_accepted_then_read(counts, program):
    answer = await program.post("/djsci/api/v1/files/counts/runs/")
    run = answer.json()
    assert (answer.status_code, answer["Location"]) == (202, f"{RUNS}{run['id']}/")
    assert list(run)[:16] == [
        "id",
        "file",
        "version",
        "state",
        "created",
        "started",
        "ended",
        "user",
        "trigger",
        "attempt",
        "engine",
        "isolation",
        "parameters",
        "result",
        "result_ref",
        "error",
    ]
    assert set(run["links"]) == {"self", "events", "result", "cancel", "page", "socket"}
    assert (run["file"], run["user"], run["trigger"]) == (
        {"id": counts.pk, "name": "counts"},
        "ada",
        "api",
    )
    done = await start(program, count=2)
    assert (done["state"], done["result"], done["parameters"]) == (
        "succeeded",
        [0, 1],
        {"count": 2},
    )
    assert (await program.get(f"{RUNS}{done['id']}")).json() == done
    assert (await program.get(done["links"]["result"])).json() == [0, 1]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"parameters": {"count": "x"}}', 422, "count"),
        (b'{"parameters": {"other": 1}}', 422, "other"),
        (b'{"parameters": {"count": NaN}}', 422, "count"),
        (b'{"parameters": {"count": 1e999}}', 422, "count"),
        (b'{"parameters": {"count": 1, "count": 2}}', 422, "parameters"),
        (b'{"parameters": [1]}', 422, "parameters"),
        (b'{"parameters": {"count": ' + b"[" * 101 + b"]" * 101 + b"}}", 422, "count"),
        (b'{"parameters": {"count": ' + b"[" * 9999 + b"]" * 9999 + b"}}", 422, "parameters"),
        (b'{"parametres": {}}', 422, "parametres"),
        (b"{", 400, None),
        (b"[]", 400, None),
        (b"\xff", 400, None),
    ],
)
async def test_a_body_that_does_not_fit_starts_nothing(counts, program, body, status, field):
    answer = await program.post("/djsci/api/v1/files/counts/runs/", body, content_type=JSON)
    told = problem_of(answer)
    assert answer.status_code == status, told
    if field:
        assert [item["field"].partition("[")[0] for item in told["errors"]] == [field]
    assert not await Run.objects.aexists()


async def test_a_key_finds_the_same_run(counts, program):
    async def post(count: int, ref: str = "counts", **headers: str) -> Any:
        return await program.post(
            f"/djsci/api/v1/files/{ref}/runs/",
            {"parameters": {"count": count}},
            content_type=JSON,
            headers={"Idempotency-Key": "k1", **headers},
        )

    first, second = await asyncio.gather(post(2), post(2))
    assert first.json()["id"] == second.json()["id"]
    done = await post(2, Prefer="wait=20")
    assert (done.status_code, done.json()["id"]) == (200, first.json()["id"])
    assert (await post(2)).status_code == 200
    assert (await post(2, counts.pk)).json()["id"] == first.json()["id"]
    assert problem_of(await post(3))["type"] == "conflict"
    assert await Run.objects.acount() == 1


async def test_the_history_is_filtered_and_comes_in_pages(counts, program, stranger):
    made = [(await start(program, count=n))["id"] for n in range(3)]
    await Run.objects.filter(pk=made[0]).aupdate(state="failed")
    await Run.objects.filter(pk=made[1]).aupdate(created=timezone.now() - timedelta(days=2))

    async def listed(query: str) -> list[str]:
        answer = await program.get(f"{RUNS}?{query}")
        assert answer.status_code == 200, answer.content
        return [item["id"] for item in answer.json()["items"]]

    assert await listed("") == [made[2], made[0], made[1]]
    assert await listed("state=failed") == [made[0]]
    assert set(await listed("state=failed,succeeded")) == set(made)
    assert set(await listed(f"file={counts.pk}")) == set(await listed("file=counts")) == set(made)
    assert await listed("file=nothing") == []
    assert len(await listed("user=ada")) == 3
    assert await listed("user=grace") == []
    since = (timezone.now() - timedelta(days=1)).isoformat()
    assert await listed(f"since={since}") == [made[2], made[0]]
    assert await listed(f"since={quote(since)}") == [made[2], made[0]]
    page = (await program.get(f"{RUNS}?limit=2")).json()
    rest = (await program.get(f"{RUNS}?limit=2&cursor={page['next']}")).json()
    assert [item["id"] for item in rest["items"]] == [made[1]]
    assert rest["next"] is None
    ages = ("since=9999-12-31T23:59:59-12:00", "since=0001-01-01T00:00:00%2B12:00")
    forged = [
        f"cursor={urlsafe_b64encode(text.encode()).decode()}"
        for text in ("[" * 6000, '[null, "\\ud800"]', "[null, null]", '["9999-12-31T23-01", ""]')
    ]
    for bad in ("state=great", "since=yesterday", "limit=-1", "cursor=%00", *ages, *forged):
        assert problem_of(await program.get(f"{RUNS}?{bad}"))["type"] == "bad_request"
    assert (await stranger.get(RUNS)).json()["items"] == []


async def test_events_come_as_pages(counts, program):
    run = await start(program)
    whole = (await program.get(run["links"]["events"])).json()
    assert whole["ended"] is True
    assert whole["after"] == len(whole["events"])
    assert [event["seq"] for event in whole["events"]] == list(range(1, whole["after"] + 1))
    rest = (await program.get(f"{run['links']['events']}?after=2")).json()
    assert rest["events"] == whole["events"][2:]
    nothing = (await program.get(f"{run['links']['events']}?after={whole['after']}&wait=25")).json()
    assert nothing == {"events": [], "after": whole["after"], "ended": True}
    for query in (f"after={whole['after'] + 1}", "after=-1", "after=x", "wait=-1", "wait=nan"):
        answer = await program.get(f"{run['links']['events']}?{query}")
        assert problem_of(answer)["type"] == "bad_request", query


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_events_come_as_streams(counts, program, accept):
    run = await start(program)
    whole = (await program.get(run["links"]["events"])).json()["events"]

    async def stream(query: str = "", **headers: str) -> Any:
        path = run["links"]["events"] + query
        return await program.get(path, headers={"Accept": accept, **headers})

    answer = await stream("?after=1")
    assert answer["Content-Type"].startswith(accept)
    assert answer["Cache-Control"] == "no-store, no-transform"
    assert answer["X-Accel-Buffering"] == "no"
    assert answer["Content-Encoding"] == "identity"
    text = (await read(answer)).decode()
    lines = [line.removeprefix("data: ") for line in text.splitlines() if '"seq"' in line]
    assert [json.loads(line) for line in lines] == whole[1:]
    last = whole[-1]["seq"]
    resumed = (await read(await stream("?after=1", **{"Last-Event-ID": str(last - 1)}))).decode()
    assert resumed.count('"seq"') == 1
    over = await stream(f"?after={last}")
    assert (over.status_code, "Content-Type" in over) == (204, False)
    assert problem_of(await stream(f"?after={last + 1}"))["type"] == "bad_request"
    assert problem_of(await stream(**{"Last-Event-ID": "x"}))["type"] == "bad_request"
    assert streams.count() == 0


async def test_head_begins_no_stream(counts, program):
    run = await start(program)
    answer = await program.head(run["links"]["events"], headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.streaming) == (200, False)
    assert streams.count() == 0


async def test_a_pruned_log_is_gone(counts, program):
    run = await start(program)
    await Run.objects.filter(pk=run["id"]).aupdate(pruned=True)
    for accept in (JSON, "text/event-stream"):
        answer = await program.get(run["links"]["events"], headers={"Accept": accept})
        assert (answer.status_code, problem_of(answer)["type"]) == (410, "pruned")


async def test_a_live_run_is_followed_and_cancelled(make_file: MakeFile, program):
    await in_database(make_file, WAITS, name="waits", engine="thread")
    run = (await program.post("/djsci/api/v1/files/waits/runs/")).json()
    early = problem_of(await program.get(run["links"]["result"]))
    assert (early["type"], early["run"]) == ("conflict", run["id"])
    answer = await program.get(run["links"]["events"], headers={"Accept": "text/event-stream"})
    text = ""
    async with asyncio.timeout(30):
        async for part in answer.streaming_content:
            text += part.decode()
            if "started" in text and "cancelling" not in text:
                asked = await program.post(run["links"]["cancel"])
                assert asked.status_code in (200, 202)
    assert '"state":"cancelled"' in text.splitlines()[-2]
    again = await program.post(run["links"]["cancel"])
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")
    told = problem_of(await program.get(run["links"]["result"]))
    assert (told["type"], told["status"], told["run"]) == ("cancelled", 409, run["id"])


async def test_another_persons_run_is_not_there(counts, program, stranger):
    run = await start(program)
    missing = await stranger.get(f"{RUNS}nothing/")
    for method, path in (
        ("get", ""),
        ("get", "events/"),
        ("get", "result/"),
        ("get", "outputs/5/data/"),
        ("post", "cancel/"),
    ):
        answer = await getattr(stranger, method)(f"{RUNS}{run['id']}/{path}")
        assert answer.status_code == 404
        assert answer.content == missing.content
        assert (await getattr(AsyncClient(), method)(answer.request["path"])).status_code == 401


async def test_scopes_narrow_a_token(counts, program, make_program, user):
    run = await start(program)
    runner = await in_database(make_program, user, "run")
    assert (await runner.post("/djsci/api/v1/files/counts/runs/")).status_code == 202
    for path in (RUNS, run["links"]["self"], run["links"]["events"], "/djsci/api/v1/files/"):
        assert problem_of(await runner.get(path))["type"] == "forbidden", path
    reader = await in_database(make_program, user, "runs:read")
    assert (await reader.get(run["links"]["self"])).status_code == 200
    for path in ("/djsci/api/v1/files/counts/runs/", run["links"]["cancel"]):
        assert problem_of(await reader.post(path))["status"] in (403, 404)


async def test_a_large_result_and_a_large_chunk_are_held_by_reference(make_file, program):
    code = "def djsci_handler(request):\n    yield 'x' * 300_000\n    yield 'y'\n"
    file = await in_database(make_file, code, engine="thread")
    run = await start(program, file.pk)
    assert run["result"] is None
    assert run["result_ref"]["size"] > 300_000
    assert (await program.get(run["result_ref"]["ref"])).json() == ["x" * 300_000, "y"]
    events = (await program.get(run["links"]["events"])).json()["events"]
    chunk = next(event for event in events if event["type"] == "chunk")
    assert chunk["ref"] == f"{RUNS}{run['id']}/outputs/{chunk['seq']}/data/?type=application/json"
    answer = await program.get(chunk["ref"])
    assert answer.json() == "x" * 300_000
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["Content-Security-Policy"].startswith("sandbox")
    assert (await program.get(f"{RUNS}{run['id']}/outputs/1/data/")).status_code == 404
    assert (await program.get(f"{RUNS}{run['id']}/outputs/99/data/")).status_code == 404
    result = next(event for event in events if event["type"] == "result")
    assert result["ref"] == run["result_ref"]["ref"]
