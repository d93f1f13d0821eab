"""Where the sockets are, and the whole ASGI application: HTTP below a body cap, and sockets."""

from collections.abc import Awaitable, Callable
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

from .access.body_cap import BodyCap
from .runs import executor
from .web.consumers import CallConsumer, WatchConsumer

Application = Callable[..., Awaitable[None]]

websocket_urlpatterns = [
    re_path(
        r"^djsci/ws/call/(?P<name_id>[^/]+)/?\Z", CallConsumer.as_asgi(), name="djsci_socket_call"
    ),
    re_path(
        r"^djsci/ws/runs/(?P<run_id>[^/]+)/?\Z", WatchConsumer.as_asgi(), name="djsci_socket_run"
    ),
]


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer a socket to nowhere by 403: without a route Channels would raise."""
    await send({"type": "websocket.close"})


def application(
    django_application: Application, *, most_elsewhere: int | None = None
) -> Application:
    """The ASGI application of a project that has nothing but djsci's sockets.

    `most_elsewhere`: the bytes that a body may have on pages that are not djsci's.
    """
    elsewhere: Any = _refuse
    sockets = URLRouter([*websocket_urlpatterns, re_path(r"", elsewhere)])
    capped = BodyCap(django_application, elsewhere=most_elsewhere)
    router = ProtocolTypeRouter({"http": capped, "websocket": sockets})

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        # Not at import, which may be before a fork: this process serves, so it executes.
        executor.start()
        await router(scope, receive, send)

    return serve
