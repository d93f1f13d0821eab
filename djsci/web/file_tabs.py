"""What the pages of one file share: who may come in, the header, the tabs."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from djsci import uploads
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.core.errors import DjsciError
from djsci.models import PrivateFile, Version

from .page import admin_page_of, render


def seen(caller: Caller, name_id: str) -> PrivateFile:
    """The file, for those who may see it."""
    file = uploads.find(name_id)
    permissions.require_see(caller, file)
    return file


def read(caller: Caller, name_id: str) -> PrivateFile:
    """The file, for those who may read its source."""
    file = uploads.find(name_id)
    permissions.require_read(caller, file)
    return file


def changed(caller: Caller, name_id: str) -> PrivateFile:
    """The file, for those who may change it."""
    file = uploads.find(name_id)
    permissions.require_change(caller, file)
    return file


def present(file: PrivateFile) -> tuple[Version | None, DjsciError | None]:
    """The version that a call runs now, or why there is none."""
    try:
        return uploads.current_version(file), None
    except DjsciError as error:
        return None, error


def render_tab(
    request: HttpRequest,
    caller: Caller,
    file: PrivateFile,
    tab: str,
    context: dict[str, Any],
    *,
    status: int = 200,
) -> HttpResponse:
    """A tab of a file's page: the template `file_<tab>.html`."""
    version, problem = (context["version"], None) if context.get("version") else present(file)
    shared = {
        "file": file,
        "version": version,
        "problem": problem,
        "schema": version.parameters if version else {},
        "tab": tab,
        "tabs": _tabs(caller, file),
        "admin_page": admin_page_of(caller, file.pk),
    }
    return render(request, f"file_{tab}.html", {**shared, **context}, caller, status=status)


def _tabs(caller: Caller, file: PrivateFile) -> list[tuple[str, str, str]]:
    may_read = permissions.may_read(caller, file)
    tabs = [("run", "Run", reverse("djsci_file", args=[file.pk]))]
    if may_read:
        tabs.append(("source", "Source", reverse("djsci_file_source", args=[file.pk])))
        tabs.append(("versions", "Versions", reverse("djsci_file_versions", args=[file.pk])))
    tabs.append(("api", "API", reverse("djsci_file_api", args=[file.pk])))
    tabs.append(("runs", "Runs", f"{reverse('djsci_runs')}?file={file.pk}"))
    if permissions.may_change(caller, file) or permissions.may_delete(caller, file):
        tabs.append(("settings", "Settings", reverse("djsci_file_settings", args=[file.pk])))
    return tabs
