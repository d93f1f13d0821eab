"""R1, R2: whoever is killed, stopped and started again, every run ends once and starts once."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from .stage import Chaos, judge, stage


@pytest.mark.timeout(240)
async def test_r1_r2_each_run_ends_once_and_starts_once_whoever_is_killed(tmp_path: Path):
    record = tmp_path / "record"
    with stage(record, webs=2) as place:
        with Chaos(place, pause=(0.3, 1.0)) as chaos:
            runs = await place.submit(60, at_once=4, lines=12, pause=0.1)
        rows = await asyncio.to_thread(place.all_ended, seconds=90)
    print(chaos.done, Counter(row["state"] for row in rows.values()))
    assert set(runs) <= set(rows)
    assert len(rows) == len(set(runs)) == 60
    judge(rows, record.read_text())
