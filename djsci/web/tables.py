"""A result that is a table, as a DataFrame's is: CSV or Arrow for who asks for it."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.http import HttpRequest, HttpResponse

from djsci.access.database import in_files

CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
MOST_EMPTY = 1_000_000  # cells: records that share no names would make a table of any size
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would calculate such a cell
_Columns = Mapping[str, Sequence[Any]]


class _Number(str):
    """A number as it was written: no digit is lost."""


async def answer(request: HttpRequest, text: str) -> HttpResponse | None:
    """The result whose JSON is `text`, as `Accept` prefers it to JSON; None where that is JSON.

    None too when it is no list of flat records, or has a column that Arrow knows no type for.
    """
    if not text.startswith("[{"):
        return None
    forms = ["application/json", CSV, *([ARROW] if _has_arrow() else [])]
    form = request.get_preferred_type(forms) or ""
    if form not in _WRITERS:
        return None
    body = await in_files(_WRITERS[form], text)
    kind = f"{CSV}; charset=utf-8; header=present" if form == CSV else form
    return None if body is None else HttpResponse(body, content_type=kind)


@cache
def _has_arrow() -> bool:
    return find_spec("pyarrow") is not None


def _as_csv(text: str) -> bytes | None:
    columns = _columns(json.loads(text, parse_float=_Number, parse_int=_Number))
    if columns is None:
        return None
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(map(_cell, columns))
    writer.writerows(map(_cell, row) for row in zip(*columns.values(), strict=True))
    return written.getvalue().encode("utf-8", "replace")


def _as_arrow(text: str) -> bytes | None:
    columns = _columns(json.loads(text))
    if columns is None:
        return None
    arrow = import_module("pyarrow")  # only now: it takes its time and its memory
    try:
        table = arrow.table(dict(columns))
    except (ValueError, TypeError, OverflowError):
        return None
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


_WRITERS: dict[str, Callable[[str], bytes | None]] = {CSV: _as_csv, ARROW: _as_arrow}


def _columns(records: list[Any]) -> _Columns | None:
    """The values by column; None for what is no table."""
    is_flat = all(
        isinstance(record, dict)
        and not any(isinstance(value, dict | list) for value in record.values())
        for record in records
    )
    if not is_flat:
        return None
    names = dict.fromkeys(name for record in records for name in record)
    empty = len(names) * len(records) - sum(map(len, records))
    if not names or empty > MOST_EMPTY:
        return None
    return {name: [record.get(name) for record in records] for name in names}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    is_formula = value.startswith(_FORMULA) and not isinstance(value, _Number)
    return f"'{value}" if is_formula else str(value)
