"""What a socket sends: how events are put into frames, and a peer that takes nothing."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from djsci import conf
from djsci.core.errors import BadRequest, LimitReached, TooLarge
from djsci.runs import Page
from djsci.web import incoming
from djsci.web.pump import Gone, Pump, Watch, frames


@pytest.fixture
def intervals() -> Iterator[conf.Intervals]:
    kept = {name: getattr(conf.intervals, name) for name in conf.Intervals.__slots__}
    yield conf.intervals
    for name, value in kept.items():
        setattr(conf.intervals, name, value)


def page(*lines: str, first: int = 1) -> Page:
    last = first + len(lines) - 1
    return Page(first=first, last=last, lines=lines, head=last, is_ended=True)


def line(seq: int, text: str = "") -> str:
    event = {"seq": seq, "t": 1.0, "type": "stream", "name": "stdout", "text": text}
    return json.dumps(event, ensure_ascii=False)


@pytest.mark.parametrize("size", [0, 1000, 3000, 300_000])
def test_frames_hold_every_event_once_and_stay_small(size: int) -> None:
    wanted = page(*(line(seq, "é" * size) for seq in range(5, 805 if size < 3000 else 25)), first=5)
    sent = list(frames(wanted, run_id="r", with_traceback=True))
    parsed = [json.loads(frame.text) for frame in sent]
    seqs = [event["seq"] for frame in parsed for event in frame["events"]]
    assert seqs == list(range(wanted.first, wanted.last + 1))
    for frame, text in zip(parsed, sent, strict=True):
        assert frame["first"] == frame["events"][0]["seq"]
        assert frame["last"] == frame["events"][-1]["seq"] == text.last
        assert len(frame["events"]) <= conf.intervals.frame_events
        is_alone = len(frame["events"]) == 1
        assert is_alone or len(text.text.encode()) <= conf.intervals.frame_bytes + 100


def test_a_traceback_is_only_for_those_who_read_the_source() -> None:
    error = json.dumps(
        {"seq": 1, "t": 1, "type": "error", "ename": "E", "evalue": "v", "traceback": ["secret"]},
        separators=(",", ":"),
    )
    (told,) = frames(page(error), run_id="r", with_traceback=True)
    (hidden,) = frames(page(error), run_id="r", with_traceback=False)
    assert "secret" in told.text
    assert json.loads(hidden.text)["events"][0]["traceback"] == []


async def test_b7_a_peer_that_takes_nothing_is_given_up(intervals: conf.Intervals) -> None:
    intervals.send_blocked = 0.05

    async def never(message: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    pump = Pump(never)
    with pytest.raises(Gone):
        await pump.say({"type": "hello"})
    assert pump.lost.is_set()


class Clock:
    """A loop's timers, and a time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> object:
        self.timers.append((self.now + seconds, callback))
        return callback

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        due = [one for one in self.timers if one[0] <= self.now]
        self.timers = [one for one in self.timers if one[0] > self.now]
        for _, callback in due:
            callback()


async def test_only_what_takes_too_long_is_given_up_however_much_was_sent_before() -> None:
    clock = Clock()
    watch = Watch(60, loop=cast(Any, clock))
    for _ in range(10):
        with watch:
            clock.pass_by(50)
            await asyncio.sleep(0)
        assert len(clock.timers) <= 1
    with pytest.raises(TimeoutError), watch:
        clock.pass_by(50)
        clock.pass_by(20)
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_who_is_cancelled_while_it_sends_is_cancelled() -> None:
    watch, sending = Watch(60), asyncio.Event()

    async def send() -> None:
        with watch:
            sending.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(send())
    await sending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nothing_follows_the_last_words() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    pump = Pump(send)
    (frame,) = frames(page(line(1)), run_id="r", with_traceback=True)
    await asyncio.gather(
        pump.events(frame, is_more=True),
        pump.next(),
        pump.events(frame, is_more=True),
        pump.close(4500, {"type": "error"}),
        pump.say({"type": "head"}),
    )
    assert [message["type"].split(".")[1] for message in sent] == ["send", "send", "close"]
    assert json.loads(sent[1]["text"]) == {"type": "next", "after": 1}
    assert sent[2]["code"] == 1000


async def test_sending_lets_others_work() -> None:
    turns = 0

    async def at_once(message: dict[str, Any]) -> None:
        """As Daphne's: it never yields."""

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    pump = Pump(at_once)
    counting = asyncio.create_task(count())
    for seq in range(1, 101):
        (frame,) = frames(page(line(seq), first=seq), run_id="r", with_traceback=True)
        await pump.events(frame, is_more=True)
    counting.cancel()
    assert turns >= 100


def test_a_client_may_burst_but_not_flood() -> None:
    pace = incoming.Pace()

    def take(frames: int) -> None:
        for _ in range(frames):
            pace.take()

    take(40)
    with pytest.raises(LimitReached):
        take(20)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, BadRequest),
        ("", BadRequest),
        ("[]", BadRequest),
        ("{}", BadRequest),
        ('{"type":"start","parameters":[]}', BadRequest),
        ('{"type":"start","parameters":{},"request":{}}', BadRequest),
        ('{"type":"start","key":""}', BadRequest),
        ('{"type":"start","key":7}', BadRequest),
        ('{"type":"cancel","force":"yes"}', BadRequest),
        ('{"type":["start"]}', BadRequest),
        ('{"type":"start","parameters":{"x":NaN}}', BadRequest),
        ('{"type":"ping","x":' + "[" * 101 + "]" * 101 + "}", BadRequest),
        ('{"type":"ping","x":"' + "é" * (128 << 10) + '"}', TooLarge),
    ],
)
def test_bad_frames_are_refused(text: str | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        incoming.read(text)


def test_good_frames_say_what_they_ask() -> None:
    assert incoming.read('{"type":"ping"}') == incoming.Ping()
    assert incoming.read('{"type":"cancel"}') == incoming.Cancel(force=False)
    assert incoming.read('{"type":"cancel","force":true,"new":1}') == incoming.Cancel(force=True)
    assert incoming.read('{"type":"start","key":"k"}') == incoming.Start(parameters={}, key="k")
