"""Wheels made by hand: what an index would have, in a folder."""

import site
import zipfile
from collections.abc import Mapping
from pathlib import Path


def write(
    folder: Path, name: str, version: str = "1.0", *, files: Mapping[str, str] | None = None
) -> Path:
    """A wheel of these modules (`{"module.py": "text"}`), for any Python."""
    about = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for module, text in (files or {}).items():
            wheel.writestr(module, text)
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{about}/METADATA", head)
        kind = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{about}/WHEEL", kind)
        wheel.writestr(f"{about}/RECORD", "")
    return path


def folder(path: Path) -> Path:
    """`greetings`, and what notebooks need: an ipython that is the server's own."""
    path.mkdir(parents=True, exist_ok=True)
    write(path, "greetings", files={"greetings.py": "TEXT = 'hello'\n"})
    lines = "".join(f"{place}\n" for place in site.getsitepackages())
    write(path, "ipython", "99.0", files={"of_the_server.pth": lines})
    backends = "[matplotlib.backend]\ninline = matplotlib_inline.backend_inline\n"
    about = "matplotlib_inline-99.0.dist-info/entry_points.txt"
    write(path, "matplotlib_inline", "99.0", files={about: backends})
    return path
