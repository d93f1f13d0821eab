"""Static files under hashed names, which browsers keep for ever, once they are collected."""

import filecmp
from typing import Any

from django.contrib.staticfiles import finders
from servestatic.storage import CompressedManifestStaticFilesStorage

_OURS = ("djsci/console.js", "djsci/console.css")


class HashedFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Until `collectstatic` has run, or after an upgrade without it, names stay plain."""

    def load_manifest(self) -> tuple[dict[str, str], str]:
        paths, digest = super().load_manifest()
        return (paths, digest) if paths and self._is_current() else ({}, "")

    def _is_current(self) -> bool:
        """Whether the collected console is the installed one."""
        try:
            return all(
                filecmp.cmp(str(finders.find(name)), self.path(name), shallow=False)
                for name in _OURS
            )
        except OSError:
            return False

    def stored_name(self, name: str) -> str:
        return str(super().stored_name(name)) if self.hashed_files else name

    def hashed_name(self, name: str, content: Any = None, filename: str | None = None) -> str:
        try:
            return str(super().hashed_name(name, content, filename))
        except ValueError:  # a source map, say, that its package left out
            return name
