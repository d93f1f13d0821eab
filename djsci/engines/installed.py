"""What is installed for a Python, as a mark that changes when something is added or removed."""

import site
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LOOK = 1.0  # seconds that a look at the folders holds for
_seen: dict[tuple[str, ...], tuple[float, tuple[object, ...]]] = {}


def stamp(packages: Sequence[str] = ()) -> tuple[object, ...]:
    """The times of the folders of packages, this Python's or those, and of their `.pth` files."""
    key, now = tuple(packages), time.monotonic()
    if key not in _seen or now - _seen[key][0] > LOOK:
        own = [*site.getsitepackages(), *map(str, Path(sys.prefix).glob("*.cfg"))]
        _seen[key] = (now, _stamp(key or own))
    return _seen[key][1]


def forget(packages: Sequence[str]) -> None:
    """Look anew at these folders: we have just made them."""
    _seen.pop(tuple(packages), None)


def _stamp(folders: Sequence[str]) -> tuple[object, ...]:
    paths = [Path(folder) for folder in dict.fromkeys(folders)]
    paths += [file for folder in paths if folder.is_dir() for file in sorted(folder.glob("*.pth"))]
    return tuple((str(path), path.stat().st_mtime_ns) for path in paths if path.exists())
