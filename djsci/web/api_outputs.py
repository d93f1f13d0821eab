"""`runs/<id>/outputs/<seq>/data/`: the bytes of one part of an output, by reference or not."""

import base64
import binascii
import json
import re
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from djsci import blobs, calling
from djsci.access.callers import Caller
from djsci.access.database import in_database, in_files
from djsci.core.errors import BadRequest, NotFound
from djsci.core.events import dumps
from djsci.runs import log

from . import reading

router = Router(tags=["runs"])
_ENDINGS = {
    "text/html": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/latex": ".tex",
    "application/javascript": ".js",
    "application/json": ".json",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/svg+xml": ".svg",
}
_MIME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}/[a-z0-9][a-z0-9.+-]{0,60}")


@router.get("{run_id}/outputs/{seq}/data/", summary="The bytes of one part of an output")
async def output_data(
    request: HttpRequest, run_id: str, seq: int, type: str = "application/json"
) -> HttpResponse:
    caller = await calling.signed_in(request)
    if not _MIME.fullmatch(type):
        raise BadRequest("`type` is a MIME type, such as image/png.")

    def look_up() -> str | bytes:
        return _part(_event(caller, run_id, seq), type)

    found = await in_database(look_up)
    content = found if isinstance(found, bytes) else await in_files(blobs.get, found)
    answer = calling.attachment(content, f"{run_id}-{seq}{_ENDINGS.get(type, '')}")
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


def _part(event: dict[str, Any], mime: str) -> str | bytes:
    """The part's bytes, or the SHA-256 of the blob that holds them. Raises `NotFound`."""
    part: Any = event
    if "data" in event:
        part = event["data"].get(mime)
    elif mime != "application/json":
        raise NotFound
    sha256 = part.get("ref") if isinstance(part, dict) else None
    if isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256):
        return sha256
    if part is None or "data" not in event:
        raise NotFound
    return _inline(part, mime)


def _inline(part: Any, mime: str) -> bytes:
    if mime.endswith("json"):
        return dumps(part).encode()
    text = "".join(part) if isinstance(part, list) else str(part)
    if not mime.startswith("image/") or mime == "image/svg+xml":
        return text.encode()
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return text.encode()
