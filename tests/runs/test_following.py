"""Many who follow one run in one loop: one of them reads, all see every line, none reads alone."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from django.test import override_settings

from djsci import conf, runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.events import End, Log
from djsci.models import PrivateFile
from djsci.runs import doorbell, log
from djsci.runs.following import hubs

MakeFile = Callable[..., PrivateFile]
NOTHING = "def djsci_handler(request): pass\n"


class Written:
    """A run that nobody executes: its log is written here, and `reads` are the log's readers."""

    def __init__(self, run_id: str, reads: list[int]) -> None:
        self.run_id, self.reads, self.head = run_id, reads, 1

    async def say(self, count: int = 5, *, ends: bool = False, rings: bool = True) -> None:
        events: list[Any] = [Log(level="info", message=f"{number}") for number in range(count)]
        events += [End(state="succeeded")] * ends
        lines = [
            log.numbered(event.to_json(), seq=self.head + place, t=0)
            for place, event in enumerate(events, 1)
        ]
        columns = log.end_columns(events[-1]) if ends else {}
        item = log.Append(run_id=self.run_id, lease=0, head=self.head, lines=lines, columns=columns)
        assert await in_database(log.append, item)
        self.head += len(lines)
        if rings:
            doorbell.ring(self.run_id, head=self.head, is_final=ends)

    async def seen(self, after: int = 0) -> list[runs.Page]:
        async with asyncio.timeout(30), aclosing(runs.follow(self.run_id, after=after)) as pages:
            return [page async for page in pages]


@pytest.fixture
async def written(
    make_file: MakeFile, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Written]:
    reads: list[int] = []

    def read(run_id: str, *, after: int, found: Any = log.read, **most: int) -> log.Page:
        reads.append(after)
        page: log.Page = found(run_id, after=after, **most)
        return page

    monkeypatch.setattr(log, "read", read)
    monkeypatch.setattr(conf.intervals, "poll", 3600)
    monkeypatch.setattr(conf.intervals, "poll_remote", 3600)
    file = await in_database(make_file, NOTHING)
    with override_settings(DJSCI={"RUNNING": 0}):
        started = await runs.start(file.pk, caller=caller, trigger="api")
        yield Written(started.run_id, reads)


def seqs(pages: list[runs.Page]) -> list[int]:
    return [json.loads(line)["seq"] for page in pages for line in page.lines]


async def test_ten_followers_are_given_the_same_pages_by_one_reader(written: Written):
    followers = [asyncio.create_task(written.seen()) for _ in range(10)]
    await asyncio.sleep(0.2)
    for number in range(20):
        await written.say(ends=number == 19)
        await asyncio.sleep(0.02)
    first, *others = await asyncio.gather(*followers)
    assert seqs(first) == list(range(1, written.head + 1))
    for pages in others:
        assert [id(page) for page in pages[1:]] == [id(page) for page in first[1:]]
    assert len(written.reads) <= 1 + 20  # the first page, then one for each ring


async def test_what_is_made_of_a_page_is_made_once_in_each_form():
    page, made = log.Page(first=1, last=1, lines=("x",), head=1, is_ended=False), []
    for form in ("frames", "sse", "frames", "sse"):
        assert page.once(form, lambda form=form: made.append(form) or form) == form  # type: ignore[misc, func-returns-value]
    assert made == ["frames", "sse"]


async def test_a_reading_that_fails_for_all_is_tried_by_each(
    written: Written, monkeypatch: pytest.MonkeyPatch
):
    followers = [asyncio.create_task(written.seen()) for _ in range(3)]
    await asyncio.sleep(0.2)
    counted, fails = log.read, [True]

    def read(*args: Any, **kwargs: Any) -> log.Page:
        if fails:
            fails.pop()
            raise OSError("no luck")
        return counted(*args, **kwargs)

    monkeypatch.setattr(log, "read", read)
    await written.say(ends=True)
    for pages in await asyncio.gather(*followers):
        assert seqs(pages) == list(range(1, written.head + 1))
    assert not fails


