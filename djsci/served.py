"""System checks of what the project serves: no stored content, all of the console's files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.checks import CheckMessage, Warning
from django.core.files.storage import InvalidStorageError, storages
from django.urls import Resolver404, resolve
from django.views.static import serve

from . import conf

_ASSETS = ("djsci/console.js", "djsci/console.css")


def stored_content() -> Iterator[CheckMessage]:
    """Content that the project itself would serve to anyone."""
    folder = _folder()
    if folder is None:
        return
    roots: list[Any] = [settings.STATIC_ROOT, *settings.STATICFILES_DIRS]
    paths = [root[1] if isinstance(root, list | tuple) else root for root in roots]
    is_public = any(folder.is_relative_to(Path(path).resolve()) for path in paths if path)
    if is_public or _is_served(folder):
        text = f"DJSCI['STORAGE']: the project serves {folder} to anyone, with the source of files."
        hint = "Give STORAGES an alias of its own, in a folder that no URL reaches."
        yield Warning(text, hint=hint, id="djsci.W005")


def _folder() -> Path | None:
    """Where the storage keeps its content; None when that is no folder of this host."""
    alias = conf.get("STORAGE")
    if alias not in settings.STORAGES:
        return None
    try:
        return Path(storages[alias].path("private_files")).resolve()
    except (NotImplementedError, InvalidStorageError):
        return None


def _is_served(folder: Path) -> bool:
    """Whether `static(MEDIA_URL, …)` is among the project's URLs, above the folder."""
    url = str(settings.MEDIA_URL)
    if not url.startswith("/") or url == "/" or not hasattr(settings, "ROOT_URLCONF"):
        return False
    try:
        found = resolve(f"{url}private_files/x")
    except Resolver404:
        return False
    root = found.kwargs.get("document_root")
    if found.func is not serve or not root:
        return False
    return folder.is_relative_to(Path(root).resolve())


def static_files() -> Iterator[CheckMessage]:
    """The console's script and style, where the project's own server or `collectstatic` looks."""
    missing = [name for name in _ASSETS if settings.STATIC_URL and finders.find(name) is None]
    if missing or not settings.STATIC_URL:
        why = (
            f"no static finder sees {' and '.join(missing)}" if missing else "STATIC_URL is not set"
        )
        text = f"The console's pages have no script and no style: {why}."
        hint = (
            "Set STATIC_URL, and keep django.contrib.staticfiles.finders.AppDirectoriesFinder in"
            " STATICFILES_FINDERS, with djsci in INSTALLED_APPS."
        )
        yield Warning(text, hint=hint, id="djsci.W008")
