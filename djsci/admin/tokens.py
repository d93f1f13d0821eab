"""Tokens in the admin: made, shown once, revoked."""

from typing import Any, cast

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.shortcuts import render

from djsci.access import audit, tokens
from djsci.access.database import writing
from djsci.access.requests import caller_of
from djsci.forms import TokenForm
from djsci.models import Token

from .pages import is_superuser


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
