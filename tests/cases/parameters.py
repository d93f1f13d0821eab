"""Parameters, one case a line: annotation, JSON value, whether it fits, what the handler gets.

Both ends are tested by this table: the schema that refuses before a run exists, and the conversion
inside the worker. `PRELUDE` is the source above the handler; `expected` is a repr, and "" when the
value does not fit.
"""

from dataclasses import dataclass
from typing import Any

PRELUDE = """\
import datetime
import datetime as dt
import decimal
import enum
import typing
import typing as t
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum, auto
from pathlib import Path
from typing import Annotated, Any, List, Literal, Optional, Union
from uuid import UUID


class Colour(Enum):
    RED = "red"
    BLUE = "blue"

    @property
    def initial(self):
        return self.value[0]


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Side(enum.StrEnum):
    LEFT = auto()
    RIGHT = auto()


class Point:
    pass


Ticker = Literal["AAPL", "MSFT"]
Numbers = list[int]
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Whether `value` fits `annotation`, and the repr of what the handler then gets."""

    annotation: str
    value: Any
    is_valid: bool
    expected: str = ""

    def __str__(self) -> str:
        return (
            f"{self.annotation} takes {self.value!r}"[:70]
            if self.is_valid
            else (f"{self.annotation} refuses {self.value!r}"[:70])
        )


