"""The login: five failures in a quarter of an hour, then an address waits."""

import logging
import time
from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse

from djsci import policy
from djsci.access.addresses import client_address, neighbourhood
from djsci.core.errors import LimitReached
from djsci.web import page

logger = logging.getLogger("djsci.login")

MOST_FAILURES = 5
WINDOW = 15 * 60
_here = LocMemCache("djsci-logins", {"MAX_ENTRIES": 10_000})


class Login(LoginView):
    """Counts an attempt before it looks at the password, and takes a success back."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        if isinstance(response, SimpleTemplateResponse):
            response.render()
        return policy.with_policy(request, response)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "nonce": policy.nonce(self.request)}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        where = neighbourhood(client_address(request.META))
        window = int(time.time() // WINDOW)
        self.counter = f"login:{where}:{window}"
        if change(self.counter, 1) > MOST_FAILURES:
            logger.warning("too many failed logins from %s", where)
            return too_many(request, int((window + 1) * WINDOW - time.time()) + 1)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        change(self.counter, -1)
        return super().form_valid(form)


def change(counter: str, by: int) -> int:
    """Add to a counter that all processes share while the cache is there; its new value."""
    for place in (cache, _here):
        try:
            place.add(counter, 0, 2 * WINDOW)
            return int(place.incr(counter, by))
        except Exception as error:
            logger.warning("logins are counted in this process only: %s", type(error).__name__)
    return 0


def too_many(request: HttpRequest, seconds: int) -> HttpResponse:
    """The refusal, without a word on the password."""
    error = LimitReached("Too many failed logins from your address.", retry_after=seconds)
    way = (request.get_full_path(), "Back to the login")
    return page.problem_page(request, error, None, ways=[way])
