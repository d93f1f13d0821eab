"""What was found as JSON, as a page, and as the README's table."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def page(found: Mapping[str, Any]) -> str:
    """All of it: the bars, every way, the memory, what was left out."""
    parts = [
        f"# Measured: {found['mode']}",
        _about(found),
        "## The bars",
        bars(found["bars"]),
        losses(found["bars"]),
        "Ratios are the medians of the rounds' own ratios. `first` compares with the time to "
        "djsci's first output.",
        *_works(found["ways"]),
        "## Memory of what waits for a run",
        _table(("what", "MiB"), [[name, str(size)] for name, size in found["memory"].items()]),
    ]
    if found["left_out"]:
        rows = [[name, why] for name, why in found["left_out"].items()]
        parts += ["## Left out", _table(("way", "why"), rows)]
    return "\n\n".join(parts) + "\n"


def readme(found: Mapping[str, Any]) -> str:
    """The README's block, with its marks."""
    return "\n\n".join([BEGIN, _about(found), bars(found["bars"]), losses(found["bars"]), END])


def replaced(text: str, found: Mapping[str, Any]) -> str:
    """A README with its block renewed. Raises `ValueError` where it has no marks."""
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"README.md has no block between {BEGIN} and {END}")
    return before + readme(found) + after


def _about(found: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{found['rounds']} interleaved rounds on {found['machine']}; Python {found['python']}, "
        f"{versions}."
    )


def bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """What was compared, the ratio, the bar, and whether it is met."""
    shown = [
        [
            row["id"],
            row["peer"],
            row["ours"],
            row["work"],
            _ratio(row["ratio"]),
            _ratio(row["to_first_output"]) if row["to_first_output"] else "",
            ("≤ " if row["is_cost"] else "≥ ") + _ratio(row["bar"]),
            {True: "yes", False: "**no**", None: "not measured"}[row["met"]],
        ]
        for row in rows
    ]
    head = ("id", "peer", "djsci", "work", "ratio", "first", "bar", "met")
    return _table(head, shown, numbers=(4, 5, 6))


def losses(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where djsci is slower than its peer, in words; the table marks the bars that it misses."""
    slower = [row for row in rows if not row["is_cost"] and row["ratio"] and row["ratio"] < 1]
    met, absent = (sum(row["met"] is what for row in rows) for what in (True, None))
    said = [f"{met} of {len(rows)} bars are met, {absent} were not measured."]
    said += [
        f"Slower than its peer: {row['ours']} takes {_times(1 / row['ratio'])} as long as "
        f"{row['peer']} ({row['work']})."
        for row in slower
    ]
    return "\n".join(f"- {line}" for line in said)


def _works(ways: Mapping[str, Mapping[str, Any]]) -> list[str]:
    parts = []
    by_work = sorted(ways, key=lambda key: (key.partition(" | ")[0], ways[key]["median"]))
    for work, keys in itertools.groupby(by_work, key=lambda key: key.partition(" | ")[0]):
        rows = [
            [
                key.partition(" | ")[2],
                *(str(ways[key].get(name, "")) for name in ("median", "least", "most", "first")),
                str(ways[key]["rounds"]) + (f", {lost} lost" if (lost := _lost(ways[key])) else ""),
            ]
            for key in keys
        ]
        head = ("way", "median ms", "least", "most", "first output", "rounds")
        parts += [
            f"## {work[0].upper()}{work[1:]}",
            _table(head, rows, numbers=(1, 2, 3, 4, 5)),
        ]
    return parts


def _lost(way: Mapping[str, Any]) -> int:
    return int(way.get("lost", 0))


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:g}x"


def _times(value: float) -> str:
    return f"{value:.1f}x" if value < 10 else f"{value:.0f}x"


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()
) -> str:
    rule = ["---:" if place in numbers else "---" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
