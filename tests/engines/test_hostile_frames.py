"""A worker is the user's: whatever it sends on the run's socket, one run alone is affected."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from djsci.core import events, sources
from djsci.core.artifacts import ArtifactContent
from djsci.core.events import End
from djsci.core.requests import from_parameters
from djsci.engines.base import Limits, Stop
from djsci.engines.fork import ForkEngine

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
LIMITS = Limits(timeout=30, grace=0.5, result=1 << 20)
HEAD = """
import json, os, socket, struct
wire = socket.socket(fileno=os.dup(3))
def frame(kind, body, size=None):
    wire.send(struct.pack("!Ic", len(body) if size is None else size, kind) + body)
def say(**values):
    frame(b"j", json.dumps(values).encode())
def part(of, data, last):
    head = json.dumps({"of": of, "last": last}).encode()
    frame(b"b", struct.pack("!I", len(head)) + head + data)
def djsci_handler(request):
    print("before")
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[ForkEngine]:
    opened = ForkEngine(size=0)
    await opened.open()
    yield opened
    await opened.close()


async def play(engine: ForkEngine, *lines: str) -> list[events.Event]:
    code = HEAD + "".join(f"    {line}\n" for line in lines)
    source = sources.read("code.py", {"code.py": code.encode()})
    run = engine.execute(source, from_parameters({}), limits=LIMITS, stop=Stop())
    async with asyncio.timeout(60), aclosing(run) as heard:
        return [event async for event in heard]


def ends(said: list[events.Event]) -> tuple[list[Any], str, str]:
    """The results, the state and the reason."""
    last = said[-1]
    assert isinstance(last, End)
    assert [isinstance(event, End) for event in said].count(True) == 1
    results = [event.value for event in said if isinstance(event, events.Result)]
    return [json.loads(value.text) for value in results if value], last.state, last.reason


@pytest.mark.parametrize(
    "line",
    [
        "say(type='nonsense', v=2)",
        "say(nothing=1)",
        "frame(b'j', b'{')",
        "frame(b'j', b'[1]')",
        "frame(b'j', b'\\xff\\xfe')",
        "frame(b'j', b'[' * 50_000)",
        'frame(b\'j\', b\'{"type": "progress", "value": NaN}\')',
        "frame(b'z', b'of no kind')",
        "say(type='progress', value='half')",
        "say(type='error')",
        "say(type='cell', index='first', state='start')",
        "say(type='cell', index=1, state='moved')",
        "say(type='display_data', data=[1], metadata=None)",
        "say(type='chunk', value='{no json')",
        "say(type='chunk', value=7)",
        "say(type='result', value='{no json')",
        "say(type='result', value='\"' + 'x' * (1 << 16) + '\"' * 2)",
        "part('j', b'{', True)",
        "part('artifact:', b'no name', True)",
        "part('artifact:1:\\ud800', b'', True)",
        "say(type='part', of=1, name='a', data='no base64')",
        "say(type='part', of=1, name='a')",
    ],
)
async def test_what_is_no_word_of_the_protocol_is_passed_over(
    engine: ForkEngine, line: str
) -> None:
    said = await play(engine, line, "print('after')", "return 'own'")
    assert ends(said) == (["own"], "succeeded", "")
    text = "".join(event.text for event in said if isinstance(event, events.Stream))
    assert text == "before\nafter\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("wire.send(b'x')", "the worker sent a frame of 1 bytes"),
        ("frame(b'j', b'{}', 9)", "the worker sent a frame that says 9 bytes and has 2"),
        ("frame(b'j', b'{}', 0xFFFFFFFF)", "the worker sent a frame that says 4294967295 bytes"),
        ("frame(b'b', b'')", "the worker sent a part without its head"),
        ("frame(b'b', b'\\xff' * 40)", "the worker sent a part without its head"),
        ("[part('j', bytes(90_000), False) for _ in range(2000)]", "the worker sent parts of more"),
    ],
)
async def test_what_is_no_frame_ends_the_run_and_says_why(
    engine: ForkEngine, line: str, reason: str
) -> None:
    results, state, why = ends(await play(engine, line, "return 'own'"))
    assert (results, state, why[: len(reason)]) == ([], "crashed", reason)
    assert ends(await play(engine, "return 'next'")) == (["next"], "succeeded", "")


async def test_the_first_result_counts_and_nothing_follows_done(engine: ForkEngine) -> None:
    said = await play(engine, "say(type='result', value='1')", "return 2")
    assert ends(said) == ([1], "succeeded", "")
    said = await play(engine, "say(type='done')", "print('late')", "return 2")
    assert ends(said)[:2] == ([], "succeeded")


async def test_what_is_printed_like_a_frame_is_text(engine: ForkEngine) -> None:
    fake = '{"type": "end", "state": "succeeded"}'
    said = await play(engine, f"print({fake!r})", "os.write(1, b'\\x00\\x00\\x00\\x02j{}\\n')")
    text = "".join(event.text for event in said if isinstance(event, events.Stream))
    assert fake in text
    assert ends(said) == ([None], "succeeded", "")


async def test_artifacts_are_held_to_the_limits_whatever_the_worker_asks(
    engine: ForkEngine,
) -> None:
    heard = await play(
        engine,
        "part('artifact:1:../up.txt', b'x', True)",
        "part('artifact:2:fine.txt', b'x', True)",
        "for number in range(300): part(f'artifact:{number}:{number}.txt', b'y', True)",
        "return 1",
    )
    sent = [event for event in heard if isinstance(event, ArtifactContent)]
    assert [event.name for event in sent] == ["fine.txt", *(f"{n}.txt" for n in range(99))]
    logs = [event.message for event in heard if isinstance(event, events.Log)]
    assert len(logs) == 100
    assert logs[0].startswith("Left out of the artifacts: '../up.txt' (")
    assert ends(heard) == ([1], "succeeded", "")
