"""`make bench`: its report works on made-up figures, and README's table is what it found."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bars, report
from benchmarks.rounds import Found, Reading, Way, measure, ratios, summary

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
README = ROOT / "README.md"


def readings(*seconds: float, first: float | None = None, lost: int = 0) -> dict[int, Reading]:
    """Rounds 1, 2, … with these figures."""
    return {
        number: Reading(seconds=value, first=first, lost=lost)
        for number, value in enumerate(seconds, 1)
    }


def found(**more: Any) -> dict[str, Any]:
    """A small report."""
    trivial = {
        "trivial .py | functions-framework, warm": readings(0.002, 0.003, 0.002),
        "trivial .py | djsci call/ on uvicorn, thread": readings(0.008, 0.006, 0.008),
        "pandas .py | bare exec + call": readings(0.01, 0.01),
        "pandas .py | djsci fork, pooled": readings(0.02, 0.03, first=0.015),
    }
    return {
        "mode": "full",
        "rounds": 3,
        "machine": "x86_64, 2 cores, load 0.1",
        "python": "3.11.7",
        "versions": {"djsci": "0.1.0"},
        "bars": bars.judged(trivial),
        "ways": {key: summary(rows) for key, rows in trivial.items()},
        "memory": {"fork worker, idle": 1.7},
        "left_out": {"djsci fork, pooled, bwrap": "not in this build"},
        **more,
    }


def row(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    [one] = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return one


def test_a_ratio_is_the_median_of_its_rounds_and_not_of_all_figures() -> None:
    slow_once = readings(1.0, 10.0, 1.0)
    assert ratios(slow_once, readings(0.5, 5.0, 0.25)) == [2.0, 2.0, 4.0]
    assert ratios(slow_once, {2: Reading(seconds=1.0)}) == [10.0]


def test_a_bar_is_met_missed_or_not_measured() -> None:
    rows = found()["bars"]
    fast = row(rows, id="E3", ours="djsci call/ on uvicorn, thread", work="trivial .py")
    assert (fast["ratio"], fast["met"]) == (0.25, False)
    cost = row(rows, id="E4", ours="djsci fork, pooled", work="pandas .py")
    assert (cost["ratio"], cost["met"], cost["to_first_output"]) == (2.5, True, None)
    absent = row(rows, id="E6", work="pandas .py")
    assert (absent["ratio"], absent["met"]) == (None, None)


def test_a_flood_that_loses_lines_meets_no_bar() -> None:
    work = bars.FLOOD_WORK
    floods = {
        f"{work} | stock ipykernel": readings(3.0),
        f"{work} | djsci fork": readings(1.0, lost=1),
    }
    judged = row(bars.judged(floods), id="E5", ours="djsci fork", work=work)
    assert (judged["ratio"], judged["met"]) == (3.0, False)


def test_the_report_names_its_losses() -> None:
    page = report.page(found())
    slower = "takes 4.0x as long as functions-framework, warm (trivial .py)"
    assert slower in page
    assert "| djsci fork, pooled, bwrap | not in this build |" in page
    assert "| fork worker, idle | 1.7 |" in page
    assert slower in report.readme(found())


def test_readmes_block_is_renewed_and_nothing_else() -> None:
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    renewed = report.replaced(text, found())
    assert renewed == f"before\n{report.readme(found())}\nafter\n"
    assert report.replaced(renewed, found()) == renewed
    with pytest.raises(ValueError, match="no block"):
        report.replaced("no marks", found())


async def test_every_way_is_called_once_a_round_and_one_that_fails_is_left_out() -> None:
    called: list[str] = []

    def way(name: str) -> Way:
        async def once() -> Reading:
            called.append(name)
            if name == "bad" and len(called) > 4:
                raise RuntimeError("it broke")
            return Reading(seconds=1.0)

        return Way(name=name, work="work", once=once)

    kept = Found()
    await measure([way("good"), way("bad")], kept, rounds=2)
    assert called == ["good", "bad", "good", "bad", "good", "bad"]
    assert kept.left_out == {"work | bad": "RuntimeError: it broke"}
    assert set(kept.readings) == {"work | good"}
    assert len(kept.readings["work | good"]) == 2


async def test_what_no_time_is_left_for_is_left_out() -> None:
    async def once() -> Reading:
        return Reading(seconds=1.0)

    kept = Found()
    await measure([Way(name="late", work="work", once=once)], kept, rounds=2, seconds=-1.0)
    assert kept.left_out == {"work | late": "no time was left"}


def test_the_readmes_table_is_what_was_measured() -> None:
    measured = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert measured["mode"] == "full"
    assert report.readme(measured) in README.read_text(encoding="utf-8")
    page = (RESULTS.parent / "results.md").read_text(encoding="utf-8")
    assert page == report.page(measured)
