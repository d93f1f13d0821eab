"""Where the console's pages are, below `djsci/`."""

from django.urls import URLPattern, path

from . import frames, pages

console_urls: list[URLPattern] = [
    path("console/", pages.catalogue, name="djsci_console"),
    path("console/files/<str:name_id>/", pages.file_page, name="djsci_file"),
    path("console/files/<str:name_id>/run/", pages.file_run, name="djsci_file_run"),
    path("console/runs/", pages.history, name="djsci_runs"),
    path("console/runs/<str:run_id>/", pages.run_page, name="djsci_run"),
    path("console/runs/<str:run_id>/log.txt", pages.run_log, name="djsci_run_log"),
    path("console/runs/<str:run_id>/cancel/", pages.run_cancel, name="djsci_run_cancel"),
    path(
        "api/v1/runs/<str:run_id>/outputs/<int:seq>/frame/",
        frames.output_frame,
        name="djsci_output_frame",
    ),
]
