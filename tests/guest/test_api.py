"""`import djsci` inside a handler, in a plain script, and in the server."""

from pathlib import Path
from typing import Any

import pytest

import djsci
from djsci.guest import api
from djsci.guest.requests import HandlerRequest
from djsci.guest.results import ResultRefused


@pytest.fixture
def sent() -> Any:
    frames: list[dict[str, Any]] = []
    channel = api.Channel(
        send=frames.append,
        request=HandlerRequest(parameters={"a": 1}),
        run={"id": "x"},
        is_cancelled=lambda: True,
        on_result=frames.append,
    )
    token = api.enter(channel)
    yield frames
    api.leave(token)


def test_frames_go_to_the_run(sent: list[Any]) -> None:
    djsci.progress(0.5, label="half")
    djsci.progress(3, 4)
    djsci.log("hello", level="error", n=1, odd=object)
    djsci.result([1])
    assert sent == [
        {"type": "progress", "value": 0.5, "label": "half"},
        {"type": "progress", "n": 3, "total": 4, "label": None},
        {
            "type": "log",
            "level": "error",
            "message": "hello",
            "fields": {"n": 1, "odd": "<class 'object'>"},
        },
        [1],
    ]
    assert (djsci.params(), djsci.run, djsci.cancelled()) == ({"a": 1}, {"id": "x"}, True)


def test_a_loop_says_how_far_it_is(sent: list[Any]) -> None:
    assert list(djsci.progress("abc", label="letters")) == ["a", "b", "c"]
    assert sent[-1] == {"type": "progress", "n": 3, "total": 3, "label": "letters"}
    assert list(djsci.progress(iter([]))) == []


@pytest.mark.parametrize("value", [2, -1, float("nan")])
def test_progress_is_from_0_to_1(value: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        djsci.progress(value)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="level is one of"):
        djsci.log("x", level="loud")


def test_the_same_file_runs_without_djsci_around_it(capsys: pytest.CaptureFixture[str]) -> None:
    djsci.progress(1, 4, label="rows")
    djsci.log("hello", n=1)
    djsci.result({"a": {1}})
    djsci.result(djsci.Response("hi", 201))
    with pytest.raises(ResultRefused, match=r"\$\.a"):
        djsci.result({"a": object()})
    assert (djsci.params(), djsci.run, djsci.cancelled()) == ({}, {}, False)
    printed = capsys.readouterr()
    assert printed.err == "rows: 1/4\n[info] hello n=1\n"
    assert printed.out == 'result: {"a":[1]}\nresult: "hi"\n'


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        djsci.nothing  # noqa: B018


def test_an_artifact_without_a_run_is_a_file_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    djsci.artifact(memoryview(b"abc"), "plots/a.bin")
    djsci.artifact(tmp_path / "plots" / "a.bin")
    assert (tmp_path / "plots" / "a.bin").read_bytes() == b"abc"
    assert capsys.readouterr().err == (
        "artifact: plots/a.bin (3 bytes)\nartifact: a.bin (3 bytes)\n"
    )
    for what, name in ((b"x", None), (b"x", "../up"), (tmp_path, "folder"), (b"x", "a\u202eb")):
        with pytest.raises(ValueError, match=r"name|folder"):
            djsci.artifact(what, name)
    assert [path.name for path in tmp_path.iterdir()] == ["plots"]
