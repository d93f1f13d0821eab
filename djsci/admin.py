"""The admin: files with their content, settings and grants; runs, tokens and records to look at."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import NoReverseMatch, Resolver404, URLPattern, path, resolve, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import content_disposition_header, urlencode
from django.utils.safestring import SafeString

from . import blobs, uploads
from .access import audit, permissions, tokens
from .access.database import writing
from .access.requests import caller_of
from .core.errors import DjsciError
from .core.events import LIVE
from .forms import SETTINGS, SUPERUSER_FIELDS, FileForm, TokenForm
from .models import Audit, Executor, PrivateFile, Run, Token, Version

LISTED_VERSIONS = 50
SHOWN_RESULT = 10_000
_SAVED_HERE = ("name", "access", "filetype", "notes", "metadata", "owner", "settings", "changed")


def page_address(below_root: str) -> str | None:
    """Where one of djsci's pages is; None where the project does not serve it."""
    try:
        address = f"{reverse('api_root').rstrip('/')}/{below_root}"
        resolve(address)
    except (NoReverseMatch, Resolver404):
        return None
    return address


def page_link(below_root: str, text: str) -> str | SafeString:
    """A link to one of djsci's pages; empty where the project does not serve it."""
    address = page_address(below_root)
    return format_html('<a href="{}">{}</a>', address, text) if address else ""


def is_superuser(request: HttpRequest) -> bool:
    return permissions.may_set_trust(caller_of(request))


def told(request: HttpRequest, serve: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """What `serve` answers; a refusal that no form could foresee becomes a message."""
    try:
        return serve()
    except DjsciError as error:
        messages.error(request, error.detail)
        if request.method == "POST":
            return HttpResponseRedirect(request.get_full_path())
        return HttpResponseRedirect(reverse("admin:djsci_privatefile_changelist"))


def grants(file: PrivateFile) -> dict[str, list[str]]:
    """Who was let in by name, for the audit."""
    return {
        "users": sorted(str(user.pk) for user in file.granted_users.all()),
        "groups": sorted(str(group.pk) for group in file.granted_groups.all()),
    }


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that only djsci writes."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


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
            uploads.save(obj, fields=_SAVED_HERE)
            if form.source is not None:
                uploads.bring(obj, form.source, uploader=request.user)
        if form.is_trust_given() or form.is_trust_taken():
            obj.trusted_version = uploads.current_version(obj) if form.is_trust_given() else None
            obj.save(update_fields=["trusted_version"])
        if form.source is not None:
            audit.record(caller, "upload", obj)
            for warning in form.source.warnings:
                messages.warning(request, warning)
        uploads.record_privileges(caller, obj, before)
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
            uploads.delete(obj)

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


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Make tokens, whose secret is shown once, and revoke them. People see their own."""

    form = TokenForm
    list_display = ("name", "id", "user", "scopes", "expires", "last_used", "revoked")
    list_filter = ("revoked",)
    list_select_related = ("user",)
    search_fields = ("name", "id")
    raw_id_fields = ("user", "files")
    ordering = ("-created", "id")
    actions = ("revoke",)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows = super().get_queryset(request)
        return rows if is_superuser(request) else rows.filter(user=cast(Any, request.user))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        asked = ("name", "user", "scopes", "files", "expires")
        if obj is not None:
            return ("id", *asked, "is_limited_to_files", "created", "last_used", "revoked")
        return tuple(name for name in asked if name != "user" or is_superuser(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_fields(request, obj) if obj is not None else ()

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return type("TokenForm", (form,), {"request": request}) if obj is None else form

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_view_permission(request) or super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        asked = form.cleaned_data
        token, secret = tokens.make(
            asked.get("user") or request.user,
            asked["name"],
            asked["scopes"],
            files=list(asked["files"]) or None,
            expires=asked["expires"],
        )
        audit.record(caller_of(request), "token", token)
        obj.pk = token.pk
        obj.refresh_from_db()
        request.djsci_secret = secret  # type: ignore[attr-defined]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """`tokens.make` has set the files."""

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> Any:
        """Show the secret in this very answer: a message would wait in a session's row."""
        context = {
            **self.admin_site.each_context(request),
            "title": "Copy this token now: it is never shown again",
            "secret": request.djsci_secret,  # type: ignore[attr-defined]
            "token": obj,
            "opts": self.opts,
        }
        response = render(request, "djsci/admin/token_made.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @admin.action(description="Revoke the selected tokens", permissions=("change",))
    def revoke(self, request: HttpRequest, queryset: "QuerySet[Token]") -> None:
        caller = caller_of(request)
        with writing():
            for token in queryset:
                if tokens.revoke(token):
                    audit.record(caller, "token revoked", token)
        messages.success(request, "They are revoked: sockets that used them close soon.")


@admin.register(Executor)
class ExecutorAdmin(ReadOnlyAdmin):
    """The processes that execute runs."""

    list_display = ("host", "pid", "version", "queues", "slots", "busy", "seen", "is_draining")
    ordering = ("-seen",)


@admin.register(Audit)
class AuditAdmin(ReadOnlyAdmin):
    """Who changed a privilege or content."""

    list_display = ("when", "by", "action", "subject", "address")
    list_filter = ("action", "when")
    search_fields = ("subject",)

    @admin.display
    def by(self, row: Audit) -> str:
        return row.detail.get("by") or str(row.user or "-")
