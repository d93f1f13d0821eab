"""The page of an address below the console at which there is nothing."""

from django.http import HttpRequest, HttpResponse

from djsci.access.callers import Caller
from djsci.core.errors import NotFound

from .page import page


@page("GET", "POST", "PUT", "PATCH", "DELETE")
def unknown(request: HttpRequest, caller: Caller, **kwargs: str) -> HttpResponse:
    """404, as for what is hidden."""
    raise NotFound
