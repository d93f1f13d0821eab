"""The peers' own environments, made once below `.bench/`, and the servers that run in them."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .rounds import say

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".bench"
PROGRAMS = Path(__file__).resolve().parent / "programs"
INSTALL = 900.0  # seconds that an environment may take to be made
START = 60.0  # seconds that a server may take to listen
ENDING = 5.0

PEERS = (
    *("papermill", "nbclient", "ipykernel", "jupyter-kernel-gateway", "functions-framework"),
    *("numpy", "pandas", "matplotlib"),
)
# The first release names poetry among its needs; nothing of it is imported.
RELEASED = ("django>=4.2.4,<5", "nbconvert", "nbformat", "shortuuid", "ipython", "uvicorn")
RELEASED_ALONE = ("djsci==0.0.0.0",)


def peers() -> Path:
    """The Python of the peers' environment."""
    return _made("peers", PEERS)


def released() -> Path:
    """The Python of the environment with djsci 0.0.0.0."""
    return _made("released", (*RELEASED, "pandas"), alone=RELEASED_ALONE)


def _made(name: str, needs: Sequence[str], *, alone: Sequence[str] = ()) -> Path:
    """An environment with `needs`, and with `alone` without what these ask for."""
    folder = PLACE / name
    python, stamp = folder / "bin" / "python", folder / ".made"
    digest = hashlib.sha256(repr((sys.version, needs, alone)).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    say(f"making .bench/{name} (a minute or two at the first time)")
    folder.parent.mkdir(exist_ok=True)
    _execute([sys.executable, "-m", "venv", "--clear", str(folder)])
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _execute([*install, *needs])
    if alone:
        _execute([*install, "--no-deps", *alone])
    stamp.write_text(digest)
    return python


def _execute(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL)
    if done.returncode:
        raise RuntimeError(f"{command[2]} {command[-1]}: {done.stderr[-300:]}")


def versions(python: Path, names: Sequence[str]) -> dict[str, str]:
    """The versions of what is installed in an environment."""
    code = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]), sep='\\n')"
    done = subprocess.run(
        [str(python), "-c", code, *names], capture_output=True, text=True, check=True, timeout=60
    )
    return dict(zip(names, done.stdout.split(), strict=True))


def free_port() -> int:
    """A port of loopback that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def server(command: Sequence[str], *, port: int, folder: Path) -> Iterator[str]:
    """A server in a process group of its own; its URL. It is ended with its children."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(process, port, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"it does not listen: {log.read_text(errors='replace')[-300:]}")


def end(process: "subprocess.Popen[Any]") -> None:
    """Ask the process to end, then kill its group, which is ours alone."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
