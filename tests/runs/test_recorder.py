"""The recorder: numbered without gaps, merged, ordered, and silent once the lease is lost."""

import asyncio
import json
from typing import Any

import pytest

from djsci import conf
from djsci.core.events import (
    Chunk,
    DisplayData,
    End,
    Error,
    Json,
    Log,
    Progress,
    Result,
    Status,
    Stream,
)
from djsci.runs.log import Append
from djsci.runs.recorder import LeaseLost, Recorder


class Rows:
    """A working small log: appends in memory under a lease."""

    def __init__(self) -> None:
        self.appends: list[Append] = []
        self.blobs: list[bytes] = []
        self.is_mine = True
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, item: Append) -> bool:
        await self.gate.wait()
        if self.is_mine:
            self.appends.append(item)
        return self.is_mine

    async def store(self, content: bytes) -> str:
        self.blobs.append(content)
        return f"{len(self.blobs):064d}"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for item in self.appends for line in item.lines]

    def recorder(self, **options: Any) -> Recorder:
        defaults: dict[str, Any] = {"output_limit": 10 << 20}
        return Recorder(
            run_id="r", lease=1, head=1, write=self.write, store=self.store, **(defaults | options)
        )


async def test_events_are_numbered_from_the_head_without_gaps():
    rows = Rows()
    recorder = rows.recorder()
    for number in range(1000):
        await recorder.add(Stream(name="stdout" if number % 3 else "stderr", text=f"{number}\n"))
    await recorder.end(End(state="succeeded"))
    assert [event["seq"] for event in rows.events] == list(range(2, 2 + len(rows.events)))
    assert rows.events[-1]["type"] == "end"
    assert "".join(e["text"] for e in rows.events if e.get("name") == "stdout") == "".join(
        f"{n}\n" for n in range(1000) if n % 3
    )


async def test_neighbouring_text_of_one_stream_becomes_few_events():
    rows = Rows()
    recorder = rows.recorder()
    for number in range(5000):
        await recorder.add(Stream(name="stdout", text=f"{number}\n"))
    await recorder.end(End(state="succeeded"))
    streams = [event for event in rows.events if event["type"] == "stream"]
    assert len(streams) < 100
    assert "".join(event["text"] for event in streams) == "".join(f"{n}\n" for n in range(5000))


async def test_the_result_is_written_just_before_the_end_and_after_late_output():
    rows = Rows()
    recorder = rows.recorder()
    await recorder.add(Result(value=Json(text='{"a":1}')))
    await recorder.add(Stream(name="stdout", text="late\n"))
    await recorder.end(End(state="succeeded", elapsed=0.5))
    assert [event["type"] for event in rows.events] == ["stream", "result", "end"]
    assert rows.appends[-1].columns["result"] == '{"a":1}'
    assert rows.appends[-1].columns["state"] == "succeeded"


async def test_large_parts_are_stored_and_referred_to():
    rows = Rows()
    recorder = rows.recorder()
    big = "y" * 300_000
    await recorder.add(DisplayData(data={"text/plain": "small", "text/html": big}))
    await recorder.add(Chunk(value=Json(text=json.dumps(big))))
    await recorder.add(Result(value=Json(text=json.dumps(big))))
    await recorder.end(End(state="succeeded"))
    display, chunk, result, _ = rows.events
    assert display["data"]["text/html"] == {"ref": f"{1:064d}", "size": 300_000}
    assert display["data"]["text/plain"] == "small"
    assert chunk["size"] == result["size"] == 300_002
    assert rows.blobs == [big.encode(), json.dumps(big).encode(), json.dumps(big).encode()]


async def test_of_progress_the_newest_in_a_window_is_kept():
    rows = Rows()
    rows.gate.clear()
    recorder = rows.recorder()
    for number in range(100):
        await recorder.add(Progress(n=number, total=100, label="a"))
    rows.gate.set()
    await recorder.end(End(state="succeeded"))
    kept = [event["n"] for event in rows.events if event["type"] == "progress"]
    assert kept[-1] == 99
    assert len(kept) <= 2


async def test_a_short_run_is_one_append():
    rows = Rows()
    recorder = rows.recorder(running_columns={"started": "now"})
    await recorder.add(Status(state="starting"))
    await recorder.add(Status(state="running"))
    await recorder.add(Stream(name="stdout", text="hello\n"))
    await recorder.add(Result(value=Json(text="1")))
    await recorder.end(End(state="succeeded"))
    assert [event["type"] for event in rows.events] == [
        *("status", "status", "stream", "result", "end")
    ]
    [item] = rows.appends
    assert (item.columns["state"], item.columns["started"]) == ("succeeded", "now")