async def test_nobody_reads_for_nobody_and_who_comes_back_misses_nothing(written: Written):
    async with aclosing(runs.follow(written.run_id, after=0)) as pages:
        await anext(pages)
    waiting = asyncio.create_task(runs.finish(written.run_id, wait=30))
    await asyncio.sleep(0.1)
    before = len(written.reads)
    for _ in range(5):
        await written.say(600)
        await asyncio.sleep(0.02)
    assert len(written.reads) == before
    back = asyncio.create_task(written.seen(after=1))
    await asyncio.sleep(0.1)
    await written.say(ends=True)
    assert seqs(await back) == list(range(2, written.head + 1))
    assert (await waiting) is not None


async def test_a_follower_at_the_tail_and_one_far_behind_both_see_every_line(written: Written):
    await written.say(5000)
    near = asyncio.create_task(written.seen(after=4990))
    await asyncio.sleep(0.1)
    far = asyncio.create_task(written.seen())
    for number in range(10):
        await written.say(700, ends=number == 9)
    assert seqs(await near) == list(range(4991, written.head + 1))
    assert seqs(await far) == list(range(1, written.head + 1))


async def test_without_any_ring_the_poll_wakes_all(
    written: Written, monkeypatch: pytest.MonkeyPatch
):
    for name in ("poll", "poll_remote"):
        monkeypatch.setattr(conf.intervals, name, 0.05)
    followers = [asyncio.create_task(written.seen()) for _ in range(3)]
    await asyncio.sleep(0.1)
    await written.say(rings=False)
    await written.say(ends=True, rings=False)
    for pages in await asyncio.gather(*followers):
        assert seqs(pages) == list(range(1, written.head + 1))


async def test_who_reads_from_far_behind_holds_up_nobody_at_the_tail(
    written: Written, monkeypatch: pytest.MonkeyPatch
):
    await written.say(5000)
    near = asyncio.create_task(written.seen(after=written.head))
    await asyncio.sleep(0.1)
    await written.say()
    await asyncio.sleep(0.1)  # now there is a tail
    stuck, counted = threading.Event(), log.read

    def read(run_id: str, *, after: int, **most: int) -> log.Page:
        if after == 0:
            assert stuck.wait(20)
        return counted(run_id, after=after, **most)

    monkeypatch.setattr(log, "read", read)
    far = [asyncio.create_task(written.seen()) for _ in range(20)]
    await asyncio.sleep(0.2)
    await written.say(ends=True)
    try:
        assert seqs(await near)[-1] == written.head
    finally:
        stuck.set()
    for pages in await asyncio.gather(*far):
        assert seqs(pages) == list(range(1, written.head + 1))


async def test_a_burst_that_finds_no_tail_is_read_once_for_all(written: Written):
    followers = [asyncio.create_task(written.seen(after=1)) for _ in range(20)]
    await asyncio.sleep(0.2)
    before = len(written.reads)
    await written.say(3000, ends=True)
    for pages in await asyncio.gather(*followers):
        assert seqs(pages) == list(range(2, written.head + 1))
    assert len(written.reads) - before <= 2 * 4  # pages of 1,000 events, and one to spare for each


async def test_a_hint_of_the_layer_that_comes_in_a_reading_is_not_lost(
    written: Written, monkeypatch: pytest.MonkeyPatch
):
    near = asyncio.create_task(written.seen())
    await asyncio.sleep(0.1)
    await written.say()
    waiting = asyncio.create_task(runs.finish(written.run_id, wait=30))
    begun, go_on, counted = threading.Event(), threading.Event(), log.read

    def read(run_id: str, *, after: int, **most: int) -> log.Page:
        page = counted(run_id, after=after, **most)
        begun.set()
        assert go_on.wait(20)
        return page

    monkeypatch.setattr(log, "read", read)
    await written.say()
    await asyncio.to_thread(begun.wait, 20)
    await written.say(ends=True, rings=False)
    hint = asyncio.create_task(hubs()._hubs[written.run_id].look())  # as a layer's message does
    assert await waiting is not None  # told at once, while somebody still reads
    go_on.set()
    await hint
    assert seqs(await near) == list(range(1, written.head + 1))


async def test_followers_of_a_run_that_is_removed_are_told(written: Written):
    followers = [asyncio.create_task(written.seen()) for _ in range(3)]
    await asyncio.sleep(0.1)
    await written.say()
    hubs()._hubs[written.run_id].note_gone()
    for told in await asyncio.gather(*followers, return_exceptions=True):
        assert type(told).__name__ == "NotFound"
