"""Level `process`: a process of its own with an environment of its own, and no wall around it."""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .libc import libc
from .limits import Limits

PR_SET_DUMPABLE = 4
PASSED = ("LANG", "TZ")
ONE_THREAD = {
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pandas imports pyarrow where it is
}

# A session of its own is a process group of its own: signals reach the tree, not the server.
START: Mapping[str, Any] = {"start_new_session": True}


def command(argv: Sequence[str]) -> list[str]:
    """The command line that starts `argv` at this level: nothing is added."""
    return list(argv)


def enter(
    limits: Limits, folder: str, *, uid: int | None = None, readable: Sequence[str] = ()
) -> str:
    """In a forked child: limits and a folder; there is no wall, and no other user, at this level.

    Returns the folder that the run works in.
    """
    limits.apply()
    return folder


def confine(folder: str, pids: int) -> None:
    """A call forked by a run: nothing keeps it to its `folder` at this level."""


def environment(run_folder: Path) -> dict[str, str]:
    """All that a program at this level finds in its environment; the server's is not passed on.

    `run_folder` becomes its home.
    """
    interpreter = str(Path(sys.executable).parent)
    values = {
        "PATH": os.pathsep.join((interpreter, os.environ.get("PATH") or os.defpath)),
        "HOME": str(run_folder),
        "LANG": "C.UTF-8",
        "MPLCONFIGDIR": matplotlib_folder(),
        "IPYTHONDIR": str(run_folder / ".ipython"),
    }
    values |= {name: os.environ[name] for name in PASSED if os.environ.get(name)}
    return values | ONE_THREAD


def hide() -> None:
    """Refuse this process's memory and environment, which hold secrets, to others of its user."""
    if sys.platform == "linux":
        libc().prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def matplotlib_folder() -> str:
    """matplotlib's folder, shared by all runs: its list of fonts takes seconds to make."""
    configured = os.environ.get("MPLCONFIGDIR")
    if configured:
        return configured
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache, "djsci", "matplotlib")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return tempfile.gettempdir()
    return str(folder)
