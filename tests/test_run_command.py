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
    (tmp_path / "tmp").mkdir()
    (tmp_path / "work").mkdir()
    return {**kept, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp"), "HOME": "/ada"}


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
    first, _, result = done.stdout.partition("\n")
    assert first == "read 1,2"
    value = {"ticker": "DJ", "days": 3, "home": "/ada"}
    assert json.loads(result) == value
    assert done.stderr.splitlines() == [
        "warned",
        "[info] asked days=3",
        "djsci: left notes.txt, out/left.txt",
    ]
    work = tmp_path / "work"
    assert (work / "out" / "left.txt").read_text() == "DJ"
    assert (work / "notes.txt").read_text() == "some more"
    assert json.loads((work / "result.json").read_text()) == value
    assert sorted(path.name for path in work.iterdir()) == ["notes.txt", "out", "result.json"]


def test_with_json_the_result_is_alone_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    book = notebook("print('before')", "a = 2", "a + 1", "a * 21")
    write(tmp_path, book_ipynb=book)
    assert here(tmp_path, "book.ipynb", "--json") == 0
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
        (["q.py", "--timeout", "-1"], ["--timeout"]),
        ([], ["FILE"]),
    ],
    ids=["parameters", "pair", "missing", "no-handler", "syntax", "companion", "timeout", "usage"],
)
def test_what_cannot_run_is_refused_before_anything_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: list[str]
):
    code = "def djsci_handler(request, ticker: str, days: int = 3): pass"
    write(tmp_path, q_py=code, plain_py="print('ran')", broken_py="def (")
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
    assert capsys.readouterr().out == "done\nnull\n"
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
        pids = process.stdout.readline().split()  # printed while it runs: output streams
        assert len(pids) == 2
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
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
