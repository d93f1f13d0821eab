"""What is installed for this Python, as a mark that changes when something is added or removed."""

import site
import sys
import time
from pathlib import Path

LOOK = 1.0  # seconds that a look at the folders holds for
_seen: tuple[float, tuple[object, ...]] = (float("-inf"), ())


def stamp() -> tuple[object, ...]:
    """The times of the folders of packages and of the `.pth` files in them."""
    global _seen
    if time.monotonic() - _seen[0] > LOOK:
        _seen = (time.monotonic(), _stamp())
    return _seen[1]


def _stamp() -> tuple[object, ...]:
    folders = dict.fromkeys([*site.getsitepackages(), *map(str, Path(sys.prefix).glob("*.cfg"))])
    paths = [Path(folder) for folder in folders]
    paths += [file for folder in paths if folder.is_dir() for file in sorted(folder.glob("*.pth"))]
    return tuple((str(path), path.stat().st_mtime_ns) for path in paths if path.exists())
