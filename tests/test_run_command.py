"""`djsci run`: a file of one's own machine runs as on a server, without one."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from djsci import cli
from tests.conftest import notebook

ROOT = Path(__file__).parent.parent
QUOTE = '''
import os, sys, djsci, helpers

def djsci_handler(request, ticker: str, days: int = 30):
    """Quote a ticker.

    Args:
        ticker: which one
    """
    print("read", helpers.read(), flush=True)
    print("warned", file=sys.stderr)
    djsci.log("asked", days=days)
    os.makedirs("out", exist_ok=True)
    with open("out/left.txt", "w") as file:
        file.write(ticker)
    with open("notes.txt", "a") as file:
        file.write("more")
    return {"ticker": ticker, "days": days, "home": os.environ["HOME"]}
'''
HELPERS = "def read():\n    with open('data.csv') as file:\n        return file.read()\n"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Without settings, and with folders of its own, so that what is left behind is seen."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DJ")}
    for name in ("tmp", "work", "home"):
        (tmp_path / name).mkdir()
    folders = {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home")}
    return {**kept, "PYTHONPATH": str(ROOT), **folders}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "djsci", "run", *arguments],
            cwd=tmp_path / "work",
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not list((tmp_path / "tmp").glob("djsci-*"))
        return done

    return run


def write(folder: Path, **files: str | bytes) -> Path:
    """Write `name_py="…"` as name.py; the folder."""
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


def here(folder: Path, *arguments: str) -> int:
    """The exit status of what runs nothing, without a process of its own."""
    with contextlib.chdir(folder):
        try:
            return cli.main(["run", *arguments])
        except SystemExit as end:
            return int(end.code or 0)


def test_a_file_runs_with_what_it_names_beside_it_and_its_files_come_here(tmp_path: Path, run: Run):
    names = {"quote_py": QUOTE, "helpers_py": HELPERS, "data_csv": "1,2", "notes_txt": "some "}
    write(tmp_path, **names, unnamed_txt="x")
    done = run("../quote.py", "-p", "ticker=DJ", "-p", "days=3", "--output", "result.json")
    assert done.returncode == 0, done.stderr
    value = {"ticker": "DJ", "days": 3, "home": str(tmp_path / "home")}
    assert done.stdout == json.dumps(value, separators=(",", ":")) + "\n"
    assert done.stderr.splitlines() == [
        "read 1,2",
        "warned",
        "[info] asked days=3",
        "djsci: left notes.txt (9 bytes), out/left.txt (2 bytes)",
    ]
    work = tmp_path / "work"
    assert (work / "out" / "left.txt").read_text() == "DJ"
    assert (work / "notes.txt").read_text() == "some more"
    assert json.loads((work / "result.json").read_text()) == value
    assert sorted(path.name for path in work.iterdir()) == ["notes.txt", "out", "result.json"]


def test_the_result_is_alone_on_stdout_and_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    book = notebook("print('before')", "a = 2", "a + 1", "a * 21")
    write(tmp_path, book_ipynb=book)
    assert here(tmp_path, "book.ipynb") == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("42\n", "before\n3\n42\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["q.py", "-p", "days=x", "-p", "more=1"],
            ["days: must be a whole number", "ticker: is missing", "more: is not a parameter"],
        ),
        (["q.py", "-p", "days"], ["NAME=VALUE, not 'days'"]),
        (["missing.py"], ["missing.py cannot be read"]),
        (["plain.py"], ["djsci_handler(request)"]),
        (["broken.py"], ["broken.py, line 1: SyntaxError"]),
        (["q.py", "--with", "nothing"], ["nothing cannot be read"]),
        (["asks.py"], ["asks.py asks for no-such>=1, which", "-m pip install 'no-such>=1'"]),
        (["q.py", "--timeout", "-1"], ["--timeout"]),
        ([], ["FILE"]),
    ],
    ids=[
        "parameters",
        "pair",
        "missing",
        "no-handler",
        "syntax",
        "companion",
        "header",
        "timeout",
        "usage",
    ],
)
def test_what_cannot_run_is_refused_before_anything_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: list[str]
):
    code = "def djsci_handler(request, ticker: str, days: int = 3): pass"
    header = "# /// script\n# dependencies = ['pytest', 'no-such>=1']\n# ///\n"
    write(tmp_path, q_py=code, plain_py="print('ran')", broken_py="def (", asks_py=header + code)
    assert here(tmp_path, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(text in shown.err for text in said), shown.err


def test_the_help_of_a_file_shows_its_own_parameters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path, quote_py=QUOTE)
    assert here(tmp_path, "quote.py", "--help") == 0
    shown = capsys.readouterr().out
    assert "Quote a ticker." in shown
    assert "ticker: text  (required)" in shown
    assert "days: whole number = 30" in shown
    assert here(tmp_path, "--help") == 0
    assert "--output" in capsys.readouterr().out


FILES = '''
import djsci

def djsci_handler(request, data: djsci.File, more: list[djsci.File] = [], note: str = "@"):
    """Sum a column.

    Args:
        data: the table
    """
    djsci.artifact(data.read().upper(), "kept/upper.csv")
    rows = data.open("r").read().splitlines()[1:]
    return {
        "sum": sum(map(int, rows)), "file": [data.name, data.content_type, data.size],
        "more": [file.read().decode() for file in more], "note": note, "path": data.path.exists(),
    }
'''


def test_a_file_is_given_by_its_path_and_an_artifact_is_a_file_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path, sum_py=FILES, a_csv="n\n1\n2\n", b_txt="b", c_txt="c")
    (tmp_path / "here").mkdir()
    given = ["data=@../a.csv", "more=@../b.txt", f"more=@{tmp_path}/c.txt", "note=@ada"]
    options = [word for pair in given for word in ("-p", pair)]
    assert here(tmp_path / "here", "../sum.py", *options, "--artifacts", "left") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "sum": 3,
        "file": ["a.csv", "text/csv", 6],
        "more": ["b", "c"],
        "note": "@ada",
        "path": True,
    }
    assert shown.err == "djsci: left left/kept/upper.csv (6 bytes)\n"
    assert (tmp_path / "here/left/kept/upper.csv").read_text() == "N\n1\n2\n"
    assert here(tmp_path, "sum.py", "--help") == 0
    assert "data: file, as @PATH  (required)\n      the table" in capsys.readouterr().out
    for value, said in (
        ("@no.csv", "no.csv cannot be read"),
        ("a.csv", "-p data=@a.csv"),
        ("!", "data: must be a file"),
    ):
        assert here(tmp_path, "sum.py", "-p", f"data={value}") == 2
        assert said in capsys.readouterr().err


def test_what_cannot_be_kept_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code = "def djsci_handler(request):\n    open('taken', 'w').write('x')\n    return 1\n"
    write(tmp_path, leaves_py=code)
    (tmp_path / "taken").mkdir()
    assert here(tmp_path, "leaves.py") == 1
    shown = capsys.readouterr()
    assert shown.out == "1\n"
    assert "djsci: not kept: taken: Is a directory" in shown.err


def test_a_file_that_the_run_made_is_there_for_it_the_next_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    code = """
import pathlib
def djsci_handler(request):
    seen = pathlib.Path("count.txt")
    count = int(seen.read_text()) + 1 if seen.exists() else 1
    seen.write_text(str(count))
    return count
