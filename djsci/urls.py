"""All URLs: append the list `djsci_urls` to a project's `urlpatterns`."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path, re_path

from . import surface, views
from .web import (
    api,
    frames,
    health,
    metrics,
    pages_api,
    pages_catalogue,
    pages_compare,
    pages_errors,
    pages_files,
    pages_health,
    pages_history,
    pages_runs,
    pages_settings,
    pages_tokens,
    pages_upload,
    pages_versions,
)
from .web.calls import call

View = Callable[..., Any]


def _both(route: str, view: View, name: str | None = None) -> list[URLPattern]:
    """A route with the final slash, which has the name, and without it."""
    return [path(f"{route}/", view, name=name), path(route, view)]


def _api() -> list[URLPattern]:
    views = api.patterns()
    return [
        pattern
        for route, view in views.items()
        for pattern in _both(f"djsci/api/v1/{route}".rstrip("/"), view)
    ]


def _file_pages() -> list[URLPattern]:
    """A file's pages below `console/files/<ref>/`, named `djsci_file_<what>`."""
    views: dict[str, View] = {
        "": pages_files.file_page,
        "run": pages_files.file_run,
        "runs": pages_files.file_runs,
        "source": pages_versions.file_source,
        "versions": pages_versions.file_versions,
        "versions/diff": pages_versions.file_diff,
        "versions/restore": pages_versions.file_restore,
        "api": pages_api.file_api,
        "settings": pages_settings.file_settings,
        "settings/delete": pages_settings.file_delete,
    }
    return [
        pattern
        for route, view in views.items()
        for pattern in _both(
            f"djsci/console/files/<str:name_id>/{route}".rstrip("/"),
            view,
            f"djsci_file_{route.rpartition('/')[2]}".rstrip("_"),
        )
    ]


djsci_urls: list[URLPattern] = [
    *_both("djsci", views.api_root, "api_root"),
    *_both("djsci/sync_py/<str:name_id>", views.sync_py, "sync_py"),
    *_both("djsci/sync_ipynb/<str:name_id>", views.sync_ipynb, "sync_ipynb"),
    re_path(r"^private_files/(?P<path>.*)\Z", views.private_files),
    *_both("djsci/call/<str:name_id>", call, "djsci_call"),
    path("djsci/call/<str:name_id>/<path:path>", call),
    *_both("djsci/api/v1/openapi.json", api.openapi, "djsci_openapi"),
    *_both("djsci/api/v1/docs", api.docs, "djsci_docs"),
    *_both(
        "djsci/api/v1/runs/<str:run_id>/outputs/<int:seq>/frame",
        frames.output_frame,
        "djsci_output_frame",
    ),
    *_both(
        "djsci/api/v1/runs/<str:run_id>/notebook/frame",
        frames.notebook_frame,
        "djsci_notebook_frame",
    ),
    *_api(),
    *_both("djsci/health/live", health.live, "djsci_live"),
    *_both("djsci/health/ready", health.ready, "djsci_ready"),
    *_both("djsci/metrics", metrics.metrics, "djsci_metrics"),
    *_both("djsci/console", pages_catalogue.catalogue, "djsci_console"),
    *_both("djsci/console/files/new", pages_upload.file_new, "djsci_file_new"),
    *_file_pages(),
    *_both("djsci/console/tokens", pages_tokens.token_list, "djsci_tokens"),
    *_both(
        "djsci/console/tokens/<str:token_id>/revoke",
        pages_tokens.token_revoke,
        "djsci_token_revoke",
    ),
    *_both("djsci/console/health", pages_health.health_page, "djsci_health"),
    *_both("djsci/console/runs", pages_history.history, "djsci_runs"),
    *_both("djsci/console/runs/news", pages_history.news, "djsci_runs_news"),
    *_both("djsci/console/runs/cancel", pages_history.cancel_many, "djsci_runs_cancel"),
    *_both("djsci/console/runs/compare", pages_compare.compare, "djsci_runs_compare"),
    *_both("djsci/console/runs/<str:run_id>", pages_runs.run_page, "djsci_run"),
    *_both("djsci/console/runs/<str:run_id>/cancel", pages_runs.run_cancel, "djsci_run_cancel"),
    *_both("djsci/console/runs/<str:run_id>/again", pages_runs.run_again, "djsci_run_again"),
    *_both(
        "djsci/console/runs/<str:run_id>/notebook", pages_runs.run_notebook, "djsci_run_notebook"
    ),
    *_both("djsci/console/runs/<str:run_id>/log.txt", pages_runs.run_log, "djsci_run_log"),
    re_path(r"^djsci/console/[\s\S]*\Z", pages_errors.unknown),
    re_path(r"^djsci/[\s\S]*\Z", surface.unknown),
]