@pytest.mark.parametrize("state", ["starting", "running", "cancelling"])
async def test_a_status_is_written_though_nothing_follows(state: Any):
    rows = Rows()
    recorder = rows.recorder()
    await recorder.add(Status(state=state))
    async with asyncio.timeout(10):
        while not rows.appends:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert [event["state"] for event in rows.events] == [state]
    await recorder.end(End(state="succeeded"))
    assert rows.appends[0].columns["state"] == state


async def test_what_is_urgent_does_not_wait_for_company(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conf.intervals, "company", 3600)
    monkeypatch.setattr(conf.intervals, "window", 3600)
    for event in (Status(state="cancelling"), Error(ename="E", evalue="e", traceback=[])):
        rows = Rows()
        recorder = rows.recorder()
        await recorder.add(Status(state="starting"))
        await recorder.add(Status(state="running"))
        await recorder.add(Stream(name="stdout", text="x"))
        async with asyncio.timeout(10):
            await recorder.add(event)
            while not rows.appends:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await recorder.end(End(state="failed"))
        assert [item["type"] for item in rows.events][:3] == ["status", "status", "stream"]


async def test_a_lost_lease_stops_everything():
    rows = Rows()
    rows.is_mine = False
    heard = asyncio.Event()
    recorder = rows.recorder(on_failure=heard.set)
    await recorder.add(Status(state="running"))
    await asyncio.wait_for(heard.wait(), 5)
    with pytest.raises(LeaseLost):
        await recorder.add(Stream(name="stdout", text="x"))
    with pytest.raises(LeaseLost):
        await recorder.end(End(state="succeeded"))
    assert rows.appends == []


async def test_nul_and_lone_surrogates_become_replacement_characters():
    rows = Rows()
    recorder = rows.recorder()
    await recorder.add(Stream(name="stdout", text="a\x00b\ud800c\\u0000"))
    await recorder.add(
        DisplayData(data={"text/plain": "\x00\udfff", "application/json": {"k": "\x00"}})
    )
    await recorder.end(End(state="succeeded"))
    stream, display, _ = rows.events
    assert stream["text"] == "a\ufffdb\ufffdc\\u0000"
    assert display["data"]["text/plain"] == "\ufffd\ufffd"
    assert display["data"]["application/json"] == {"k": "\ufffd"}


@pytest.mark.parametrize("state", ["failed", "cancelled", "crashed"])
async def test_a_run_that_did_not_succeed_has_no_result(state: Any):
    rows = Rows()
    recorder = rows.recorder()
    await recorder.add(Result(value=Json(text="1")))
    await recorder.end(End(state=state))
    assert [event["type"] for event in rows.events] == ["end"]
    assert "result" not in rows.appends[-1].columns


async def test_notes_without_end_are_dropped_and_counted():
    rows = Rows()
    recorder = rows.recorder()
    for _ in range(140):
        await recorder.add(Log(level="info", message="n" * 500_000))
    await recorder.end(End(state="succeeded"))
    kept = [event for event in rows.events if event["type"] == "log"]
    [cut] = [event for event in rows.events if event["type"] == "truncated"]
    assert len(kept) == 134
    assert cut["dropped_bytes"] > 0


async def test_a_reader_that_is_far_behind_holds_the_engine_back():
    rows = Rows()
    rows.gate.clear()
    recorder = rows.recorder(output_limit=1 << 30)

    async def flood() -> None:
        for _ in range(40):
            await recorder.add(Stream(name="stdout", text="z" * (1 << 20)))

    task = asyncio.create_task(flood())
    done, _ = await asyncio.wait([task], timeout=0.5)
    assert not done
    rows.gate.set()
    await asyncio.wait_for(task, 30)
    await recorder.end(End(state="succeeded"))
    assert sum(len(e.get("text", "")) for e in rows.events) == 40 << 20


async def test_a_result_that_cannot_be_stored_crashes_the_run_which_ends_all_the_same():
    rows = Rows()

    async def full(content: bytes) -> str:
        raise OSError(28, "No space left on device")

    rows.store = full  # type: ignore[method-assign]
    recorder = rows.recorder()
    await recorder.add(Result(value=Json(text=json.dumps("y" * 300_000))))
    await recorder.end(End(state="succeeded"))
    end = rows.events[-1]
    assert (end["type"], end["state"]) == ("end", "crashed")
    assert end["reason"] == "its result could not be stored: OSError"
    assert rows.appends[-1].columns["state"] == "crashed"


async def test_progress_of_countless_labels_is_not_kept_in_memory():
    rows = Rows()
    rows.gate.clear()
    recorder = rows.recorder()
    for number in range(1000):
        await recorder.add(Progress(n=1, label=str(number)))
    assert len(recorder._progress) <= 256
    rows.gate.set()
    await recorder.end(End(state="succeeded"))
    labels = [event["label"] for event in rows.events if event["type"] == "progress"]
    assert labels == [str(number) for number in range(1000)]
