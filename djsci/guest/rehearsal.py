"""What a run does, done once before there is one: then its pages are there, its imports made.

In the server, all workers share what it loads; in a worker that waits, memory that both would write
to is copied before the run asks for it.
"""

import asyncio
import contextlib
import io
import json
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import call, frames
from .requests import HandlerRequest

ENTRY = b"def djsci_handler(request, a: int = 1):\n    return {'a': [a, 1.5, None, 'x']}\n"


def rehearse(shell: Any, folder: Path) -> None:
    """Load and call a handler, and encode what it returns; nothing is said and nothing is left."""
    entry = folder / "rehearsal.py"
    entry.write_bytes(ENTRY)
    paths = list(sys.path)
    module = call.load_module(entry)
    sys.path[:] = paths
    request = HandlerRequest.from_dict(HandlerRequest(parameters={"a": 2}).to_dict())

    def send(frame: dict[str, Any]) -> None:
        json.loads(json.dumps([part.decode("latin-1") for part in frames.message(frame)]))

    call.call(vars(module), request, send=send, await_=asyncio.run, result_limit=1000)
    if shell is not None:
        shell.events.trigger("post_execute")
    threading.enumerate()
    entry.unlink()
    del sys.modules[module.__name__]


def in_server(shell: Any, preload: Sequence[str]) -> None:
    """The same, and the first steps of the libraries that are loaded ahead."""
    with tempfile.TemporaryDirectory() as folder:
        rehearse(shell, Path(folder))
    for name, steps in (("pandas", _table), ("matplotlib.pyplot", _figure)):
        if name in preload and name in sys.modules:
            with contextlib.suppress(Exception):  # a library that cannot: the run will say so
                steps(sys.modules[name])


def _table(pandas: Any) -> None:
    table = pandas.read_csv(io.StringIO("a,b\nx,1\ny,2\nx,3\n"))
    table.groupby("a")["b"].sum().reset_index().to_dict("records")
    table._repr_html_()


def _figure(pyplot: Any) -> None:
    figure, axes = pyplot.subplots()
    axes.plot([1, 2, 3], [2, 1, 3], label="a")
    axes.set_title("A title")
    axes.legend()
    figure.savefig(io.BytesIO(), format="png")
    pyplot.close("all")
