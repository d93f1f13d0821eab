"""What the API's operations take and answer, as OpenAPI says it."""

from typing import Any

from djsci.access.tokens import SCOPES
from djsci.core.events import FINAL, LIVE

Schema = dict[str, Any]
_JSON = "application/json"


def _object(required: str = "", optional: str = "", **properties: Schema) -> Schema:
    """An object; members named without a schema are texts."""
    names = [*required.split(), *optional.split(), *properties]
    members = {name: properties.get(name, {"type": "string"}) for name in names}
    needed = [name for name in names if name not in optional.split()]
    return {"type": "object", "properties": members, "required": needed}


def _maybe(kind: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], **more}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str) -> Schema:
    return _object(items={"type": "array", "items": _reference(name)}, next=_maybe("string"))


_TIME = {"type": "string", "format": "date-time"}
_MAYBE_TIME = _maybe("string", format="date-time")
_TEXTS = {"type": "array", "items": {"type": "string"}}
_BYTES = {"type": "string", "contentMediaType": "application/octet-stream"}
_ERROR = _object(
    "ename evalue",
    cell=_maybe("integer"),
    line=_maybe("integer"),
    traceback={**_TEXTS, "description": "For those who may read the source."},
)
_RUN = _object(
    "id version trigger engine isolation",
    file=_object("id", name=_maybe("string")),
    state={"enum": [*LIVE, *FINAL]},
    created=_TIME,
    started=_MAYBE_TIME,
    ended=_MAYBE_TIME,
    user=_maybe("string"),
    attempt={"type": "integer"},
    parameters={"type": "object"},
    result={},
    result_ref={"oneOf": [_object("ref", size={"type": "integer"}), {"type": "null"}]},
    error={"oneOf": [_ERROR, {"type": "null"}]},
    links=_object("self events result cancel page socket"),
)
_FILE = _object(
    "id",
    name=_maybe("string"),
    kind=_maybe("string", enum=["py", "ipynb", None]),
    version=_maybe("string"),
    entry=_maybe("string"),
    files={"type": "object", "additionalProperties": {"type": "string"}},
    access={"enum": ["private", "authenticated"]},
    owner=_maybe("string"),
    settings={"type": "object"},
    parameters=_maybe("object", description="The JSON Schema of the handler's parameters."),
    adapter=_maybe("string"),
    created=_MAYBE_TIME,
    changed=_MAYBE_TIME,
    links=_object("self runs source versions call page socket"),
)
_VERSION = _object(
    "version kind entry",
    files=_FILE["properties"]["files"],
    parameters={"type": "object"},
    uploader=_maybe("string"),
    created=_TIME,
)
_TOKEN = _object(
    "id name",
    scopes={"type": "array", "items": {"enum": list(SCOPES)}},
    files={"type": ["array", "null"], "items": {"type": "string"}},
    created=_TIME,
    expires=_MAYBE_TIME,
    last_used=_MAYBE_TIME,
    revoked=_MAYBE_TIME,
)
_EVENT = {
    **_object("type", seq={"type": "integer", "minimum": 1}, t={"type": "number"}),
    "description": "More fields by type; unknown types are to be ignored.",
}
_EVENTS = _object(
    events={"type": "array", "items": _reference("Event")},
    after={"type": "integer"},
    ended={"type": "boolean"},
)
_ARTIFACT = _object("name content_type sha256 ref", size={"type": "integer"})
_PROBLEM = _object(
    "type title detail",
    "run",
    status={"type": "integer"},
)
_PROBLEM["properties"] |= {
    "errors": {"type": "array", "items": {"type": "object"}},
    "error": _ERROR,
}
SCHEMAS = {
    "Run": _RUN,
    "File": _FILE,
    "Version": _VERSION,
    "Token": _TOKEN,
    "Event": _EVENT,
    "Artifact": _ARTIFACT,
    "Problem": _PROBLEM,
}
PROBLEM = {
    "description": "What went wrong.",
    "content": {"application/problem+json": {"schema": _reference("Problem")}},
}


def _answer(description: str, schema: Schema | None, *more: str, kind: str = _JSON) -> Schema:
    if schema is None:
        return {"description": description}
    content = {kind: {"schema": schema}} | {name: {"schema": {"type": "string"}} for name in more}
    return {"description": description, "content": content}


def _takes(schema: Schema, kind: str = _JSON, *, is_needed: bool = True) -> Schema:
    return {"required": is_needed, "content": {kind: {"schema": schema}}}


