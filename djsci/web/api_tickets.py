"""`api/v1/tickets/`: a ticket that opens one socket, for whoever cannot send a header there."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from djsci import calling, runs, uploads
from djsci.access import permissions, tickets
from djsci.access.callers import Caller
from djsci.access.database import in_database, writing
from djsci.core.errors import BadBody

from . import bodies, documents, handshake

router = Router(tags=["tickets"])


@router.post("", summary="Make a ticket that opens one socket within 30 seconds")
async def make_ticket(request: HttpRequest) -> HttpResponse:
    caller = await calling.signed_in(request, is_unsafe=True)
    body = await bodies.json_object(request, known=("file", "run"))
    named = {key: value for key, value in body.items() if isinstance(value, str) and value}
    if len(body) != 1 or len(named) != 1:
        raise BadBody("Name either a `file` to call or a `run` to follow.")

    @writing()
    def make() -> dict[str, Any]:
        target, path = _target(caller, **named)
        session = getattr(getattr(request, "session", None), "session_key", None)
        text, expires = tickets.make(caller, session_key=session, target=target)
        return {
            "ticket": text,
            "expires": runs.iso(expires),
            "subprotocols": [handshake.PROTOCOL, f"{handshake.TICKET}{text}"],
            "socket": f"{documents.root()}ws/{path}/",
        }

    return documents.answer(await in_database(make), status=201)


def _target(caller: Caller, *, file: str = "", run: str = "") -> tuple[str, str]:
    """What a ticket is bound to, and its socket. Raises as the socket itself would."""
    if run:
        found = runs.get_now(run)
        permissions.require_watch(caller, found)
        return handshake.to_run(found.pk), f"runs/{found.pk}"
    called = uploads.find(file)
    permissions.require_run(caller, called)
    return handshake.to_file(called.pk), f"call/{called.pk}"
