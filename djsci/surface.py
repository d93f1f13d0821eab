"""What every HTTP answer below `djsci/` has in common: methods, errors, headers, connections."""

from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from . import problems
from .core.errors import BadMethod, NotFound

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",
}
_NEVER_RUN = ("HEAD", "OPTIONS")


def surface(*methods: str) -> Callable[[View], View]:
    """Serve a view for `methods` (none: any but TRACE, which promises to do nothing).

    HEAD and OPTIONS are answered without it.
    """

    def decorate(view: View) -> View:
        allowed = methods or ("GET", "POST", "PUT", "PATCH", "DELETE")

        async def by_method(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method in _NEVER_RUN:
                return without_content(allowed)
            if request.method == "TRACE" or (methods and request.method not in methods):
                return refused_method(allowed)
            return await view(request, *args, **kwargs)

        return finished(wraps(view)(by_method))

    return decorate


def readable(view: View) -> View:
    """Serve a view of any methods which says itself, by a 405, what it does not serve.

    A HEAD is a GET whose body stays here; `is_head` tells the view to begin nothing.
    """

    async def by_method(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        asked = request.method
        if asked == "HEAD":
            request.method = "GET"
            request.djsci_is_head = True  # type: ignore[attr-defined]
        answer = await view(request, *args, **kwargs)
        request.method = asked
        if answer.status_code == 405:
            allowed = [name.strip() for name in answer.get("Allow", "").split(",")]
            return (without_content if asked in _NEVER_RUN else refused_method)(allowed)
        if asked == "HEAD" and isinstance(answer, HttpResponse):
            answer.setdefault("Content-Length", str(len(answer.content)))
            answer.content = b""
        return answer

    return finished(wraps(view)(by_method))


def finished(view: View) -> View:
    """A view whose errors are problems, whose answers carry our headers, outside a transaction."""

    @wraps(view)
    async def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            if any("\x00" in str(value) for value in kwargs.values()):
                raise NotFound  # no database holds it, and PostgreSQL will not even look
            response = await view(request, *args, **kwargs)
        except Exception as error:
            response = problems.failure(error)
        for name, value in HEADERS.items():
            response.setdefault(name, value)
        if response.status_code == 204:
            del response["Content-Type"]
        return response

    # CSRF is checked by `access.requests`, with the middleware or without it.
    exempt: View = csrf_exempt(non_atomic_requests(answer))
    return exempt


def is_head(request: HttpRequest) -> bool:
    """Whether the view answers a HEAD: headers are wanted, nothing may begin."""
    return getattr(request, "djsci_is_head", False)


def without_content(allowed: Iterable[str]) -> HttpResponse:
    """204 with `Allow`: the answer to HEAD and OPTIONS where nothing may run."""
    answer = HttpResponse(status=204)
    del answer["Content-Type"]
    answer["Allow"] = allow(allowed)
    return answer


def refused_method(allowed: Iterable[str]) -> HttpResponse:
    """405 `bad_method` with `Allow`."""
    answer = problems.response(BadMethod())
    answer["Allow"] = allow(allowed)
    return answer


def allow(methods: Iterable[str]) -> str:
    """The header `Allow`: these methods, and those that never run anything."""
    order = ("GET", "POST", "PUT", "PATCH", "DELETE", *_NEVER_RUN)
    return ", ".join(sorted({*methods, *_NEVER_RUN}, key=order.index))


async def release_connections() -> None:
    """Give back the connection of the request's own thread before a wait or a stream."""
    await sync_to_async(close_old_connections)()


@finished
async def unknown(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
    """404 for what is not served below `djsci/`."""
    raise NotFound
