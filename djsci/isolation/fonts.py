"""matplotlib's list of the machine's fonts: it takes seconds to make, so walled runs get a copy."""

import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from .process import matplotlib_folder

VARIABLE = "DJSCI_FONTS"  # names the list to a guest, which copies it
SECONDS = 60.0


@cache
def offered() -> str | None:
    """The list's path, made at the first call of all; None without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    folder = matplotlib_folder()
    found = _newest(folder)
    if found is None:
        argv = [sys.executable, "-I", "-c", "import matplotlib.font_manager"]
        environment = {"PATH": os.defpath, "HOME": folder, "MPLCONFIGDIR": folder}
        try:
            subprocess.run(argv, env=environment, capture_output=True, timeout=SECONDS, check=False)  # noqa: S603
        except (OSError, subprocess.SubprocessError):
            return None
        found = _newest(folder)
    return found


def _newest(folder: str) -> str | None:
    lists = sorted(Path(folder).glob("fontlist-*.json"), key=lambda path: path.stat().st_mtime)
    return str(lists[-1]) if lists else None
