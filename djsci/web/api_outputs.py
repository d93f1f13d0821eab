"""`runs/<id>/outputs/<seq>/data/`: the bytes of a part that the log holds by reference."""

import json
import re
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from djsci import blobs, calling
from djsci.access.callers import Caller
from djsci.access.database import in_database, in_files
from djsci.core.errors import BadRequest, NotFound
from djsci.runs import log

from . import reading

router = Router(tags=["runs"])
_MIME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}/[a-z0-9][a-z0-9.+-]{0,60}")


@router.get("{run_id}/outputs/{seq}/data/", summary="The bytes of an output held by reference")
async def output_data(
    request: HttpRequest, run_id: str, seq: int, type: str = "application/json"
) -> HttpResponse:
    caller = await calling.signed_in(request)
    if not _MIME.fullmatch(type):
        raise BadRequest("`type` is a MIME type, such as image/png.")

    def look_up() -> str:
        return _reference(_event(caller, run_id, seq), type)

    sha256 = await in_database(look_up)
    answer = calling.attachment(await in_files(blobs.get, sha256), f"{run_id}-{seq}")
    answer["Content-Type"] = type
    return answer


def _event(caller: Caller, run_id: str, seq: int) -> dict[str, Any]:
    reading.watched_run(caller, run_id)
    try:
        page = log.read(run_id, after=seq - 1, events=1)
    except BadRequest as error:
        raise NotFound from error
    if not page.lines:
        raise NotFound
    event: dict[str, Any] = json.loads(page.lines[0])
    return event


def _reference(event: dict[str, Any], mime: str) -> str:
    part: Any = event
    if "data" in event:
        part = event["data"].get(mime)
    elif mime != "application/json":
        raise NotFound
    sha256 = part.get("ref") if isinstance(part, dict) else None
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise NotFound
    return sha256