"""
    write(tmp_path, count_py=code)
    assert [here(tmp_path, "count.py") for _ in range(3)] == [0, 0, 0]
    assert capsys.readouterr().out == "1\n2\n3\n"


LAMBDA = """
def lambda_handler(event, context):
    return [event["a"], 0 < context.get_remaining_time_in_millis() <= 60_000]
"""
SCRIPT = """
import argparse, djsci
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--a", type=int)
    djsci.result(parser.parse_args().a + 3)
"""
ROUTE = """# GET /hi/:name
import json
asked = json.loads(REQUEST)
print(asked["path"]["name"], asked["args"]["n"])"""
KNOWN = "import djsci\ndef djsci_handler(request, a: int): return [a, djsci.run]"
ADAPTED: dict[str, tuple[str, str | bytes, Any]] = {
    "handler": ("handler.py", KNOWN, [1, {"timeout": 60.0}]),
    "notebook": ("book.ipynb", notebook("import djsci", "len(djsci.params())"), 0),
    "lambda": ("function.py", LAMBDA, ["1", True]),
    "argparse": ("script.py", SCRIPT, 4),
    "main": ("main.py", "def main(a: int): return a + 4", 5),
    "gateway": ("routes.ipynb", notebook(ROUTE), "ada ['2']\n"),
}


def test_every_adapters_file_runs_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for adapter, (name, content, wanted) in ADAPTED.items():
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        given = ["-p", "a=1"] if adapter != "notebook" else []
        given += ["--request", "GET /hi/ada?n=2"] if adapter == "gateway" else []
        status = here(tmp_path, name, "--adapter", adapter, "--timeout", "60", *given)
        shown = capsys.readouterr()
        assert status == 0, shown
        assert json.loads(shown.out) == wanted

    assert here(tmp_path, "routes.ipynb", "--request", "/no") == 0
    assert "djsci: the answer's HTTP status is 404" in capsys.readouterr().err


def test_a_notebook_that_wants_a_kernel_leaves_its_files_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    book = notebook("import ipywidgets", "open('left.txt', 'w').write('x')")
    write(tmp_path, book_ipynb=book.replace(b"import ipywidgets", b"if 0: import ipywidgets"))
    assert here(tmp_path, "book.ipynb") == 0
    assert (tmp_path / "left.txt").read_text() == "x"
    shown = capsys.readouterr()
    assert (shown.out, shown.err.splitlines()[-1]) == ("1\n", "djsci: left left.txt (1 bytes)")


def test_a_failure_shows_its_traceback_in_the_users_own_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path, bad_py="def djsci_handler(request):\n    raise ValueError('odd')\n")
    assert here(tmp_path, "bad.py") == 1
    said = capsys.readouterr().err
    assert f'File "{tmp_path}/bad.py", line 2, in djsci_handler' in said
    assert said.splitlines()[-2:] == ["ValueError: odd", "djsci: failed: ValueError: odd"]
    assert "\x1b" not in said


def test_a_script_is_run_as_one_and_may_refuse_its_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    code = """
import argparse
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("days", type=int)
    if parser.parse_args().days > 9:
        parser.error("too many days")
    print("done")
