"""Which adapter reads a file, what parameters it finds, and that each is called as it expects."""

import ast
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from djsci.core import adapters, events, sources
from djsci.core.errors import NoHandler
from djsci.core.requests import build, from_parameters
from djsci.engines.base import Engine, Limits, Stop
from djsci.engines.fork import ForkEngine
from djsci.engines.thread import ThreadEngine
from djsci.guest.shims import argparse_script
from tests.conftest import notebook

MAIN = '''
from datetime import date
def main(ticker: str, when: date, days: int = 30):
    """Quote a ticker."""
    return [ticker, type(when).__name__, days]
'''
LAMBDA = """
def lambda_handler(event, context):
    days = event.get("days", 3)
    return {"name": event["name"], "days": days, "fn": context.function_name}
"""
GATEWAY = """
import json
def lambda_handler(event, context):
    name = event["queryStringParameters"]["name"]
    return {"statusCode": 201, "headers": {"X-Name": name}, "body": json.dumps({"hi": name})}
"""
SCRIPT = '''
"""Reports."""
import argparse, sys, djsci

def main():
    parser = argparse.ArgumentParser(description="Make a report.")
    parser.add_argument("name", help="whose")
    parser.add_argument("files", nargs="*")
    parser.add_argument("-n", "--top-rows", type=int, default=5, help="100%% of them")
    group = parser.add_argument_group("more")
    group.add_argument("--rate", type=float, required=True)
    group.add_argument("--kind", choices=["a", "b"], dest="sort")
    group.add_argument("-v", action="count", default=0)
    group.add_argument("--dry", action="store_true")
    group.add_argument("--tag", action="append")
    group.add_argument("--sizes", type=int, nargs=2)
    group.add_argument("--color", action=argparse.BooleanOptionalAction)
    parser.add_argument("--version", action="version", version="1")
    given = parser.parse_args()
    if given.rate < 0:
        parser.error("rate is negative")
    print("argv", len(sys.argv))
    djsci.result(vars(given))
    if given.name == "stop":
        sys.exit(3)

if __name__ == "__main__":
    main()
'''


def read(code: str, adapter: str = "auto") -> sources.Source:
    return sources.read("report.py", {"report.py": code.encode()}, adapter=adapter)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("def djsci_handler(request): pass\ndef main(): pass", "handler"),
        (MAIN, "main"),
        (LAMBDA, "lambda"),
        (SCRIPT, "argparse"),
        ("async def main(): pass", "main"),
        (f"{MAIN}\nif __name__ == '__main__':\n    main()", "main"),
        (f"{MAIN}\n{LAMBDA}", "lambda"),
    ],
)
def test_the_syntax_tree_decides_which_adapter_reads_a_file(code: str, name: str):
    source = read(code)
    assert source.adapter == name
    assert source.has_handler


@pytest.mark.parametrize(
    ("code", "adapter"),
    [
        ("x = 1", "auto"),
        ("def helper():\n    def main(): pass", "auto"),
        ("def lambda_handler(event): pass", "auto"),
        ("import argparse\nargparse.ArgumentParser()", "auto"),
        (MAIN, "lambda"),
        (MAIN, "handler"),
        (MAIN, "notebook"),
        (MAIN, "no_such_adapter"),
    ],
)
def test_what_no_adapter_reads_has_no_handler(code: str, adapter: str):
    with pytest.raises(NoHandler):
        read(code, adapter)


def test_a_notebook_runs_whole_unless_an_adapter_is_set():
    book = {"book.ipynb": notebook(MAIN, "1 + 1")}
    assert sources.read("book.ipynb", book).adapter == "notebook"
    chosen = sources.read("book.ipynb", book, adapter="main")
    assert (chosen.adapter, chosen.has_handler) == ("main", True)
    assert list(chosen.parameters["properties"]) == ["ticker", "when", "days"]
    with pytest.raises(NoHandler):
        sources.read("book.ipynb", {"book.ipynb": notebook(SCRIPT)}, adapter="argparse")
    both = {"book.ipynb": notebook("def djsci_handler(request): pass", "1 + 1")}
    assert not sources.read("book.ipynb", both, adapter="notebook").has_handler


