"""The peers: what else runs a notebook or a function, each in an environment of its own."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx

from . import environments
from .rounds import Found, Reading, Way, aside, burst, reason, say
from .sites import WAIT, get
from .workloads import NOTEBOOK, PANDAS, PLOTS, PY, Work, notebook

TIMES = 5  # requests of the fast servers in one reading
ENTRY = (
    "import json, runpy\n"
    "trivial = runpy.run_path({trivial!r})['djsci_handler']\n"
    "table = runpy.run_path({table!r})['djsci_handler']"
)
ANSWER = "# GET /{name}\nprint(json.dumps({name}(REQUEST)))"


class Inside:
    """`programs/inside.py` in an environment: it runs what it is told, and says how long."""

    def __init__(self, python: Path, stack: ExitStack) -> None:
        self.process = subprocess.Popen(
            [str(python), str(environments.PROGRAMS / "inside.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        stack.callback(environments.end, self.process)
        if self._line() != "ready":
            raise RuntimeError("what should run in the peers' environment does not start")

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, how: str, path: Path, *, times: int = 1) -> Reading:
        """The mean of `times` runs."""
        assert self.process.stdin is not None
        seconds = 0.0
        for _ in range(times):
            self.process.stdin.write(f"{how} {path}\n")
            answer = self._line()
            if not answer:
                raise RuntimeError(f"{how} failed")
            seconds += float(answer)
        return Reading(seconds=seconds / times)

    def way(self, name: str, how: str, work: Work, path: Path, *, is_quick: bool = True) -> Way:
        return Way(
            name=name,
            work=work.name,
            once=lambda: aside(lambda: self.run(how, path)),
            is_quick=is_quick,
        )


def ways(stack: ExitStack, found: Found) -> list[Way]:
    """All peers that can be had; those that cannot are left out with the reason."""
    made: list[Way] = []
    for name, make in (
        ("papermill, nbclient, jupyter execute", _notebooks),
        ("kernel gateway", _gateway),
        ("functions-framework", _functions),
        ("djsci 0.0.0.0", _released),
    ):
        try:
            made += make(stack, _folder(stack))
        except Exception as error:
            found.left_out[name] = reason(error)
            say(f"{name}: left out: {reason(error)}")
    return made


def _folder(stack: ExitStack) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="djsci-bench-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    for work in (PY, PANDAS, NOTEBOOK, PLOTS):
        work.write(folder)
    return folder


def _notebooks(stack: ExitStack, folder: Path) -> list[Way]:
    python = environments.peers()
    inside = Inside(python, stack)
    small, large = folder / NOTEBOOK.entry, folder / PLOTS.entry
    bin_ = python.parent
    return [
        inside.way("papermill, in process", "papermill", NOTEBOOK, small),
        inside.way("papermill, in process", "papermill", PLOTS, large),
        _program("papermill, command", [bin_ / "papermill", small, folder / "out.ipynb"]),
        _program("jupyter execute", [bin_ / "jupyter-execute", small]),
        inside.way("nbclient, cold", "nbclient", NOTEBOOK, small),
        inside.way("nbclient, cold", "nbclient", PLOTS, large, is_quick=False),
    ]


def _program(name: str, command: Sequence[Path]) -> Way:
    """A command line, from its start to its end."""

    def run() -> Reading:
        begun = time.perf_counter()
        path = os.pathsep.join([str(command[0].parent), os.environ.get("PATH", os.defpath)])
        subprocess.run(
            list(map(str, command)),
            env={**os.environ, "PATH": path},
            check=True,
            capture_output=True,
            timeout=WAIT,
        )
        return Reading(seconds=time.perf_counter() - begun)

    return Way(name=name, work=NOTEBOOK.name, once=lambda: aside(run), is_quick=False)


def _gateway(stack: ExitStack, folder: Path) -> list[Way]:
    """kernel gateway's notebook-http mode: cells that answer a path, all in one shared kernel."""
    entry = ENTRY.format(trivial=str(folder / PY.entry), table=str(folder / PANDAS.entry))
    seed = folder / "seed.ipynb"
    seed.write_bytes(notebook(entry, ANSWER.format(name="trivial"), ANSWER.format(name="table")))
    port = environments.free_port()
    command = [
        str(environments.peers().parent / "jupyter-kernelgateway"),
        "--KernelGatewayApp.api=kernel_gateway.notebook_http",
        f"--KernelGatewayApp.seed_uri={seed}",
        "--KernelGatewayApp.ip=127.0.0.1",
        f"--KernelGatewayApp.port={port}",
    ]
    return _served(stack, folder, command, port, "kernel gateway, warm GET")


def _functions(stack: ExitStack, folder: Path) -> list[Way]:
    port = environments.free_port()
    command = [
        str(environments.peers().parent / "functions-framework"),
        *("--target", "call", "--source", str(environments.PROGRAMS / "functions.py")),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    return _served(stack, folder, command, port, "functions-framework, warm")


def _served(
    stack: ExitStack, folder: Path, command: Sequence[str], port: int, name: str
) -> list[Way]:
    command = ["env", f"BENCH_FOLDER={folder}", *command]
    url = stack.enter_context(environments.server(command, port=port, folder=folder))
    client = stack.enter_context(httpx.Client(base_url=url, timeout=WAIT))
    return [_request(client, name, work, f"/{work.entry.split('.')[0]}") for work in (PY, PANDAS)]


def _request(client: httpx.Client, name: str, work: Work, path: str) -> Way:
    def run() -> Reading:
        asked: Callable[[], object] = lambda: get(client, path)  # noqa: E731
        return burst(asked, TIMES)

    return Way(name=name, work=work.name, once=lambda: aside(run))


def _released(stack: ExitStack, folder: Path) -> list[Way]:
    """The first release: a file is executed in the server's own process, by uvicorn."""
    python, port = environments.released(), environments.free_port()
    command = [
        *("env", f"BENCH_FOLDER={folder}", str(python), "-m", "uvicorn", "released:application"),
        *("--app-dir", str(environments.PROGRAMS), "--host", "127.0.0.1", "--port", str(port)),
        *("--no-access-log", "--lifespan", "off"),
    ]
    url = stack.enter_context(environments.server(command, port=port, folder=folder))
    cookies = {"sessionid": (folder / "session").read_text()}
    client = stack.enter_context(httpx.Client(base_url=url, timeout=WAIT, cookies=cookies))
    name = "djsci 0.0.0.0, in the server's process"
    return [
        _request(client, name, PY, "/djsci/sync_py/trivial_py/"),
        _request(client, name, PANDAS, "/djsci/sync_py/table_py/"),
        _request(client, name, NOTEBOOK, "/djsci/sync_ipynb/trivial_ipynb/"),
    ]