"""
    write(tmp_path, script_py=code)
    assert here(tmp_path, "script.py", "-p", "days=3") == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("null\n", "done\n")
    assert here(tmp_path, "script.py", "-p", "days=10") == 2
    assert "too many days" in capsys.readouterr().err
    assert here(tmp_path, "script.py", "-p", "days=3", "--adapter", "main") == 2


def test_a_run_over_its_time_ends_with_124(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write(tmp_path, slow_py="def djsci_handler(request):\n    while True: pass\n")
    assert here(tmp_path, "slow.py", "--timeout", "0.3") == 124
    assert "timed_out" in capsys.readouterr().err


def test_an_interrupt_cancels_and_leaves_no_process_and_no_folder(
    tmp_path: Path, environment: dict[str, str]
):
    code = """
import os, subprocess, time
def djsci_handler(request):
    child = subprocess.Popen(["sleep", "1000"])
    print(os.getpid(), child.pid, flush=True)
    time.sleep(1000)
"""
    write(tmp_path, slow_py=code)
    command = [sys.executable, "-m", "djsci", "run", str(tmp_path / "slow.py")]
    pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path / "work", env=environment, **pipe) as process:
        pids = process.stderr.readline().split()  # printed while it runs: output streams
        assert len(pids) == 2
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert said.endswith("djsci: cancelled\n")
    end = time.monotonic() + 5
    while any(Path("/proc", pid).exists() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not list((tmp_path / "tmp").glob("djsci-*"))


def test_running_a_file_loads_no_django(tmp_path: Path):
    write(tmp_path, one_py="def djsci_handler(request): return 1\n")
    code = (
        "import sys; sys.modules['django'] = None\n"
        "from djsci import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "one.py", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
