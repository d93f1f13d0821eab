"""Wheels made by hand: what an index would have, in a folder."""

import io
import os
import queue
import select
import site
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


def write(
    folder: Path, name: str, version: str = "1.0", *, files: Mapping[str, str] | None = None
) -> Path:
    """A wheel of these modules (`{"module.py": "text"}`), for any Python; more of its METADATA."""
    about = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    given = dict(files or {})
    with zipfile.ZipFile(path, "w") as wheel:
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{about}/METADATA", head + given.pop(f"{about}/METADATA", ""))
        for module, text in given.items():
            wheel.writestr(module, text)
        kind = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{about}/WHEEL", kind)
        wheel.writestr(f"{about}/RECORD", "")
    return path


def write_source(path: Path, name: str, *, touches: Path) -> Path:
    """A source distribution: whoever builds it touches that file."""
    texts = {
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\n"
        "backend-path = ['.']\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "backend.py": f"open({str(touches)!r}, 'w')\n",
    }
    with tarfile.open(path, "w:gz") as source:
        for file, text in texts.items():
            about = tarfile.TarInfo(f"{name}-1.0/{file}")
            about.size = len(text.encode())
            source.addfile(about, io.BytesIO(text.encode()))
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


class Standstill:
    """In place of pip: a program that has begun, and does not end by itself."""

    def __init__(self) -> None:
        self._opened: queue.Queue[int] = queue.Queue()
        self._gate = -1

    def __call__(self, folder: Path, _: object) -> list[str]:
        gate = folder / "gate"
        os.mkfifo(gate)
        self._opened.put(os.open(gate, os.O_RDONLY | os.O_NONBLOCK))
        return ["sh", "-c", f"exec > {gate}; echo begun; exec sleep 1000"]

    def begins(self) -> None:
        """Return once it has."""
        self._gate = self._opened.get(timeout=60)
        assert self._read() == b"begun\n"

    def ends(self) -> None:
        """Return once its process is gone."""
        assert self._read() == b""
        os.close(self._gate)

    def _read(self) -> bytes:
        assert select.select([self._gate], [], [], 60)[0]
        return os.read(self._gate, 100)
