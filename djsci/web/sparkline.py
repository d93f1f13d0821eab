"""Lengths of a file's last runs: as a small picture, and in two numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from .run_words import seconds

MOST = 30
HEIGHT = 20
STEP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Paths of an SVG, oldest run first: those that succeeded, and the others."""

    good: str
    bad: str
    width: int
    p50: float
    p95: float
    title: str


def draw(ended: Sequence[tuple[float, bool]]) -> Bars | None:
    """Bars of (seconds, whether it succeeded), oldest first; None where nothing has ended."""
    ended = ended[-MOST:]
    if not ended:
        return None
    longest = max(length for length, _ in ended) or 1.0
    paths = {True: "", False: ""}
    for place, (length, is_good) in enumerate(ended):
        top = HEIGHT - max(round(HEIGHT * length / longest, 1), 1.5)
        paths[is_good] += f"M{place * STEP + 1.5:g} {HEIGHT}V{top:g}"
    lengths = sorted(length for length, _ in ended)
    p50, p95 = _at(lengths, 0.5), _at(lengths, 0.95)
    failures = sum(not is_good for _, is_good in ended)
    title = f"{len(ended)} runs: half took at most {seconds(p50)}, the longest {seconds(longest)}"
    return Bars(
        good=paths[True],
        bad=paths[False],
        width=MOST * STEP,
        p50=p50,
        p95=p95,
        title=f"{title}; {failures} did not succeed" if failures else title,
    )


def _at(ordered: Sequence[float], share: float) -> float:
    """The smallest length that at least this share of the runs kept (nearest rank)."""
    place = -(-len(ordered) * share // 1)
    return ordered[max(int(place) - 1, 0)]