def test_parameters_are_those_of_the_format():
    main = read(MAIN).parameters
    assert main["properties"]["when"] == {"type": "string", "format": "date"}
    assert main["required"] == ["ticker", "when"]
    assert main["additionalProperties"] is False
    assert main["title"] == "Quote a ticker."
    assert read("def main(): pass").parameters["additionalProperties"] is False
    assert read("def main(**more): pass").parameters["additionalProperties"] is True
    event = read(LAMBDA).parameters
    assert list(event["properties"]) == ["days", "name"]
    assert event["additionalProperties"] is True
    assert read(GATEWAY).parameters["properties"] == {}


@pytest.mark.parametrize(
    ("code", "takes"),
    [
        ("def djsci_handler(request): pass", False),
        ("def djsci_handler(): pass", False),
        ("def djsci_handler(request, n=1): pass", True),
        ("def djsci_handler(request, *, n): pass", True),
        ("def djsci_handler(request, **rest): pass", True),
        ("from helpers import djsci_handler", True),
        (MAIN, True),
        ("def main(): pass", False),
        (LAMBDA, True),
        ("def lambda_handler(event, context): pass", True),
        (GATEWAY, False),
        (SCRIPT, True),
        ("import functions_framework\n@functions_framework.http\ndef f(request): pass", False),
    ],
)
def test_who_takes_parameters_and_who_the_request_only(code: str, takes: bool):
    assert read(code).takes_parameters is takes


def test_a_notebook_takes_parameters_by_its_handler_or_its_cell():
    for texts, takes in (
        (["1"], False),
        (["def djsci_handler(request): pass"], False),
        (["def djsci_handler(request, n): pass"], True),
    ):
        book = sources.read("a.ipynb", {"a.ipynb": notebook(*texts)})
        assert book.takes_parameters is takes


def test_arguments_are_read_without_running_the_script():
    schema = read(SCRIPT).parameters
    assert schema["title"] == "Make a report."
    assert schema["required"] == ["name", "rate"]
    assert schema["additionalProperties"] is False
    assert schema["properties"] == {
        "name": {"type": "string", "description": "whose"},
        "files": {"type": "array", "items": {"type": "string"}},
        "top_rows": {"type": "integer", "default": 5, "description": "100% of them"},
        "rate": {"type": "number"},
        "sort": {"type": "string", "enum": ["a", "b"]},
        "v": {"type": "integer", "minimum": 0, "default": 0},
        "dry": {"type": "boolean", "default": False},
        "tag": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "color": {"type": "boolean"},
    }


@pytest.mark.parametrize(
    "line",
    [
        "p.add_subparsers()",
        "for name in NAMES: p.add_argument(name)",
        "p.add_argument(NAME)",
        "p.add_argument('--x', **MORE)",
        "p.add_argument('--x', action=Own)",
        "p.add_argument('rest', nargs=argparse.REMAINDER)",
        "p.add_argument('--x'); p.add_argument('--x')",
        "q = argparse.ArgumentParser()",
    ],
)
def test_arguments_that_cannot_be_read_are_one_list(line: str):
    code = f"import argparse\nif __name__ == '__main__':\n  p = argparse.ArgumentParser()\n  {line}"
    schema = read(code).parameters
    assert list(schema["properties"]) == ["argv"]
    assert schema["properties"]["argv"]["items"] == {"type": "string"}


@pytest.mark.parametrize(
    ("how", "flag", "value", "line"),
    [
        ("store", "--name", "-x y", ["--name=-x y"]),
        ("store", "--days", 3, ["--days=3"]),
        ("store_false", "--no", True, []),
        ("store_false", "--no", False, ["--no"]),
        ("optional", "--color", False, ["--no-color"]),
        ("count", "-v", 2, ["-v", "-v"]),
        ("append", "--tag", ["a", "b"], ["--tag=a", "--tag=b"]),
        ("list", "--xs", [1, 2.5], ["--xs", "1", "2.5"]),
        ("append_list", "--at", [[1, 2], [3, 4]], ["--at", "1", "2", "--at", "3", "4"]),
        ("store", "", "-x", ["--", "-x"]),
        ("store", "--none", None, []),
        ("raw", "", ["sub", "--x"], ["sub", "--x"]),
    ],
)
def test_a_value_comes_onto_the_command_line(how: str, flag: str, value: Any, line: list[str]):
    spec = [{"name": "one", "flag": flag, "how": how}]
    assert argparse_script.argv(spec, {"one": value}) == line


