"""How to call a file, and what it takes: for whoever writes a program."""

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from djsci.access import permissions
from djsci.access.callers import Caller

from . import documents, file_tabs, snippets
from .highlight import highlighted
from .page import page
from .source_view import visible


@page("GET")
def file_api(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """Snippets and the JSON Schema of the parameters."""
    file = file_tabs.seen(caller, name_id)
    version, problem = file_tabs.present(file)
    schema = version.parameters if version else {}
    origin = request.build_absolute_uri("/").rstrip("/")
    context = {
        "version": version,
        "problem": problem,
        "snippets": [
            {"snippet": each, "html": highlighted(each.text, each.language)}
            for each in snippets.of_file(origin, documents.root(), file.pk, schema)
        ],
        "schema_html": highlighted(visible(documents.indented(schema)), "json"),
        "requirements": documents.requirements_document(version) if version else None,
        "may_run": permissions.may_run(caller, file),
        "openapi": reverse("djsci_openapi"),
        "docs": reverse("djsci_docs"),
    }
    return file_tabs.render_tab(request, caller, file, "api", context)
