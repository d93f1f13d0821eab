"""Runs in the admin: to look at, and for superusers to remove."""

from collections.abc import Sequence
from typing import Any, cast

from django.contrib import admin
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from djsci.access import audit
from djsci.access.requests import caller_of
from djsci.models import Run

from .pages import ReadOnlyAdmin, is_superuser, page_address, page_link

SHOWN_RESULT = 10_000


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """The history of runs; the live page is one click away."""

    list_display = ("id", "file", "state", "trigger", "user", "created", "elapsed", "page")
    list_filter = ("state", "trigger", "engine", "created")
    list_select_related = ("file", "user")
    search_fields = ("id", "file__name", "file__id")
    ordering = ("-created", "-id")
    show_full_result_count = False
    fields = (
        *("id", "page", "file", "version", "user", "trigger", "state", "reason", "failure"),
        *("created", "started", "ended", "elapsed", "abandoned", "engine", "isolation"),
        *("timeout", "memory", "retries", "starts", "parameters", "shown_result"),
    )
    readonly_fields = fields

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """A filter in the address may not ask, letter by letter, for what no page here shows."""
        is_shown = lookup.partition("__")[0] in (*self.list_filter, "id", "file", "user")
        return is_shown and super().lookup_allowed(lookup, value, request)

    @admin.display(description="live page")
    def page(self, run: Run) -> str:
        return page_link(f"console/runs/{run.pk}/", "Watch")

    def view_on_site(self, obj: Run) -> str | None:
        return page_address(f"console/runs/{obj.pk}/")

    @admin.display(description="error")
    def failure(self, run: Run) -> str:
        """Type and message; the traceback quotes the source, and stays on the live page."""
        error = run.error or {}
        return f"{error.get('ename', '')}: {error.get('evalue', '')}" if error else ""

    @admin.display(description="result")
    def shown_result(self, run: Run) -> str:
        if run.result_ref:
            return f"{run.result_size:,} bytes, on the live page"
        text = run.result or ""
        return text if len(text) <= SHOWN_RESULT else text[:SHOWN_RESULT] + " …"

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return is_superuser(request) and (obj is None or cast(Run, obj).is_final)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            audit.record(caller_of(request), "delete", obj)
            obj.delete()

    def get_deleted_objects(self, objs: "Sequence[Any] | QuerySet[Any]", request: Any) -> Any:
        """A run with its log, which may be too long to be fetched for a list."""
        return [str(run) for run in objs], {"runs": len(objs)}, set(), []