_run, _file = _reference("Run"), _reference("File")
_FORM = _object("file", "name access")
_FORM["properties"] |= {"file": _BYTES, "files": {"type": "array", "items": _BYTES}}
_STARTED = _answer("The run has been accepted.", _run)
_SOURCE = _answer("The bytes.", _BYTES, kind="application/octet-stream")
_SECRET = {"allOf": [_reference("Token"), _object("secret")]}
_NEW_TOKEN = _object(
    "name",
    "expires",
    scopes=_TOKEN["properties"]["scopes"],
)
_NEW_TOKEN["properties"] |= {"files": _TOKEN["properties"]["files"], "expires": _MAYBE_TIME}
_TICKET = _object("ticket expires socket")
_TICKET["properties"]["subprotocols"] = {"type": "array", "items": {"type": "string"}}
_FOR_TICKET: Schema = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("file", "run")},
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}
_CHANGE: Schema = {
    "type": "object",
    "properties": {name: _FILE["properties"][name] for name in ("name", "access", "settings")},
}
ANSWERS: dict[tuple[str, str], dict[str, Schema]] = {
    ("get", "files/"): {"200": _answer("Files, the newest first.", _list("File"))},
    ("post", "files/"): {"201": _answer("The new file.", _file)},
    ("get", "files/{ref}/"): {"200": _answer("The file.", _file)},
    ("put", "files/{ref}/"): {"200": _answer("The file with its new version.", _file)},
    ("patch", "files/{ref}/"): {"200": _answer("The file as it is now.", _file)},
    ("delete", "files/{ref}/"): {"204": _answer("It is gone.", None)},
    ("get", "files/{ref}/source/"): {"200": _SOURCE},
    ("get", "files/{ref}/source/{name}"): {"200": _SOURCE},
    ("get", "files/{ref}/versions/"): {"200": _answer("Versions.", _list("Version"))},
    ("post", "files/{ref}/runs/"): {
        "200": _answer("The run, which has ended in the time that `Prefer` gives.", _run),
        "202": _STARTED,
    },
    ("get", "runs/"): {"200": _answer("Runs, the newest first.", _list("Run"))},
    ("get", "runs/{run_id}/"): {"200": _answer("The run.", _run)},
    ("get", "runs/{run_id}/events/"): {
        "200": _answer("Events.", _EVENTS, "text/event-stream", "application/x-ndjson"),
        "204": _answer("The run has ended and nothing is left (streams only).", None),
    },
    ("get", "runs/{run_id}/result/"): {"200": _answer("What the handler returned.", {})},
    ("post", "runs/{run_id}/cancel/"): {
        "200": _answer("The run, which was asked before or has ended.", _run),
        "202": _answer("The run, which is asked to stop.", _run),
    },
    ("get", "runs/{run_id}/outputs/{seq}/data/"): {"200": _SOURCE},
    ("get", "runs/{run_id}/notebook/"): {
        "200": _answer("The notebook.", {"type": "object"}, kind="application/x-ipynb+json")
    },
    ("get", "runs/{run_id}/artifacts/"): {"200": _answer("Its artifacts.", _list("Artifact"))},
    ("get", "runs/{run_id}/artifacts/{name}"): {"200": _SOURCE},
    ("get", "tokens/"): {"200": _answer("Your tokens, the newest first.", _list("Token"))},
    ("post", "tokens/"): {"201": _answer("The token and its secret.", _SECRET)},
    ("post", "tickets/"): {"201": _answer("The ticket, and how it is offered.", _TICKET)},
    ("delete", "tokens/{token_id}/"): {"204": _answer("It is revoked.", None)},
}
BODIES: dict[tuple[str, str], Schema] = {
    ("post", "files/"): _takes(_FORM, "multipart/form-data"),
    ("put", "files/{ref}/"): {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/octet-stream": {"schema": _BYTES},
        },
    },
    ("patch", "files/{ref}/"): _takes(_CHANGE),
    ("post", "files/{ref}/runs/"): _takes(
        {"type": "object", "properties": {"parameters": {"type": "object"}}}, is_needed=False
    ),
    ("post", "runs/{run_id}/cancel/"): _takes(
        {"type": "object", "properties": {"force": {"type": "boolean"}}}, is_needed=False
    ),
    ("post", "tokens/"): _takes(_NEW_TOKEN),
    ("post", "tickets/"): _takes(_FOR_TICKET),
}
HEADERS: dict[tuple[str, str], dict[str, str]] = {
    ("put", "files/{ref}/"): {"If-Match": 'The version that is replaced: `"<version>"`.'},
    ("post", "files/{ref}/runs/"): {
        "Prefer": "`wait=N`: answer when the run has ended, or after N seconds (at most 300).",
        "Idempotency-Key": "The same key and body find the same run for 24 hours.",
    },
    ("get", "runs/{run_id}/events/"): {"Last-Event-ID": "The last seq seen; wins over `after`."},
}
