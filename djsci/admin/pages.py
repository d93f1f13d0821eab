"""What the admin's pages share: links, refusals, rows that only djsci writes."""

from collections.abc import Callable

from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from djsci.access import permissions
from djsci.access.requests import caller_of
from djsci.core.errors import DjsciError


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


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that only djsci writes."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
