"""A file as a parameter: what was uploaded, as a path in the run's folder when one is asked for."""

import hashlib
import io
import mimetypes
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import IO, Any

from .requests import HandlerRequest, UploadedFile

REFERENCE = frozenset({"name", "size", "content_type", "sha256"})
UNKNOWN_TYPE = "application/octet-stream"


class File:
    """A file that a handler is given: `def djsci_handler(request, data: djsci.File)`.

    It stands for its path wherever a path is taken: `open(data)`, `pandas.read_csv(data)`. On a
    laptop `djsci.File("sales.csv")` is a file that is there.
    """

    __slots__ = ("__weakref__", "_content", "_folder", "_path", "content_type", "name", "size")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path: Path | None = Path(path)
        self._content: bytes | None = None
        self._folder: Path | None = None
        self.name = self._path.name
        self.size = self._path.stat().st_size
        self.content_type = mimetypes.guess_type(self.name)[0] or UNKNOWN_TYPE

    @classmethod
    def of(cls, uploaded: UploadedFile, folder: Path | None = None) -> "File":
        """What came with a request; its path will be in `folder`."""
        file = cls.__new__(cls)
        file._path, file._content, file._folder = None, uploaded.content, folder
        file.name, file.size = uploaded.name, uploaded.size
        file.content_type = uploaded.content_type or UNKNOWN_TYPE
        return file

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """As a field of a pydantic model: an instance, in pydantic's own words."""
        return {"type": "is-instance", "cls": cls}

    @property
    def path(self) -> Path:
        """Where it is; an uploaded file is written when this is first asked."""
        if self._path is None:
            # Hidden, for what lies openly in the folder is what the run leaves behind.
            folder = Path(tempfile.mkdtemp(prefix=".djsci-file-", dir=self._folder))
            path = folder / plain_name(self.name)
            path.write_bytes(self._content or b"")
            self._path = path
        return self._path

    def open(self, mode: str = "rb", **options: Any) -> IO[Any]:
        """It as an open file, for reading: binary, or text with mode "r"."""
        if mode not in ("r", "rt", "rb"):
            raise ValueError(f"a file is opened for reading, 'r' or 'rb', not {mode!r}")
        if self._content is not None and mode == "rb":
            return io.BytesIO(self._content)
        return self.path.open(mode, **options)

    def read(self) -> bytes:
        """All bytes of it, each time."""
        return self._content if self._content is not None else self.path.read_bytes()

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"File({self.name!r}, {self.size} bytes)"


def plain_name(name: str) -> str:
    """A name that leads nowhere else, at most 200 bytes."""
    last = PurePath(name.replace("\\", "/").replace("\x00", "")).name
    short = last.encode("utf-8", "replace")[-200:].decode("utf-8", "ignore")
    return short if short not in ("", ".", "..") else "file"


def reference(uploaded: UploadedFile) -> dict[str, Any]:
    """What a run's parameters hold in place of a file."""
    return {
        "name": _storable(uploaded.name),
        "size": uploaded.size,
        "content_type": _storable(uploaded.content_type),
        "sha256": hashlib.sha256(uploaded.content).hexdigest(),
    }


def _storable(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:300]


def by_digest(request: HandlerRequest) -> dict[str, UploadedFile]:
    """The request's files by their SHA-256."""
    files = [file for _, each in request.FILES.lists() for file in each]
    return {hashlib.sha256(file.content).hexdigest(): file for file in files}


def is_reference(value: Any) -> bool:
    """Whether a value stands for a file."""
    return (
        isinstance(value, Mapping)
        and value.keys() == REFERENCE
        and isinstance(value["sha256"], str)
    )


def given(request: HandlerRequest, folder: Path | None) -> dict[str, Any]:
    """The request's parameters, with its files where they refer to them."""
    if not request.FILES:
        return dict(request.parameters)
    found = by_digest(request)

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(item) for item in value]
        if not isinstance(value, dict):
            return value
        file = found.get(value["sha256"]) if is_reference(value) else None
        if file is not None:
            return File.of(file, folder)
        return {key: filled(item) for key, item in value.items()}

    return {name: filled(value) for name, value in request.parameters.items()}
