"""The bars: what is compared with what, what the ratio must be, and whether it is."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import console, fanout
from .printing import DELAY_WORK, FLOOD_WORK
from .rounds import Reading, ratios
from .workloads import NOTEBOOK, PANDAS, PLOTS, PY

PAPERMILL = "papermill, in process"
GATEWAY = "kernel gateway, warm GET"
FUNCTIONS = "functions-framework, warm"
BARE = "bare exec + call"
WORKER, DEMAND, KERNEL = "djsci fork, pooled", "djsci fork, on demand", "djsci kernel, pooled"
CALL = "djsci call/ on uvicorn, pooled worker"
CALL_THREAD = "djsci call/ on uvicorn, thread"
STOCK = "stock ipykernel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Peer ÷ ours must be at least `bar`; where `is_cost`, ours ÷ peer must be at most `bar`."""

    id: str
    peer: str
    ours: str
    bar: float
    is_cost: bool = False
    peer_work: str
    our_work: str


def _bar(
    id_: str, peer: str, ours: str, bar: float, *works: str, is_cost: bool = False
) -> Iterator[Bar]:
    for work in works:
        peer_work, _, our_work = work.partition(" > ")
        yield Bar(
            id=id_,
            peer=peer,
            ours=ours,
            bar=bar,
            is_cost=is_cost,
            peer_work=peer_work,
            our_work=our_work or peer_work,
        )


SMALL, LARGE = PY.name, PANDAS.name
AS_FILE = (f"{NOTEBOOK.name} > {SMALL}", f"{PLOTS.name} > {LARGE}")
BARS = (
    *_bar("E1", PAPERMILL, DEMAND, 30, NOTEBOOK.name, PLOTS.name),
    *_bar("E1", PAPERMILL, WORKER, 100, *AS_FILE),
    *_bar("E1", PAPERMILL, KERNEL, 25, NOTEBOOK.name, PLOTS.name),
    *_bar("E2", GATEWAY, CALL, 1, SMALL, LARGE),
    *_bar("E2", GATEWAY, CALL_THREAD, 2, SMALL, LARGE),
    *_bar("E3", FUNCTIONS, CALL_THREAD, 0.5, SMALL, LARGE),
    *_bar("E3", FUNCTIONS, CALL, 0.2, SMALL, LARGE),
    *_bar("E4", BARE, WORKER, 3, LARGE, is_cost=True),
    *_bar("E4", BARE, DEMAND, 5, LARGE, is_cost=True),
    *_bar("E5", STOCK, "djsci kernel", 4, DELAY_WORK),
    *_bar("E5", STOCK, "djsci fork", 10, DELAY_WORK),
    *_bar("E5", STOCK, "djsci kernel", 1, FLOOD_WORK),
    *_bar("E5", STOCK, "djsci fork", 2, FLOOD_WORK),
    *_bar("E6", WORKER, f"{WORKER}, bwrap", 1.2, SMALL, LARGE, is_cost=True),
    *_bar("Z12", DEMAND, f"{DEMAND}, bwrap", 1.5, SMALL, LARGE, is_cost=True),
    *_bar(
        "Z12",
        "djsci kernel, cold, process",
        "djsci kernel, cold, bwrap",
        1.2,
        NOTEBOOK.name,
        is_cost=True,
    ),
    *_bar("C1", console.NAIVE, console.OURS, 10, console.LOG_WORK),
    *_bar("C2", console.FRAME_BAR, console.OURS, 1, console.FRAME_WORK, is_cost=True),
    *_bar("F1", fanout.BARE, fanout.OURS, 1.5, fanout.WORK, is_cost=True),
    *_bar("F1", fanout.FRAMED, fanout.OURS, 1.5, fanout.WORK, is_cost=True),
    *_bar("C3", console.TASK_BAR, console.OURS, 1, console.TASK_WORK, is_cost=True),
)


def judged(readings: Mapping[str, Mapping[int, Reading]]) -> list[dict[str, Any]]:
    """Every bar as a row; `ratio` and `met` are None where one side was not measured."""
    return [_row(bar, readings) for bar in BARS]


def _row(bar: Bar, readings: Mapping[str, Mapping[int, Reading]]) -> dict[str, Any]:
    peer = readings.get(f"{bar.peer_work} | {bar.peer}", {})
    ours = readings.get(f"{bar.our_work} | {bar.ours}", {})
    found = ratios(ours, peer) if bar.is_cost else ratios(peer, ours)
    ratio = statistics.median(found) if found else None
    is_met = None
    if ratio is not None:
        lost = max(reading.lost for reading in ours.values())
        is_met = (ratio <= bar.bar if bar.is_cost else ratio >= bar.bar) and not lost
    first = ratios(peer, ours, is_first=True) if not bar.is_cost else []
    return {
        "id": bar.id,
        "peer": bar.peer,
        "ours": bar.ours,
        "work": bar.our_work,
        "is_cost": bar.is_cost,
        "ratio": None if ratio is None else _short(ratio),
        "to_first_output": _short(statistics.median(first)) if first else None,
        "bar": bar.bar,
        "met": is_met,
    }


def _short(ratio: float) -> float:
    return round(ratio, 2) if ratio < 10 else round(ratio)
