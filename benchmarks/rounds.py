"""Ways to run the same work, measured in interleaved rounds: each way once a round.

Interleaved, because a machine that slows down for a moment then slows all of them; so a ratio is
taken within a round, and the median of the rounds' ratios is what is reported.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

QUIET = 0.06  # seconds that are looked at for quiet
BUSY = 0.1  # the share of one core over which our own processes are not quiet
QUIET_MOST = 20.0  # seconds that a way waits for quiet
WAY_MOST = 120.0  # seconds that one call of a way may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One measurement: seconds to the end, to the first output where there is one, lines lost."""

    seconds: float
    first: float | None = None
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to do a piece of work; `once` does it and says what it took."""

    name: str
    work: str
    once: Callable[[], Awaitable[Reading]]
    before: Callable[[], Awaitable[None]] | None = None
    is_quick: bool = True

    @property
    def key(self) -> str:
        return f"{self.work} | {self.name}"


@dataclass(slots=True, kw_only=True)
class Found:
    """What was measured, by the ways' keys, and what was not, with the reason."""

    readings: dict[str, dict[int, Reading]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def left_out(found: Found, what: str) -> Iterator[None]:
    """Note why this cannot be measured here, and go on: also where a server for tests is absent."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and "Skipped" not in type(error).__name__:
            raise
        found.left_out[what] = reason(error)
        say(f"{what}: left out: {reason(error)}")


async def measure(
    ways: Sequence[Way], found: Found, *, rounds: int, seconds: float | None = None
) -> None:
    """Fill `found`: one warming round, then `rounds` rounds, or what `seconds` allow of them.

    Where `seconds` do not allow one whole round more, the warming round is what was measured.
    """
    until = None if seconds is None else time.monotonic() + seconds
    is_warmed = False
    for number in range(rounds + 1):
        begun = time.monotonic()
        for way in ways:
            if until is not None and time.monotonic() > until:
                break
            if way.key not in found.left_out:
                await _measure_one(way, number, found)
        else:
            is_warmed = number > 0
        took = time.monotonic() - begun
        say(f"round {number} of {rounds}: {took:.0f} s")
        if until is not None and time.monotonic() + took > until:
            break
    _settle(found, ways, is_warmed=is_warmed)


def _settle(found: Found, ways: Sequence[Way], *, is_warmed: bool) -> None:
    """Forget the warming round, or all others where none is whole; say what was not reached."""
    for way in ways:
        rows = found.readings.pop(way.key, {})
        kept = {number: row for number, row in rows.items() if bool(number) is is_warmed}
        if kept:
            found.readings[way.key] = kept
        else:
            found.left_out.setdefault(way.key, "no time was left")


async def _measure_one(way: Way, number: int, found: Found) -> None:
    try:
        async with asyncio.timeout(WAY_MOST):
            if way.before is not None:
                await way.before()
            await quiet()
            reading = await way.once()
    except Exception as error:
        found.left_out[way.key] = reason(error)
        found.readings.pop(way.key, None)
        say(f"{way.key}: left out: {reason(error)}")
        return
    found.readings.setdefault(way.key, {})[number] = reading


def reason(error: BaseException) -> str:
    """Why something is left out, on one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1]}"[:300].rstrip(": ")


async def quiet(*, most: float = QUIET_MOST) -> None:
    """Wait until our own processes rest: pools are full, what was killed is gone."""
    until = time.monotonic() + most
    before = _spent()
    while time.monotonic() < until:
        await asyncio.sleep(QUIET)
        now = _spent()
        grown = sum(spent - before.get(pid, 0.0) for pid, spent in now.items())
        if grown < BUSY * QUIET and now.keys() == before.keys():
            return
        before = now


def _spent() -> dict[int, float]:
    """Seconds of a processor that each process below this one has used."""
    spent = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = Path(f"/proc/{process.pid}/schedstat").read_text()
            spent[process.pid] = int(text.split()[0]) / 1e9
    return spent


def ratios(
    over: Mapping[int, Reading], under: Mapping[int, Reading], *, is_first: bool = False
) -> list[float]:
    """`over` ÷ `under` in each round that has both; `is_first`: `under` to its first output."""
    found = []
    for number in sorted(over.keys() & under.keys()):
        below = under[number].first if is_first else under[number].seconds
        if below:
            found.append(over[number].seconds / below)
    return found


def summary(readings: Mapping[int, Reading]) -> dict[str, float | int]:
    """Milliseconds: median, least and most, of how many rounds."""
    seconds = [reading.seconds for reading in readings.values()]
    firsts = [reading.first for reading in readings.values() if reading.first is not None]
    said: dict[str, float | int] = {
        "median": _milliseconds(statistics.median(seconds)),
        "least": _milliseconds(min(seconds)),
        "most": _milliseconds(max(seconds)),
        "rounds": len(seconds),
    }
    if firsts:
        said["first"] = _milliseconds(statistics.median(firsts))
    lost = max(reading.lost for reading in readings.values())
    return {**said, "lost": lost} if lost else said


def _milliseconds(seconds: float) -> float:
    """With three digits that say something."""
    value = 1000 * seconds
    return round(value, 1) if value >= 10 else round(value, 2) if value >= 1 else round(value, 4)


async def aside(work: Callable[[], Reading]) -> Reading:
    """Do what blocks in a thread, so that this process's own engines go on refilling."""
    return await asyncio.to_thread(work)


def burst(work: Callable[[], object], times: int) -> Reading:
    """The mean of `times` calls that are too short to be measured alone."""
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return Reading(seconds=(time.perf_counter() - begun) / times)


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def machine() -> str:
    """What the figures were taken on, without its name."""
    return f"{os.uname().machine}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
