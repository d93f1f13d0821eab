"""Is this process alive, and can it serve: for probes."""

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from djsci import calling, surface

from . import documents, readiness


@surface.readable
async def live(request: HttpRequest) -> HttpResponseBase:
    """This process's loop turns."""
    if request.method != "GET":
        return surface.refused_method(("GET",))
    return documents.answer({"status": "ok"})


@surface.readable
async def ready(request: HttpRequest) -> HttpResponseBase:
    """503 for what this process lacks, 200 `degraded` for what others lack; staff see why."""
    if request.method != "GET":
        return surface.refused_method(("GET",))
    found = await readiness.checked()
    wrong = {name: reason for name, reason in found.items() if reason}
    failed = [name for name in wrong if name in readiness.OWN]
    body: dict[str, Any] = {
        "status": "unavailable" if failed else "degraded" if wrong else "ok",
        "checks": {name: "failed" if name in wrong else "ok" for name in found},
    }
    if wrong and "database" not in failed and await calling.is_staff(request):
        body["details"] = wrong
    answer = documents.answer(body, status=503 if failed else 200)
    if failed:
        answer["Retry-After"] = "5"
    return answer
