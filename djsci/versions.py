"""What a version holds: its bytes, compared with its manifest, and its source, read once."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

from djsci.core import sources
from djsci.core.sources import Source

from . import blobs, conf
from .models import Version

CACHED_BYTES = 64 << 20


def contents(version: Version) -> dict[str, bytes]:
    """Every part of a version by name, compared with the manifest. Raises `SourceInvalid`."""
    if manifest_id(version.manifest) != version.sha256:
        raise blobs.BlobChanged
    return {name: blobs.get(sha256) for name, sha256 in version.files.items()}


def manifest_id(manifest: Mapping[str, Any]) -> str:
    """The id of a version: the SHA-256 of its canonical manifest."""
    canonical = json.dumps(
        {"entry": manifest["entry"], "files": manifest["files"]},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


class SourceCache:
    """Sources by version and adapter, bounded by their bytes; the least used goes first."""

    def __init__(self, limit: int = CACHED_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._items: OrderedDict[str, Source] = OrderedDict()
        self._lock = Lock()

    def get(self, sha256: str) -> Source | None:
        with self._lock:
            if sha256 in self._items:
                self._items.move_to_end(sha256)
            return self._items.get(sha256)

    def add(self, sha256: str, source: Source) -> None:
        with self._lock:
            if sha256 in self._items or size_of(source.files) > self._limit:
                return
            self._items[sha256] = source
            self._size += size_of(source.files)
            while self._size > self._limit:
                self._size -= size_of(self._items.popitem(last=False)[1].files)


_sources = SourceCache()


def source(version: Version) -> Source:
    """The source of a version, its bytes compared with the manifest. Raises `SourceInvalid`."""
    if manifest_id(version.manifest) != version.sha256:
        raise blobs.BlobChanged
    key = f"{version.sha256} {version.adapter}"
    found = _sources.get(key)
    if found is None:
        found = sources.read(
            version.entry, contents(version), limits=limits(), adapter=version.adapter
        )
        _sources.add(key, found)
    return found


def limits() -> sources.SourceLimits:
    """The caps that hold before a source is parsed."""
    return sources.SourceLimits(upload=conf.get("UPLOAD_LIMIT"))


def size_of(files: Mapping[str, bytes]) -> int:
    """Bytes of all files together."""
    return sum(map(len, files.values()))
