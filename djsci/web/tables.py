"""A result that is a table, as a DataFrame's is: CSV for who asks for it."""

import csv
import io
import json
from typing import Any

from django.http import HttpRequest, HttpResponse

CSV = "text/csv"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would calculate such a cell


class _Number(str):
    """A number as it was written: no digit is lost."""


def wants_csv(request: HttpRequest) -> bool:
    """Whether `Accept` prefers CSV to JSON."""
    return request.get_preferred_type(["application/json", CSV]) == CSV


def answer(text: str) -> HttpResponse | None:
    """The result whose JSON is `text`, as CSV; None when it is no list of flat records."""
    records = _records(text)
    if records is None:
        return None
    names = list(dict.fromkeys(name for record in records for name in record))
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(map(_cell, names))
    writer.writerows([_cell(record.get(name)) for name in names] for record in records)
    kind = f"{CSV}; charset=utf-8; header=present"
    return HttpResponse(written.getvalue(), content_type=kind)


def _records(text: str) -> list[dict[str, Any]] | None:
    if not text.startswith("[{"):
        return None
    records = json.loads(text, parse_float=_Number, parse_int=_Number)
    is_flat = all(
        isinstance(record, dict)
        and not any(isinstance(value, dict | list) for value in record.values())
        for record in records
    )
    return records if is_flat else None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    is_formula = not isinstance(value, _Number) and value.startswith(_FORMULA)
    return f"'{value}" if is_formula else str(value)