@pytest.fixture(params=["fork", "thread"])
async def engine(request: pytest.FixtureRequest) -> Any:
    made: Engine = ForkEngine(size=0) if request.param == "fork" else ThreadEngine(2)
    await made.open()
    yield made
    await made.close()


async def play(engine: Engine, source: sources.Source, request: Any) -> list[events.Event]:
    limits = Limits(timeout=20, grace=0.5)
    running = engine.execute(source, request, limits=limits, stop=Stop())
    async with aclosing(running) as said:
        return [event async for event in said]


def result(said: Sequence[events.Event]) -> tuple[Any, Any]:
    found = [event for event in said if isinstance(event, events.Result)]
    assert found, said
    assert found[0].value is not None
    return ast.literal_eval(found[0].value.text), found[0].http


async def test_functions_are_called_as_they_expect(engine: Engine):
    given = from_parameters({"ticker": "A", "when": "2026-01-02"})
    assert result(await play(engine, read(MAIN), given))[0] == ["A", "date", 30]
    said = await play(engine, read(LAMBDA), from_parameters({"name": "ada"}))
    assert result(said)[0] == {"name": "ada", "days": 3, "fn": "report"}
    value, http = result(await play(engine, read(GATEWAY), build(query="name=ada")))
    assert ast.literal_eval(value) == {"hi": "ada"}
    assert (http["status"], http["headers"]["X-Name"]) == (201, "ada")
    failing = read("def main():\n    return 1 / 0\n")
    error = next(one for one in await play(engine, failing, build()) if one.type == "error")
    assert (error.ename, error.line) == ("ZeroDivisionError", 2)
    assert "shim" not in "".join(error.traceback)


async def test_a_script_runs_as_one_and_says_what_it_refuses():
    engine = ForkEngine(size=0)
    await engine.open()
    try:
        source = read(SCRIPT.replace('"100%% of them"', "'x'"))
        values = {"name": "-ada", "files": ["x"], "rate": 0.5, "v": 2, "dry": True}
        values |= {"tag": ["p", "q"], "sizes": [1, 2], "color": False}
        said = await play(engine, source, from_parameters(values))
        whole = values | {"top_rows": 5, "sort": None}
        texts = [event.value.text for event in said if isinstance(event, events.Result)]
        assert json.loads(texts[0]) == whole
        refused = await play(engine, source, from_parameters({"name": "x", "rate": -1}))
        assert refused[-1].state == "failed"
        assert refused[-1].reason == "bad_parameters"
        error = next(event for event in refused if isinstance(event, events.Error))
        assert (error.ename, error.evalue) == ("BadArguments", "rate is negative")
        stopped = await play(engine, source, from_parameters({"name": "stop", "rate": 1}))
        assert stopped[-1].reason == "exited 3"
    finally:
        await engine.close()


class Shouting(adapters.Adapter):
    """`def shout(text)`: another's adapter."""

    name = "shout"

    def reads(self, code: adapters.Code) -> bool:
        return "def shout" in code.texts[0]

    def parameters(self, code: adapters.Code) -> dict[str, Any]:
        return {"type": "object", "properties": {"text": {"type": "string"}}}

    def shim(self, code: adapters.Code) -> str:
        return (
            "def adapt(namespace, path):\n"
            "    return lambda request, text: namespace['shout'](text.upper())\n"
        )


async def test_others_adapters_join_by_an_entry_point(monkeypatch: pytest.MonkeyPatch):
    places = [
        EntryPoint("broken", "tests.no_such_module:Adapter", adapters.GROUP),
        EntryPoint("odd", "builtins:dict", adapters.GROUP),
        EntryPoint("shout", f"{__name__}:Shouting", adapters.GROUP),
    ]
    monkeypatch.setattr(adapters, "entry_points", lambda group: places)
    adapters.known.cache_clear()
    try:
        source = read("def shout(text): return text + '!'")
        assert source.adapter == "shout"
        engine = ThreadEngine(1)
        await engine.open()
        said = await play(engine, source, from_parameters({"text": "hi"}))
        await engine.close()
    finally:
        adapters.known.cache_clear()
    assert result(said)[0] == "HI!"


