"""One notebook, every door: on a laptop, in plain Jupyter, and in each engine of a server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import djsci
from djsci import runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.models import Run
from tests.conftest import MakeFile

ROOT = Path(__file__).parent.parent
SALES = b"item,price\ndesk,349\nlamp,59\n"
CELLS = (
    "days: int = 3",
    """
import djsci
from pathlib import Path

for day in djsci.progress(range(days), label="days"):
    djsci.log("a day", day=day)
djsci.progress(0.5, label="half")
djsci.artifact(b"day,value\\n", "table.csv")
""",
    """
here = Path(globals().get("__file__", "book.ipynb")).parent  # plain Jupyter sets no __file__
sales = djsci.File(here / "sales.csv")
told = {
    "days": djsci.params().get("days", days),
    "sales": [sales.name, sales.size, sales.content_type, sales.read().decode()],
    "request": djsci.request().method in ("GET", "POST"),
    "run": type(djsci.run).__name__,
    "cancelled": djsci.cancelled(),
    "each": sorted({1, 2}),
}
djsci.result(djsci.Response(told, 201, {"X-Days": str(days)}))
""",
)
RESULT = {
    "days": 3,
    "sales": ["sales.csv", len(SALES), "text/csv", SALES.decode()],
    "request": True,
    "run": "dict",
    "cancelled": False,
    "each": [1, 2],
}


def book() -> bytes:
    """The notebook; its first cell gives the parameters."""
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{place}",
            "metadata": {"tags": ["parameters"] if place == 1 else []},
            "source": text.strip(),
            "outputs": [],
            "execution_count": None,
        }
        for place, text in enumerate(CELLS, 1)
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    ).encode()


def without_settings(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DJ")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


@pytest.fixture
def laptop(tmp_path: Path) -> Path:
    (tmp_path / "book.ipynb").write_bytes(book())
    (tmp_path / "sales.csv").write_bytes(SALES)
    return tmp_path


def on(laptop: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=laptop,
        env=without_settings(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_laptop_gives_the_result_by_its_command(laptop: Path):
    assert json.loads(on(laptop, "-m", "djsci", "run", "book.ipynb")) == RESULT
    assert (laptop / "table.csv").read_text() == "day,value\n"


def test_plain_jupyter_gives_the_result_without_a_server(laptop: Path):
    main = "import sys; from nbclient.cli import main; sys.exit(main())"
    on(laptop, "-c", main, "--output", "done.ipynb", "book.ipynb")
    outputs = json.loads((laptop / "done.ipynb").read_text())["cells"][2]["outputs"]
    [printed] = ["".join(output["text"]) for output in outputs]
    assert json.loads(printed.removeprefix("result: ")) == RESULT
    assert (laptop / "table.csv").read_text() == "day,value\n"


@pytest.mark.parametrize("engine", ["fork", "kernel", "thread"])
async def test_a_server_gives_the_result_in_each_engine(
    engine: str, make_file: MakeFile, caller: Caller
):
    files: dict[str, Any] = {"entry": "book.ipynb", "companions": {"sales.csv": SALES}}
    file = await in_database(make_file, book(), engine=engine, **files)
    started = await runs.start(file.pk, caller=caller, trigger="api", parameters={})
    view = await runs.finish(started.run_id, wait=60)
    assert view is not None
    assert view.state == "succeeded", view
    run = await in_database(Run.objects.get, pk=view.id)
    assert run.engine == engine
    assert json.loads(view.result or "") == RESULT


async def test_a_run_knows_its_own_id(make_file: MakeFile, caller: Caller):
    code = "import djsci\ndef djsci_handler(request): return djsci.run"
    file = await in_database(make_file, code, engine="fork", timeout=7)
    started = await runs.start(file.pk, caller=caller, trigger="api", parameters={})
    view = await runs.finish(started.run_id, wait=60)
    assert view is not None
    assert json.loads(view.result or "") == {"id": view.id, "file": file.pk, "timeout": 7}


EVERYTHING = """
import sys
sys.path.insert(0, sys.argv[1])
import djsci
assert list(djsci.progress([1], label="x")) == [1]
djsci.progress(0.5), djsci.progress(1, 2)
djsci.log("hi", a=1), djsci.log("hi", level="error")
djsci.artifact(b"x", "a.bin"), djsci.artifact("a.bin")
file = djsci.File("a.bin")
assert (file.read(), file.open("r").read(), file.path.name) == (b"x", "x", "a.bin")
import dataclasses, datetime, decimal
@dataclasses.dataclass
class Row:
    when: datetime.date
    price: decimal.Decimal
djsci.result([Row(datetime.date(2030, 1, 2), decimal.Decimal("1.50")), {1}])
djsci.result(djsci.Response("hi", 201, {"X-A": "b"}))
assert (djsci.params(), djsci.run, djsci.cancelled()) == ({}, {}, False)
assert djsci.request().method
tops = {name.partition(".")[0] for name in sys.modules}
print(sorted(tops - set(sys.stdlib_module_names) - {"__main__"}), sorted(djsci.__all__))
"""


def test_all_of_import_djsci_needs_the_standard_library_alone(tmp_path: Path):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "djsci").symlink_to(ROOT / "djsci")
    printed = on(tmp_path, "-I", "-S", "-c", EVERYTHING, str(alone)).splitlines()
    assert printed == [
        'result: [{"when":"2030-01-02","price":"1.50"},[1]]',
        'result: "hi"',
        f"['djsci'] {sorted(djsci.__all__)}",
    ]
    used = [name for name in djsci.__all__ if f"djsci.{name}" not in EVERYTHING]
    assert used == []
