"""numpy's and pandas' values as plain ones; neither is imported here, only used when loaded."""

import sys
from typing import Any

_NUMBERS = "biuf"  # numpy's kinds: bool, int, unsigned, float


def _isinstance(value: Any, module: str, *names: str) -> bool:
    loaded = sys.modules.get(module)
    kinds = tuple(kind for name in names if isinstance(kind := getattr(loaded, name, None), type))
    return isinstance(value, kinds)


def is_table(value: Any) -> bool:
    """Whether it is an array, a Series or a DataFrame."""
    return _isinstance(value, "numpy", "ndarray") or _is_pandas(value)


def is_integer(value: Any) -> bool:
    """Whether it is numpy's int."""
    return _isinstance(value, "numpy", "integer")


def is_missing(value: Any) -> bool:
    """Whether pandas or numpy call it missing: `NaT` or `pandas.NA`."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and (
        value is getattr(pandas, "NaT", pandas) or value is getattr(pandas, "NA", pandas)
    ):
        return True
    if _isinstance(value, "numpy", "datetime64", "timedelta64"):
        return bool(sys.modules["numpy"].isnat(value))
    return False


def scalar(value: Any) -> Any:
    """One number, text or time of theirs as Python's; other values as they are.

    ValueError: it has no equal in Python.
    """
    if is_missing(value):
        return None
    if _isinstance(value, "pandas", "Timestamp"):
        return _datetime(value)
    if not _isinstance(value, "numpy", "generic"):
        return value
    kind = value.dtype.kind
    if kind in _NUMBERS:
        return float(value) if kind == "f" else value.item()
    if kind in "mM":
        return _times(value).item()
    return value


def cells(value: Any) -> int:
    """How many values it holds."""
    return int(value.size)


def plain(value: Any) -> Any:
    """An array as nested lists, a Series as a list, a DataFrame as a list of records.

    What pandas calls missing is None. ValueError: there is no such thing, and why.
    """
    if not _is_pandas(value):
        return _array(value)
    if _isinstance(value, "pandas", "Series"):
        return _column(value)
    names = [scalar(name) for name in value.columns]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"has two columns named {twice.pop()!r}; rename one")
    columns = [_column(value.iloc[:, index]) for index in range(len(names))]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _is_pandas(value: Any) -> bool:
    return _isinstance(value, "pandas", "Series", "DataFrame")


def _array(value: Any) -> Any:
    kind = value.dtype.kind
    if kind in "mM":
        return _times(value).tolist()
    if kind not in _NUMBERS + "UTO":
        raise ValueError(f"is an array of {value.dtype}; make a list of its values first")
    if value.dtype.itemsize > 8 and kind == "f":
        value = value.astype(float)
    return value.tolist()


def _column(series: Any) -> list[Any]:
    missing = series.isna()
    values = series.tolist()
    if _isinstance(series.dtype, "numpy", "dtype") and series.dtype.kind in "biu":
        return list(values)
    return [None if gone else value for gone, value in zip(missing.tolist(), values, strict=True)]


def _times(value: Any) -> Any:
    unit = sys.modules["numpy"].datetime_data(value.dtype)[0]
    if unit in ("ns", "ps", "fs", "as"):
        return value.astype(f"{value.dtype.kind}8[us]")
    if unit == "generic":
        raise ValueError("is a time without a unit")
    return value


def _datetime(value: Any) -> Any:
    try:
        return value.to_pydatetime(warn=False)
    except (ValueError, OverflowError):
        raise ValueError("is a time outside the years 1 to 9999; return it as text") from None