async def test_the_adapter_of_the_document_does_what_it_says():
    text = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text()
    scope: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], scope)  # noqa: S102 - our own document
    job = scope["Job"]()
    code = "class Job:\n    def run(self, days):\n        return days + 1\n"
    for text, is_one in ((code, True), ("x = 1", False)):
        seen = adapters.Code(kind="py", texts=(text,), trees=(ast.parse(text),))
        assert job.reads(seen) is is_one
    engine = ThreadEngine(1)
    await engine.open()
    source = replace(read(f"{code}def main(): pass"), shim=job.shim(seen))
    said = await play(engine, source, from_parameters({"days": 1}))
    await engine.close()
    assert result(said)[0] == 2


FLASK = """
import functions_framework
from flask import jsonify

@functions_framework.http
def hello(request):
    given = request.get_json(silent=True) or {}
    if request.args.get("text"):
        return "hi " + request.args["text"], 201, {"X-Path": request.path}
    return jsonify(hi=given.get("name"))
"""


def test_an_http_function_is_known_by_its_decorator():
    assert read(f"{FLASK}\ndef main(): pass").adapter == "functions"
    renamed = FLASK.replace("import functions_framework", "from functions_framework import http")
    assert read(renamed.replace("functions_framework.http", "http")).adapter == "functions"
    with pytest.raises(NoHandler):
        read(FLASK.replace("framework.http", "framework.cloud_event"))


async def test_an_http_function_answers_as_flask_would():
    engine = ThreadEngine(1)
    await engine.open()
    posted = {"body": b'{"name": "ada"}', "content_type": "application/json", "method": "POST"}
    value, http = result(await play(engine, read(FLASK), build(**posted)))
    assert (value, http["status"], http["encoding"]) == ({"hi": "ada"}, 200, "json")
    request = build(query="text=you", path="/call/x/a", path_info="/a")
    value, http = result(await play(engine, read(FLASK), request))
    assert (value, http["status"], http["headers"]["X-Path"]) == ("hi you", 201, "/a")
    await engine.close()


ROUTES = notebook(
    "import json\nusers = {'1': 'ada'}",
    "# GET /users/:id\nrequest = json.loads(REQUEST)\n"
    "print(users[request['path']['id']], request['args'])",
    "# ResponseInfo GET /users/:id\n"
    "print(json.dumps({'headers': {'Content-Type': 'text/x-user'}, 'status': 203}))",
    "# POST /users\nbody = json.loads(REQUEST)['body']\nusers['2'] = body['name']\n%time 1\n"
    "print(json.dumps(sorted(users)))",
)


async def test_a_kernel_gateways_notebook_answers_at_its_paths():
    source = sources.read("book.ipynb", {"book.ipynb": ROUTES})
    assert source.adapter == "gateway"
    assert [cell.index for cell in source.cells if "skip-execution" in cell.tags] == [2, 3, 4]
    with pytest.raises(NoHandler):
        read("# GET /users\nprint(1)", "gateway")
    engine = ForkEngine(size=0)
    await engine.open()

    async def ask(method: str, path: str, **more: Any) -> tuple[Any, Any]:
        request = build(method=method, path=f"/call/x{path}", path_info=path, **more)
        return result(await play(engine, source, request))

    try:
        body, http = await ask("GET", "/users/1/", query="a=b")
        assert body == "ada {'a': ['b']}\n"
        assert (http["status"], http["headers"]) == (203, {"Content-Type": "text/x-user"})
        posted = {"body": b'{"name": "bob"}', "content_type": "application/json"}
        body, http = await ask("POST", "/users", **posted)
        assert body.endswith('["1", "2"]\n')
        assert (http["status"], http["encoding"]) == (200, "text")
        assert (await ask("GET", "/users"))[1]["status"] == 405
        assert (await ask("GET", "/users/1/more"))[1]["status"] == 404
        failing = await play(engine, source, build(path_info="/users/7"))
        error = next(event for event in failing if isinstance(event, events.Error))
        assert error.ename == "KeyError"
        assert "users[request['path']['id']]" in "".join(error.traceback)
    finally:
        await engine.close()
