"""Artifacts on their way from an engine to the log: the event, still with its bytes."""

import hashlib
import mimetypes
from dataclasses import dataclass, field

from .events import Artifact

_TYPES = mimetypes.MimeTypes()  # Python's own list: the same on every host
_MORE = {
    ".arrow": "application/vnd.apache.arrow.file",
    ".ipynb": "application/x-ipynb+json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".ndjson": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
for _ending, _kind in _MORE.items():
    _TYPES.add_type(_kind, _ending)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactContent(Artifact):
    """What a worker sent; the recorder stores `content` and writes the event with its SHA-256."""

    sha256: str = ""
    content: bytes = field(repr=False)

    def stored(self, sha256: str) -> Artifact:
        """The event that the log has, once the bytes are stored."""
        return Artifact(
            name=self.name, size=self.size, content_type=self.content_type, sha256=sha256
        )

    def to_json(self) -> str:
        return self.stored(hashlib.sha256(self.content).hexdigest()).to_json()


def content_type(name: str) -> str:
    """By the name's ending, since nothing else is known; bytes where that says nothing."""
    kind, encoding = _TYPES.guess_type(name, strict=True)
    return _COMPRESSED.get(encoding or "", kind or "") or "application/octet-stream"
