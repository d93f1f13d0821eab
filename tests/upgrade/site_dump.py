"""The table and the files of the first release, as JSON on stdout: `dump` of either side."""

import hashlib
import json
from pathlib import Path
from typing import Any

from django.db import connection

TABLE = "djsci_privatefile"


def table() -> dict[str, Any]:
    """The table's columns and rows, read without any model."""
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, TABLE)
        columns = sorted(column.name for column in described)
        cursor.execute(f"SELECT {', '.join(columns)} FROM {TABLE} ORDER BY id")  # noqa: S608
        rows = cursor.fetchall()
        tables = sorted(
            name
            for name in connection.introspection.table_names(cursor)
            if name.startswith("djsci_")
        )
    return {
        "columns": sorted(f"{column.name} null={column.null_ok}" for column in described),
        "rows": [dict(zip(columns, row, strict=True)) for row in rows],
        "tables": tables,
    }


def files() -> dict[str, str]:
    """Every file below `private_files/` but the blobs, with its digest."""
    found = sorted(path for path in Path("private_files").rglob("*") if path.is_file())
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if "blobs" not in path.parts
    }


def say(value: Any) -> None:
    print(json.dumps(value, default=str))
