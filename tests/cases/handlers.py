"""Files and what every engine says when it runs them: one list for all engines."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

Said = tuple[Any, ...]
OK: Said = ("end", "succeeded", "")


@dataclass(frozen=True, slots=True)
class Case:
    """A `.py` (a text) or a notebook (a list of cells), and its events, shortened by `said`."""

    name: str
    code: str | list[str]
    expected: list[Said]
    parameters: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _lines(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


_MODELS = """
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, TypedDict
from pydantic import BaseModel, Field
class Row(TypedDict):
    when: date
@dataclass
class Point:
    x: float
    row: Row
class Pair(NamedTuple):
    low: int
    high: int = 9
class Order(BaseModel):
    due: date = Field(alias="dueDay")
    counts: list[int] = Field(min_length=1)
def djsci_handler(request, point: Point, pair: Pair, order: Order):
    return [repr(point), repr(pair), repr(order)]
"""
_MODEL_VALUES = {
    "point": {"x": 1, "row": {"when": "2026-02-28"}},
    "pair": {"low": 1},
    "order": {"dueDay": "2026-02-28", "counts": [1]},
}
_MODEL_RESULT = (
    '["Point(x=1.0, row={\'when\': datetime.date(2026, 2, 28)})","Pair(low=1, high=9)",'
    '"Order(due=datetime.date(2026, 2, 28), counts=[1])"]'
)

CASES: tuple[Case, ...] = (
    Case(
        "classes of the file are made from objects",
        _MODELS.lstrip(),
        [("result", _MODEL_RESULT, None), OK],
        _MODEL_VALUES,
    ),
    Case(
        "a plain handler prints and returns",
        _lines("""
        def djsci_handler(request):
            print("hi")
            return {"a": [1, 2.5, None, True, "é"]}
        """),
        [("stdout", "hi\n"), ("result", '{"a":[1,2.5,null,true,"é"]}', None), OK],
    ),
    Case(
        "an async handler",
        _lines("""
        import asyncio
        async def djsci_handler(request):
            await asyncio.sleep(0)
            print("hi")
            return request.method
        """),
        [("stdout", "hi\n"), ("result", '"POST"', None), OK],
    ),
    Case(
        "a sync handler that runs a loop of its own",
        _lines("""
        import asyncio
        async def add():
            await asyncio.sleep(0)
            return 3
        def djsci_handler(request):
            return asyncio.run(add())
        """),
        [("result", "3", None), OK],
    ),
    Case(
        "a generator streams between its prints",
        _lines("""
        def djsci_handler(request):
            print("a")
            yield 1
            print("b")
            yield {"x": 2}
            return 9
        """),
        [
            ("stdout", "a\n"),
            ("chunk", "1"),
            ("stdout", "b\n"),
            ("chunk", '{"x":2}'),
            ("result", '[1,{"x":2}]', None),
            OK,
        ],
    ),
    Case(
        "an async generator streams",
        _lines("""
        async def djsci_handler(request):
            for number in range(2):
                yield number
        """),
        [("chunk", "0"), ("chunk", "1"), ("result", "[0,1]", None), OK],
    ),
    Case(
        "a generator that fails keeps its chunks",
        _lines("""
        def djsci_handler(request):
            yield 1
            raise KeyError("two")
        """),
        [("chunk", "1"), ("error", "KeyError", "'two'", 3), ("end", "failed", "KeyError: 'two'")],
    ),
    Case(
        "typed parameters are converted",
        _lines("""
        from datetime import date
        def djsci_handler(request, when: date, days: int = 30, *, what: str = "x"):
            return [when, type(when).__name__, days, what, request.json()["days"]]
        """),
        [("result", '["2026-02-28","date",3,"x",3]', None), OK],
        parameters={"when": "2026-02-28", "days": 3},
    ),
    Case(
        "what is known of a run",
        _lines("""
        import djsci
        def djsci_handler(request):
            return [djsci.run, djsci.cancelled()]
        """),
        [("result", '[{"timeout":30},false]', None), OK],
    ),
    Case(
        "a Response chooses the HTTP answer",
        _lines("""
        import djsci
        def djsci_handler(request):
            return djsci.Response("<b>hi</b>", 201, {"Content-Type": "text/html"})
        """),
        [
            (
                "result",
                '"<b>hi</b>"',
                {"status": 201, "headers": {"Content-Type": "text/html"}, "encoding": "text"},
            ),
            OK,
        ],
    ),
    Case(
        "a tuple is an HTTP answer and a list",
        "def djsci_handler(request): return {'a': 1}, 404\n",
        [("result", '[{"a":1},404]', {"status": 404, "headers": {}, "encoding": "item"}), OK],
    ),
    Case(
        "companions import by name and lie beside the entry",
        _lines("""
        from pathlib import Path
        import helpers
        def djsci_handler(request):
            data = Path(__file__).with_name("data.csv")
            return [helpers.twice(helpers.Point(2).x), data.read_text()]
        """),
        [("result", '[4,"a,b"]', None), OK],
        files={
            "data.csv": b"a,b",
            "helpers.py": b"from __future__ import annotations\nimport dataclasses\n"
            b"@dataclasses.dataclass\nclass Point:\n    x: int\n"
            b"def twice(x):\n    return 2 * x\n",
        },
    ),
    Case(
        "a companion shadows nothing",
        "import json\ndef djsci_handler(request): return json.dumps([1])\n",
        [("result", '"[1]"', None), OK],
        files={"json.py": b"1/0\n"},
    ),
    Case(
        "order holds over prints, progress, log and errors",
        _lines("""
        import sys, threading
        import djsci
        def djsci_handler(request):
            print("one", end="")
            djsci.progress(0.5, label="half")
            print("two", file=sys.stderr)
            djsci.log("three", level="warning", n=1)
            thread = threading.Thread(target=print, args=("four",))
            thread.start()
            thread.join()
            djsci.progress(2, 4)
            print("five")
        """),
        [
            ("stdout", "one"),
            ("progress", 0.5, None, None, "half"),
            ("stderr", "two\n"),
            ("log", "warning", "three", {"n": 1}),
            ("stdout", "four\n"),
            ("progress", None, 2, 4, None),
            ("stdout", "five\n"),
            ("result", "null", None),
            OK,
        ],
    ),
    Case(
        "a handler that raises",
        "def djsci_handler(request):\n    print('x')\n    1 / 0\n",
        [
            ("stdout", "x\n"),
            ("error", "ZeroDivisionError", "division by zero", 3),
            ("end", "failed", "ZeroDivisionError: division by zero"),
        ],
    ),
    Case(
        "a result that is not JSON names the place",
        "def djsci_handler(request): return {'rows': [{}, {'price': float('nan')}]}\n",
        [
            (
                "error",
                "ResultNotJson",
                "The result is not JSON: $.rows[1].price is NaN, which JSON does not have;"
                " return None instead.",
                None,
            ),
            ("end", "failed", "result_not_json"),
        ],
    ),
    Case(
        "a result over the limit",
        "def djsci_handler(request): return 'x' * 2_000_000\n",
        [
            (
                "error",
                "ResultTooLarge",
                "The result is larger than 1048576 bytes of JSON; return less, or write a file.",
                None,
            ),
            ("end", "failed", "result_too_large"),
        ],
    ),
    Case(
        "sys.exit is a failure",
        "import sys\ndef djsci_handler(request):\n    sys.exit(3)\n",
        [("error", "SystemExit", "3", 3), ("end", "failed", "exited 3")],
    ),
    Case(
        "exit with nothing is a failure too",
        "def djsci_handler(request):\n    exit()\n",
        [("error", "SystemExit", "", 2), ("end", "failed", "exited 0")],
    ),
    Case(
        "a notebook runs its cells, then its handler",
        [
            "x = 1",
            "import asyncio\nawait asyncio.sleep(0)\nprint(x)\nx + 1",
            "async def djsci_handler(request):\n    await asyncio.sleep(0)\n    return x",
        ],
        [
            ("cell", 1, "start"),
            ("cell", 1, "done"),
            ("cell", 2, "start"),
            ("stdout", "1\n"),
            ("execute_result", "2"),
            ("cell", 2, "done"),
            ("cell", 3, "start"),
            ("cell", 3, "done"),
            ("result", "1", None),
            OK,
        ],
    ),
    Case(
        "a notebook stops at the cell that fails",
        ["x = 1", "print('before')\nx / 0", "print('never')"],
        [
            ("cell", 1, "start"),
            ("cell", 1, "done"),
            ("cell", 2, "start"),
            ("stdout", "before\n"),
            ("error", "ZeroDivisionError", "division by zero", 2),
            ("cell", 2, "error"),
            ("end", "failed", "ZeroDivisionError: division by zero"),
        ],
    ),
    Case(
        "a notebook without a handler gives what djsci.result was given",
        ["import djsci\ndjsci.result({'a': 1})", "[1, 2];"],
        [
            ("cell", 1, "start"),
            ("cell", 1, "done"),
            ("cell", 2, "start"),
            ("cell", 2, "done"),
            ("result", '{"a":1}', None),
            OK,
        ],
    ),
    Case(
        "a notebook without a handler gives its last value",
        ["x = 1", "{'x': x}"],
        [
            ("cell", 1, "start"),
            ("cell", 1, "done"),
            ("cell", 2, "start"),
            ("execute_result", "{'x': 1}"),
            ("cell", 2, "done"),
            ("result", '{"x":1}', None),
            OK,
        ],
    ),
)