_UUID = "12345678-1234-5678-1234-567812345678"
_TAKEN: tuple[tuple[str, Any, str], ...] = (
    ("str", "Ünïcode '''\nimport os", repr("Ünïcode '''\nimport os")),
    ("str", "", "''"),
    ("int", 3, "3"),
    ("int", -(2**70), "-1180591620717411303424"),
    ("int", 3.0, "3"),
    ("float", 1.5, "1.5"),
    ("float", 1, "1.0"),
    ("bool", True, "True"),
    ("None", None, "None"),
    ("date", "2026-02-28", "datetime.date(2026, 2, 28)"),
    ("datetime.date", "2026-02-28", "datetime.date(2026, 2, 28)"),
    ("dt.datetime", "2026-01-02T03:04:05", "datetime.datetime(2026, 1, 2, 3, 4, 5)"),
    ("dt.datetime", "2026-01-02T03:04", "datetime.datetime(2026, 1, 2, 3, 4)"),
    (
        "datetime.datetime",
        "2026-01-02T03:04:05.678Z",
        "datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.timezone.utc)",
    ),
    (
        "datetime.datetime",
        "2026-01-02T03:04:05+01:00",
        "datetime.datetime(2026, 1, 2, 3, 4, 5,"
        " tzinfo=datetime.timezone(datetime.timedelta(seconds=3600)))",
    ),
    ("time", "03:04", "datetime.time(3, 4)"),
    ("time", "03:04:05.678", "datetime.time(3, 4, 5, 678000)"),
    ("timedelta", 90, "datetime.timedelta(seconds=90)"),
    ("timedelta", 0.5, "datetime.timedelta(microseconds=500000)"),
    ("timedelta", "PT1M30S", "datetime.timedelta(seconds=90)"),
    (
        "timedelta",
        "P1DT02H00M00.5S",
        "datetime.timedelta(days=1, seconds=7200, microseconds=500000)",
    ),
    ("timedelta", "-P1D", "datetime.timedelta(days=-1)"),
    ("Decimal", "1.50", "Decimal('1.50')"),
    ("Decimal", 1.5, "Decimal('1.5')"),
    ("decimal.Decimal", 3, "Decimal('3')"),
    ("UUID", _UUID, f"UUID('{_UUID}')"),
    ("Path", "a/b.csv", "PosixPath('a/b.csv')"),
    ("Literal['a', 1, None]", "a", "'a'"),
    ("Literal['a', 1, None]", 1, "1"),
    ("Literal['a', 1, None]", None, "None"),
    ("Literal[Colour.RED]", "red", "<Colour.RED: 'red'>"),
    ("Ticker", "MSFT", "'MSFT'"),
    ("Colour", "blue", "<Colour.BLUE: 'blue'>"),
    ("Level", 2, "<Level.HIGH: 2>"),
    ("Side", "left", "<Side.LEFT: 'left'>"),
    ("Optional[int]", None, "None"),
    ("Optional[int]", 4, "4"),
    ("date | None", None, "None"),
    ("date | None", "2026-02-28", "datetime.date(2026, 2, 28)"),
    ("Union[int, str]", "4", "'4'"),
    ("int | str", 4, "4"),
    ("date | str", "soon", "'soon'"),
    ("t.Optional[t.List[int]]", [1, 2], "[1, 2]"),
    ("list", [1, "a", None], "[1, 'a', None]"),
    ("list[date]", ["2026-02-28"], "[datetime.date(2026, 2, 28)]"),
    ("List[float]", [1, 2.5], "[1.0, 2.5]"),
    ("Numbers", [1], "[1]"),
    ("Sequence[int]", [1], "[1]"),
    ("tuple[int, str]", [1, "a"], "(1, 'a')"),
    ("tuple[int, ...]", [1, 2, 3], "(1, 2, 3)"),
    ("set[str]", ["a", "a"], "{'a'}"),
    ("frozenset[int]", [1], "frozenset({1})"),
    ("dict", {"a": [1]}, "{'a': [1]}"),
    ("dict[str, date]", {"a": "2026-02-28"}, "{'a': datetime.date(2026, 2, 28)}"),
    ("dict[int, str]", {"-1": "a"}, "{-1: 'a'}"),
    ("Mapping[str, int]", {"a": 1}, "{'a': 1}"),
    ("Any", {"a": [1, None]}, "{'a': [1, None]}"),
    ("object", [1], "[1]"),
    ("bytes", "x", "'x'"),
    ("Point", {"x": 1}, "{'x': 1}"),
    ("Annotated[int, 'how many']", 3, "3"),
    ("'int'", 3, "3"),
    ("'list[date]'", ["2026-02-28"], "[datetime.date(2026, 2, 28)]"),
)
_REFUSED: tuple[tuple[str, Any], ...] = (
    ("str", 3),
    ("str", None),
    ("int", "3"),
    ("int", True),
    ("int", 3.5),
    ("int", None),
    ("float", "1.5"),
    ("float", False),
    ("bool", 1),
    ("bool", "true"),
    ("None", 0),
    ("date", "2026-02-30"),
    ("date", "20260228"),
    ("date", "2026-02-28T00:00:00"),
    ("date", 20260228),
    ("dt.datetime", "2026-02-28"),
    ("dt.datetime", "2026-01-02T25:00:00"),
    ("time", "25:00"),
    ("time", "3 o'clock"),
    ("timedelta", "90"),
    ("timedelta", "P1Y"),
    ("timedelta", "P"),
    ("timedelta", "P9999999999D"),
    ("timedelta", 1e300),
    ("timedelta", True),
    ("Decimal", "1,5"),
    ("Decimal", "NaN"),
    ("Decimal", True),
    ("UUID", "1234"),
    ("UUID", "12345678123456781234567812345678-"),
    ("Path", 3),
    ("Literal['a', 1, None]", "b"),
    ("Literal['a', 1, None]", True),
    ("Ticker", "aapl"),
    ("Colour", "RED"),
    ("Level", 3),
    ("Level", True),
    ("Side", "LEFT"),
    ("Optional[int]", "4"),
    ("date | None", "soon"),
    ("int | str", 1.5),
    ("list[int]", "1"),
    ("list[int]", [1, "a"]),
    ("list[int]", {"a": 1}),
    ("tuple[int, str]", [1]),
    ("tuple[int, str]", [1, "a", 2]),
    ("tuple[int, ...]", ["a"]),
    ("set[str]", "a"),
    ("dict", [1]),
    ("dict[str, date]", {"a": "soon"}),
    ("dict[int, str]", {"a": "a"}),
    ("Annotated[int, 'how many']", "3"),
    ("'int'", "3"),
)

CASES: tuple[Case, ...] = (
    *(Case(annotation, value, True, expected) for annotation, value, expected in _TAKEN),
    *(Case(annotation, value, False) for annotation, value in _REFUSED),
)
