"""Handlers are found and called, parameters converted, failures described."""

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypedDict

import pytest
from pydantic import BaseModel

from djsci.guest.call import NoHandler, call, convert, describe, find_handler, load_module
from djsci.guest.requests import HandlerRequest
from djsci.guest.results import ResultRefused
from tests.cases.parameters import CASES, PRELUDE, Case


def run(handler: Any, *, limit: int = 1000, **parameters: Any) -> list[tuple[str, str]]:
    sent: list[dict[str, Any]] = []
    request = HandlerRequest(parameters=parameters)
    call(
        {"djsci_handler": handler},
        request,
        send=sent.append,
        await_=asyncio.run,
        result_limit=limit,
    )
    return [(frame["type"], frame["value"]) for frame in sent]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parameters_become_what_their_annotations_name(case: Case) -> None:
    namespace: dict[str, Any] = {"__name__": "case"}
    exec(f"{PRELUDE}\ndef djsci_handler(request, value: {case.annotation}): ...", namespace)  # noqa: S102
    handler = namespace["djsci_handler"]
    if case.is_valid:
        assert repr(convert(handler, {"value": case.value})["value"]) == case.expected
    else:
        with pytest.raises(ValueError, match="parameter 'value'"):
            convert(handler, {"value": case.value})


@dataclass
class Point:
    x: int
    when: date


class Row(TypedDict):
    when: date


class Model(BaseModel):
    when: date


def test_structures_are_made_from_objects() -> None:
    def handler(request: Any, point: Point, row: Row, model: Model, odd: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    day = {"when": "2026-02-28"}
    made = convert(handler, {"point": {"x": 1, **day}, "row": day, "model": day, "odd": [1]})
    when = date(2026, 2, 28)
    assert made == {
        "point": Point(1, when),
        "row": {"when": when},
        "model": Model(when=when),
        "odd": [1],
    }


def test_a_handler_gets_what_it_names() -> None:
    assert run(lambda: 7, a=1) == [("result", "7")]
    assert run(lambda request: request.parameters["a"], a=1) == [("result", "1")]
    assert run(lambda request, a=2, *, b=3: [a, b], b=4, c=5) == [("result", "[2,4]")]
    assert run(lambda request, /, a, **more: more, a=1, b=2, request=3) == [
        ("result", '{"b":2,"request":3}')
    ]
    assert run(lambda *all: len(all), a=1) == [("result", "1")]
    with pytest.raises(TypeError, match="'a'"):
        run(lambda request, a: a)


def test_an_object_may_be_the_handler() -> None:
    class Handler:
        async def __call__(self, request: Any, day: date) -> str:
            return day.isoformat()

    assert run(Handler(), day="2026-02-28") == [("result", '"2026-02-28"')]


def test_chunks_share_the_limit_of_the_result() -> None:
    closed = []

    def handler(request: Any) -> Any:
        try:
            while True:
                yield "x" * 30
        finally:
            closed.append(True)

    with pytest.raises(ResultRefused) as refused:
        run(handler, limit=100)
    assert (refused.value.code, refused.value.path, closed) == ("result_too_large", "$[3]", [True])


def test_a_bad_chunk_names_its_place() -> None:
    def handler(request: Any) -> Any:
        yield 1
        yield {"a": b"x"}

    with pytest.raises(ResultRefused) as refused:
        run(handler)
    assert refused.value.path == "$[1].a"


def test_a_file_without_a_handler_says_so() -> None:
    with pytest.raises(NoHandler, match="defines no"):
        find_handler({})
    with pytest.raises(NoHandler, match="is a int"):
        find_handler({"djsci_handler": 3})


class Broken(Exception):
    def __str__(self) -> str:
        raise ValueError


def _deep(levels: int) -> None:
    if levels:
        _deeper(levels - 1)
    raise Broken


def _deeper(levels: int) -> None:
    _deep(levels)


def test_h3_a_failure_is_described_whatever_it_does() -> None:
    with pytest.raises(Broken) as caught:
        _deep(150)
    frame = describe(caught.value, entry={__file__: 3})
    assert frame["ename"] == "Broken"
    assert "cannot be made" in frame["evalue"]
    assert frame["cell"] == 3
    assert frame["line"] == _deep.__code__.co_firstlineno + 3
    assert sum(line.startswith("  File ") for line in frame["traceback"]) == 100


def test_h3_a_long_message_is_cut() -> None:
    frame = describe(ValueError("é" * 100_000), entry={})
    assert len(frame["evalue"].encode()) <= 64 << 10
    assert sum(map(len, frame["traceback"])) < 10_000


def test_the_entry_is_a_fresh_module_that_shadows_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from djsci.guest.call import load_module\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "for name in ('my report.py', 'json.py'):\n"
        "    (folder / name).write_text('import sys\\nme = sys.modules[__name__]')\n"
        "    module = load_module(folder / name)\n"
        "    assert module.me is module and module.__file__ == str(folder / name)\n"
        "    print(module.__name__)\n"
        "import json; assert json.dumps(1)\n"
        "assert sys.path[-1] == str(folder)\n"
        "import djsci; djsci.progress; assert 'django' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert (done.stdout, done.stderr) == ("my_report\njson_\n", "")


def test_what_the_entry_raises_passes_through(tmp_path: Path) -> None:
    (tmp_path / "bad_entry.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        load_module(tmp_path / "bad_entry.py", on_path=False)
    del sys.modules["bad_entry"]
