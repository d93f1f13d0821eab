"""Runs what it is told, `<how> <path>` a line on stdin, and answers the seconds that it took.

papermill, nbclient: a notebook, its kernel started for it. exec, fork: a Python file, compiled,
executed and called in this process, or in a fork of it; nothing is isolated, recorded or encoded.
"""

import contextlib
import importlib
import os
import sys
import time
from typing import Any

PRELOAD = ("numpy", "pandas", "matplotlib.pyplot", "papermill", "nbclient", "nbformat")


def call(path: str) -> object:
    namespace: dict[str, Any] = {"__name__": "bench"}
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec"), namespace)  # noqa: S102
    result: object = namespace["djsci_handler"](None)
    return result


def by_papermill(path: str) -> None:
    import papermill  # type: ignore[import-not-found,unused-ignore]

    papermill.execute_notebook(path, path + ".out", progress_bar=False)


def by_nbclient(path: str) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": os.path.dirname(path)}}).execute()


def by_exec(path: str) -> None:
    call(path)


def by_fork(path: str) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            call(path)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


HOW = {"papermill": by_papermill, "nbclient": by_nbclient, "exec": by_exec, "fork": by_fork}


def main() -> None:
    for name in PRELOAD:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what handlers print is written, and dropped
    answers.write("ready\n")
    for line in sys.stdin:
        how, _, path = line.rstrip("\n").partition(" ")
        begun = time.perf_counter()
        HOW[how](path)
        answers.write(f"{time.perf_counter() - begun}\n")


if __name__ == "__main__":
    main()
