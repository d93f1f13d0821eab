"""The formats that text of a parameter may have, each checked by Python's own reading of it."""

import datetime
import decimal
import re
import uuid

from jsonschema import FormatChecker

from . import attachments

NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?")
_DURATION = re.compile(
    r"(?P<sign>[+-]?)P(?=.)(?:(?P<days>[0-9]{1,9})D)?"
    r"(?:T(?=.)(?:(?P<hours>[0-9]{1,12})H)?(?:(?P<minutes>[0-9]{1,12})M)?"
    r"(?:(?P<seconds>[0-9]{1,15}(?:\.[0-9]{1,6})?)S)?)?"
)
PHRASES = {
    "date": "a date like 2026-02-28",
    "date-time": "a date and time like 2026-02-28T13:45:00Z",
    "time": "a time like 13:45:00",
    "duration": "a duration like PT1M30S or in seconds",
    "decimal": "a number",
    "uuid": "a UUID like 12345678-1234-5678-1234-567812345678",
    "path": "a path",
    "binary": "a file: an upload, base64 or a data: URL",
}


def _is_date(value: object) -> bool:
    if not isinstance(value, str):
        return True
    datetime.date.fromisoformat(value)
    return _DATE.fullmatch(value) is not None


def _is_datetime(value: object) -> bool:
    if not isinstance(value, str):
        return True
    datetime.datetime.fromisoformat(value)
    date, time = value[:10], value[11:]
    is_split = value[10:11] in ("T", "t", " ")
    return is_split and bool(_DATE.fullmatch(date) and _TIME.fullmatch(time))


def _is_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    datetime.time.fromisoformat(value)
    return _TIME.fullmatch(value) is not None


def _is_duration(value: object) -> bool:
    if not isinstance(value, str):
        return True
    match = _DURATION.fullmatch(value)
    if match is None:
        return False
    datetime.timedelta(
        **{name: float(text) for name, text in match.groupdict().items() if text and name != "sign"}
    )
    return True


def _is_decimal(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return NUMBER.fullmatch(value) is not None and decimal.Decimal(value).is_finite()


def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or str(uuid.UUID(value)) == value.lower()


def _is_file(value: object) -> bool:
    if isinstance(value, str):
        attachments.read(value)
    return True


checker = FormatChecker(formats=())
for _name, _check in (
    ("date", _is_date),
    ("date-time", _is_datetime),
    ("time", _is_time),
    ("duration", _is_duration),
    ("decimal", _is_decimal),
    ("uuid", _is_uuid),
    ("binary", _is_file),
):
    checker.checks(_name, raises=(ValueError, OverflowError, decimal.DecimalException))(_check)
