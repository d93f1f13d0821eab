"""What API requests carry: strict JSON objects, uploads as a form or as raw bytes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from djsci import calling, conf, form_bodies
from djsci.access.database import in_files
from djsci.core.errors import BadBody, BadParameters, BadRequest, TooLarge
from djsci.core.jsontext import strict_json
from djsci.models import Version

JSON_LIMIT = 1 << 20


async def json_object(request: HttpRequest, known: Collection[str]) -> dict[str, Any]:
    """The body as a JSON object with `known` members; without a body an empty one.

    Raises `BadRequest` for what is no JSON, `BadBody` for JSON that cannot be kept exactly and for
    other members, `TooLarge` over 1 MiB.
    """
    body = await calling.read_body(request, most=JSON_LIMIT)
    if len(body) > JSON_LIMIT:
        raise TooLarge(f"The body has more than {JSON_LIMIT} bytes.")
    is_form = request.content_type == form_bodies.MULTIPART
    if not body.strip() or (is_form and not request.POST and not request.FILES):
        return {}
    try:
        value = await in_files(strict_json, body)
    except BadParameters as error:
        raise BadBody(error.detail, errors=error.errors) from error
    if not isinstance(value, dict):
        raise BadRequest("The body is not a JSON object.")
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise BadBody(
            "The body has members that are not known here.",
            errors=[
                {"field": name, "message": f"There are only {', '.join(known)}."}
                for name in unknown
            ],
        )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """New content: the entry's name, the parts by name, and the form's other fields.

    `is_entry_only`: raw bytes came, so the companions that are there stay.
    """

    entry: str
    files: Mapping[str, bytes]
    fields: Mapping[str, str]
    is_entry_only: bool = False


async def upload(request: HttpRequest, *, present: Version | None = None) -> Upload:
    """The content that a POST or PUT brings.

    A form holds the entry as `file` and companions as `files`. Anything else are the bytes of the
    entry of `present`, whose companions stay. Raises `BadRequest`, `TooLarge`.
    """
    body = await calling.read_body(request, most=conf.get("UPLOAD_LIMIT") + calling.OVERHEAD)
    if request.content_type == form_bodies.MULTIPART:
        return await in_files(_from_form, request, body)
    if present is None:
        message = "Send a form (multipart/form-data) with the entry as `file`."
        raise BadRequest(message, errors=[{"field": "file", "message": message}])
    return Upload(entry=present.entry, files={present.entry: body}, fields={}, is_entry_only=True)


def _from_form(request: HttpRequest, body: bytes) -> Upload:
    fields, parts = form_bodies.read(request, body)
    entries = parts.getlist("file")
    if len(entries) != 1:
        message = "Exactly one `file` is needed: the entry; companions are `files`."
        raise BadRequest(message, errors=[{"field": "file", "message": message}])
    files: dict[str, bytes] = {}
    for part in [*entries, *parts.getlist("files")]:
        name = part.name or ""
        if name in files:
            message = f"Two parts are named {name!r}."
            raise BadRequest(message, errors=[{"field": "files", "message": message}])
        files[name] = part.read()
    return Upload(
        entry=entries[0].name or "",
        files=files,
        fields={key: str(value) for key, value in fields.items()},
    )
