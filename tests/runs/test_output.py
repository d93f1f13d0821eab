"""The cap on output: what is kept, what is dropped, and numbers that add up."""

import random

import pytest

from djsci.core.events import Log, Stream, Truncated
from djsci.runs.output import OutputCap


def record(texts: list[str], limit: int) -> tuple[str, Truncated | None, str]:
    cap = OutputCap(limit)
    live = [event for text in texts for event in cap.take(Stream(name="stdout", text=text))]
    rest = cap.finish()
    truncated = next((event for event in rest if isinstance(event, Truncated)), None)
    head = "".join(event.text for event in live if isinstance(event, Stream))
    tail = "".join(event.text for event in rest if isinstance(event, Stream))
    assert sum(isinstance(event, Log) for event in live) <= 1
    return head, truncated, tail


def test_output_under_the_cap_is_kept_whole():
    head, truncated, tail = record(["hello\n"] * 10, 1000)
    assert (head, truncated, tail) == ("hello\n" * 10, None, "")


def test_output_between_four_fifths_and_the_cap_loses_nothing():
    text = "x" * 950
    head, truncated, tail = record([text], 1000)
    assert truncated is None
    assert head + tail == text


@pytest.mark.parametrize("seed", range(20))
def test_head_tail_and_dropped_add_up(seed: int):
    chance = random.Random(seed)
    letters = "ab\nß漢🎈"
    texts = ["".join(chance.choices(letters, k=chance.randint(1, 400))) for _ in range(300)]
    whole = "".join(texts)
    limit = chance.randint(50, 20_000)
    head, truncated, tail = record(texts, limit)
    assert truncated is not None
    assert whole.startswith(head)
    assert whole.endswith(tail)
    dropped = whole[len(head) : len(whole) - len(tail)]
    assert truncated.dropped_bytes == len(dropped.encode())
    assert truncated.dropped_lines == dropped.count("\n")
    assert len((head + tail).encode()) <= limit
    assert len((head + tail).encode()) >= limit - 8
