"""Files in the admin: upload, look at, rename, open to others, trust and remove them."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.http import content_disposition_header, urlencode
from django.utils.safestring import SafeString

from djsci import blobs, changes, uploads
from djsci.access import audit, permissions
from djsci.access.database import writing
from djsci.access.requests import caller_of
from djsci.core.errors import DjsciError
from djsci.core.events import LIVE
from djsci.forms import SETTINGS, SUPERUSER_FIELDS, FileForm
from djsci.models import PrivateFile, Run, Version

from .pages import is_superuser, page_address, page_link, told

LISTED_VERSIONS = 50
_SAVED_HERE = ("name", "access", "filetype", "notes", "metadata", "owner", "settings", "changed")


def grants(file: PrivateFile) -> dict[str, list[str]]:
    """Who was let in by name, for the audit."""
    return {
        "users": sorted(str(user.pk) for user in file.granted_users.all()),
        "groups": sorted(str(group.pk) for group in file.granted_groups.all()),
    }


@admin.register(PrivateFile)
class PrivateFileAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Upload, look at, rename, open to others, trust and remove files."""

    form = FileForm
    list_display = ("shown_name", "id", "kind", "access", "owner", "is_trusted", "changed", "run")
    list_filter = ("access",)
    list_select_related = ("owner", "version")
    search_fields = ("name", "id", "notes")
    filter_horizontal = ("granted_groups",)
    raw_id_fields = ("owner", "granted_users")
    readonly_fields = ("id", "run", "content", "versions_listed", "created", "changed")
    ordering = ("-created", "id")

    @admin.display(description="name", ordering="name")
    def shown_name(self, file: PrivateFile) -> str:
        return (file.name or "").strip() or "(no name)"

    @admin.display
    def kind(self, file: PrivateFile) -> str:
        return file.version.kind if file.version else ""

    @admin.display(boolean=True, description="trusted")
    def is_trusted(self, file: PrivateFile) -> bool:
        return file.is_trusted

    @admin.display(description="run")
    def run(self, file: PrivateFile) -> str:
        return page_link(f"console/files/{file.pk}/", "Run / open console")

    def view_on_site(self, obj: PrivateFile) -> str | None:
        return page_address(f"console/files/{obj.pk}/")

    @admin.display(description="present content")
    def content(self, file: PrivateFile) -> str:
        try:
            return self._links(file, uploads.current_version(file))
        except DjsciError as error:
            return error.detail

    @admin.display(description="versions, newest first")
    def versions_listed(self, file: PrivateFile) -> str:
        versions = file.versions.select_related("uploader")[:LISTED_VERSIONS]
        rows = [
            (
                version.sha256[:12],
                version.created,
                version.uploader or "-",
                self._links(file, version),
            )
            for version in versions
        ]
        return format_html_join("", "<p><code>{}</code> {} by {}: {}</p>", rows)

    def _links(self, file: PrivateFile, version: Version) -> SafeString:
        route = f"{self.admin_site.name}:djsci_privatefile_source"
        address = reverse(route, args=(quote(file.pk), version.pk))
        others = sorted(name for name in version.files if name != version.entry)
        links = [(address, urlencode({"name": n}), n) for n in (version.entry, *others)]
        return format_html_join(", ", '<a href="{}?{}">{}</a>', links)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            about = ("name", "access", "owner", "notes", "filetype", "metadata")
            return ((None, {"fields": (*about, *self.readonly_fields)}),)
        hidden = () if is_superuser(request) else SUPERUSER_FIELDS
        content = ("file", "files", "keep_companions") if obj else ("file", "files")
        shown: dict[str | None, tuple[str, ...]] = {
            None: ("name", *content, "notes", "filetype", "metadata"),
            "Who may run it": ("access", "granted_users", "granted_groups", "owner"),
            "How it runs": (*SETTINGS, "connections", "trusted", "read_version"),
        }
        if obj is not None:
            shown["Stored"] = self.readonly_fields
        return tuple(
            (title, {"fields": tuple(name for name in fields if name not in hidden)})
            for title, fields in shown.items()
        )

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return type("FileForm", (form,), {"request": request})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Store what the form holds; a version only where content was given."""
        caller, before = caller_of(request), form.former_privileges
        if not change:
            obj.owner = obj.owner or request.user
            before["owner"] = str(obj.owner_id)
            uploads.add(obj, form.source, uploader=request.user)
        else:
            changes.save(obj, fields=_SAVED_HERE)
            if form.source is not None:
                uploads.bring(obj, form.source, uploader=request.user)
        if form.is_trust_given() or form.is_trust_taken():
            obj.trusted_version = uploads.current_version(obj) if form.is_trust_given() else None
            obj.save(update_fields=["trusted_version"])
        if form.source is not None:
            audit.record(caller, "upload", obj)
            for warning in form.source.warnings:
                messages.warning(request, warning)
        changes.record_privileges(caller, obj, before)
        if form.was_trusted and form.source is not None and not obj.is_trusted:
            messages.warning(request, "The new content is not trusted: only the former was.")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        before = grants(form.instance)
        super().save_related(request, form, formsets, change)
        after = grants(form.instance)
        if after != before:
            audit.record(caller_of(request), "grant", form.instance, before=before, now=after)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        serve = super().changeform_view
        return told(request, lambda: serve(request, *args, **kwargs))

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        serve = super().delete_view
        return told(request, lambda: serve(request, *args, **kwargs))

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        serve = super().changelist_view
        return told(request, lambda: serve(request, *args, **kwargs))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            audit.record(caller_of(request), "delete", obj)
            changes.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        with writing():
            for file in queryset:
                self.delete_model(request, file)

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        """Runs and versions go with their file: no rights on them are asked for."""
        files = list(objs)
        runs = Run.objects.filter(file__in=files)
        live = [f"{run.file}: run {run.pk} is live" for run in runs.filter(state__in=LIVE)]
        counts = {"files": len(files), "runs": runs.count()}
        missing = set() if self.has_delete_permission(request) else {"private file"}
        return [str(file) for file in files], counts, missing, live

    def get_urls(self) -> list[URLPattern]:
        source = path(
            "<path:object_id>/source/<int:version_id>/",
            self.admin_site.admin_view(self.source_view),
            name="djsci_privatefile_source",
        )
        return [source, *super().get_urls()]

    def source_view(
        self, request: HttpRequest, object_id: str, version_id: int
    ) -> HttpResponseBase:
        """One part of a version, for those who may read the source."""
        file = self.get_object(request, unquote(object_id))
        if file is None or not permissions.may_read(caller_of(request), file):
            raise Http404 if self.has_view_permission(request) else PermissionDenied
        version = file.versions.filter(pk=version_id).first()
        name = request.GET.get("name") or (version.entry if version else "")
        if version is None or name not in version.files:
            raise Http404

        def download() -> HttpResponse:
            content = blobs.get(version.files[name])
            saved = content_disposition_header(as_attachment=True, filename=name)
            answer = HttpResponse(content, content_type="application/octet-stream")
            answer["Content-Disposition"] = saved or "attachment"
            answer["X-Content-Type-Options"] = "nosniff"
            return answer

        return told(request, download)
