"""The work: four sources, the same code for every way that runs them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from djsci.core import sources

TRIVIAL = """
def djsci_handler(request):
    print("hello")
    return {"hello": "world"}
"""

TABLE = """
import io

import pandas

CSV = "month,region,units,price\\n" + "".join(
    f"2025-{1 + n % 12:02},region {n % 7},{n % 90},{9.5 + n % 13}\\n" for n in range(2000)
)


def djsci_handler(request):
    sales = pandas.read_csv(io.StringIO(CSV))
    sales["revenue"] = sales["units"] * sales["price"]
    found = sales.groupby(["month", "region"], as_index=False)["revenue"].sum()
    print(len(found), "groups")
    return found.to_dict("records")
"""

PLOT = """
import matplotlib.pyplot


def djsci_handler(request):
    sales = pandas.read_csv(io.StringIO(CSV))
    sales["revenue"] = sales["units"] * sales["price"]
    found = sales.groupby(["month", "region"])["revenue"].sum().unstack()
    found.sum(axis=1).plot(title="revenue")
    matplotlib.pyplot.show()
    return found.reset_index().to_dict("records")
"""

CALL = "djsci_handler(None)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One source; `called` is it with a last cell that calls the handler, for who knows none."""

    name: str
    entry: str
    content: bytes
    called: bytes = b""

    def source(self) -> sources.Source:
        """As djsci reads it."""
        return sources.read(self.entry, {self.entry: self.content})

    def write(self, folder: Path) -> Path:
        """Write what a peer runs; its path."""
        path = folder / self.entry
        path.write_bytes(self.called or self.content)
        return path


def notebook(*cells: str) -> bytes:
    """A notebook of these cells."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    value: dict[str, Any] = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{place}",
                "execution_count": None,
                "metadata": {},
                "outputs": [],
                "source": text.strip(),
            }
            for place, text in enumerate(cells)
        ],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(value).encode()


PY = Work(name="trivial .py", entry="trivial.py", content=TRIVIAL.encode())
PANDAS = Work(name="pandas .py", entry="table.py", content=TABLE.encode())
NOTEBOOK = Work(
    name="trivial notebook",
    entry="trivial.ipynb",
    content=notebook(TRIVIAL),
    called=notebook(TRIVIAL, CALL),
)
PLOTS = Work(
    name="pandas + plot notebook",
    entry="plot.ipynb",
    content=notebook(TABLE, PLOT),
    called=notebook(TABLE, PLOT, CALL),
)
