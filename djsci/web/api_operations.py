"""What each operation of the API takes and answers by itself, as OpenAPI says it."""

from typing import Any

from .api_schemas import (
    ACCESS,
    JSON,
    MAYBE_TIME,
    SCHEMAS,
    SETTINGS,
    Schema,
    a_list,
    an_object,
    closed,
    header,
    maybe,
    reference,
    refused,
)
from .tables import ARROW, CSV

Key = tuple[str, str]
_EVERYWHERE = (400, 401, 403, 429, 503)
_BYTES = {"type": "string", "contentMediaType": "application/octet-stream"}
_run, _file = reference("Run"), reference("File")
_ETAG = {"ETag": header('The version: `"<version>"`.', is_always=False)}
_LOCATION = {"Location": header("Where it is from now on.")}
_APPLIED = {"Preference-Applied": header("The `wait` that was kept.", is_always=False)}
_SAVED = {"Content-Disposition": header("`attachment`, with a name to save it by.")}


def answer(
    description: str, schema: Schema | None = None, *kinds: str, **headers: Schema
) -> Schema:
    """One answer: without a schema it has no content; after JSON the other `kinds` it may be."""
    said: Schema = {"description": description, "headers": headers}
    if schema is None:
        return said
    more: dict[str, Schema] = {kind: {"schema": {"type": "string"}} for kind in kinds}
    return {**said, "content": {JSON: {"schema": schema}, **more}}


def _saved(description: str, kind: str, schema: Schema, **headers: Schema) -> Schema:
    content = {kind: {"schema": schema}}
    return {"description": description, "headers": {**_SAVED, **headers}, "content": content}


def _takes(schema: Schema, kind: str = JSON, *, is_needed: bool = True) -> Schema:
    return {"required": is_needed, "content": {kind: {"schema": schema}}}


def _links(name: str, *operations: str) -> dict[str, Schema]:
    """What may be asked next, where the answer's `id` is the parameter `name`."""
    parameters = {name: "$response.body#/id"}
    return {each: {"operationId": each, "parameters": parameters} for each in operations}


_OF_RUN = _links(
    "run_id",
    "runs_show_run",
    "runs_read_events",
    "runs_read_result",
    "runs_cancel_run",
    "artifacts_list_artifacts",
    "notebook_read_notebook",
)
_OF_FILE = _links(
    "ref",
    "files_show_file",
    "files_replace_file",
    "files_change_file",
    "files_delete_file",
    "files_entry_source",
    "files_list_versions",
    "runs_start_run",
)
_SOURCE = _saved("The bytes.", "application/octet-stream", _BYTES)
STARTED = answer("The run has been accepted.", _run, **_LOCATION, **_APPLIED)
_ENDED = answer("The run, which has ended in the time that `Prefer` gives.", _run, **_APPLIED)
_SECRET = {"allOf": [reference("Token"), an_object("secret")]}
_TICKET = an_object(
    "ticket expires socket", subprotocols={"type": "array", "items": {"type": "string"}}
)
ANSWERS: dict[Key, dict[str, Schema]] = {
    ("get", "files/"): {"200": answer("Files, the newest first.", a_list("File"))},
    ("post", "files/"): {
        "201": {**answer("The new file.", _file, **_LOCATION, **_ETAG), "links": _OF_FILE},
        **refused(409, 413, 415, 422),
    },
    ("get", "files/{ref}/"): {"200": answer("The file.", _file, **_ETAG)},
    ("put", "files/{ref}/"): {
        "200": answer("The file with its new version.", _file, **_ETAG),
        **refused(409, 412, 413, 415, 422),
    },
    ("patch", "files/{ref}/"): {
        "200": answer("The file as it is now.", _file, **_ETAG),
        **refused(409, 413, 422),
    },
    ("delete", "files/{ref}/"): {"204": answer("It is gone."), **refused(409, 413)},
    ("get", "files/{ref}/source/"): {"200": _SOURCE, **refused(413, 415, 422)},
    ("get", "files/{ref}/source/{name}"): {"200": _SOURCE, **refused(413, 415, 422)},
    ("get", "files/{ref}/versions/"): {"200": answer("Versions.", a_list("Version"))},
    ("post", "files/{ref}/runs/"): {
        "200": {**_ENDED, "links": _OF_RUN},
        "202": {**STARTED, "links": _OF_RUN},
        **refused(409, 413, 415, 422),
    },
    ("get", "runs/"): {"200": answer("Runs, the newest first.", a_list("Run"))},
    ("get", "runs/{run_id}/"): {"200": answer("The run.", _run)},
    ("get", "runs/{run_id}/events/"): {
        "200": answer("Events.", reference("Events"), "text/event-stream", "application/x-ndjson"),
        "204": answer("The run has ended and nothing is left (streams only)."),
        **refused(410),
    },
    ("get", "runs/{run_id}/result/"): {
        "200": answer("What the handler returned; tables by `Accept`.", {}, CSV, ARROW),
        **refused(409, 422, 500),
    },
    ("post", "runs/{run_id}/cancel/"): {
        "200": answer("The run, which was asked before or has ended.", _run),
        "202": answer("The run, which is asked to stop.", _run, **_LOCATION),
        **refused(413, 422),
    },
    ("get", "runs/{run_id}/outputs/{seq}/data/"): {
        "200": _saved("The bytes, of the type asked for.", "*/*", {}),
        **refused(410),
    },
    ("get", "runs/{run_id}/notebook/"): {
        "200": _saved("The notebook.", "application/x-ipynb+json", {"type": "object"}),
        **refused(409, 410),
    },
    ("get", "runs/{run_id}/artifacts/"): {
        "200": answer("Its artifacts.", a_list("Artifact")),
        **refused(410),
    },
    ("get", "runs/{run_id}/artifacts/{name}"): {
        "200": _saved("The bytes.", "*/*", {}, ETag=header("Its SHA-256.")),
        **refused(410),
    },
    ("get", "tokens/"): {"200": answer("Your tokens, the newest first.", a_list("Token"))},
    ("post", "tokens/"): {
        "201": answer("The token and its secret.", _SECRET),
        **refused(413, 422),
    },
    ("post", "tickets/"): {
        "201": answer("The ticket, and how it is offered.", _TICKET),
        **refused(404, 413, 422),
    },
    ("delete", "tokens/{token_id}/"): {"204": answer("It is revoked."), **refused(413)},
}
_FORM = an_object(
    "file",
    "name access files",
    file=_BYTES,
    access=ACCESS,
    files={"type": "array", "items": _BYTES},
)
_NAMED = {"type": "string", "minLength": 1}
_TOKEN = SCHEMAS["Token"]["properties"]
BODIES: dict[Key, Schema] = {
    ("post", "files/"): _takes(_FORM, "multipart/form-data"),
    ("put", "files/{ref}/"): {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/octet-stream": {"schema": _BYTES},
        },
    },
    ("patch", "files/{ref}/"): _takes(
        closed(
            an_object(
                "",
                "name access settings",
                name=maybe("string"),
                access=ACCESS,
                settings=SETTINGS,
            )
        ),
        is_needed=False,
    ),
    ("post", "files/{ref}/runs/"): _takes(
        closed(an_object("", "parameters", parameters={"type": "object"})), is_needed=False
    ),
    ("post", "runs/{run_id}/cancel/"): _takes(
        closed(an_object("", "force", force={"type": "boolean"})), is_needed=False
    ),
    ("post", "tokens/"): _takes(
        closed(
            an_object(
                "",
                "files expires",
                name=_NAMED,
                scopes={**_TOKEN["scopes"], "minItems": 1},
                files=_TOKEN["files"],
                expires=MAYBE_TIME,
            )
        )
    ),
    ("post", "tickets/"): _takes(
        {**closed(an_object("", "file run", file=_NAMED, run=_NAMED)), "minProperties": 1}
        | {"maxProperties": 1}
    ),
}
PREFER = {
    "in": "header",
    "name": "Prefer",
    "description": "`wait=N`: answer when the run has ended, or after N seconds (at most 300).",
    "schema": {"type": "string"},
}
HEADERS: dict[Key, list[Schema]] = {
    ("put", "files/{ref}/"): [
        {
            "in": "header",
            "name": "If-Match",
            "description": 'The version that is replaced: `"<version>"`.',
            "schema": {"type": "string"},
        }
    ],
    ("post", "files/{ref}/runs/"): [
        PREFER,
        {
            "in": "header",
            "name": "Idempotency-Key",
            "description": "The same key and body find the same run for 24 hours.",
            "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
        },
    ],
    ("get", "runs/{run_id}/events/"): [
        {
            "in": "header",
            "name": "Last-Event-ID",
            "description": "The last seq seen; wins over `after` (streams only).",
            "schema": {"type": "string"},
        }
    ],
}


def complete(operation: dict[str, Any], key: Key) -> None:
    """Say what the views read and answer by themselves."""
    path = key[1]
    operation["operationId"] = operation["operationId"].rpartition("_api_")[2]
    missing = (404,) if "{" in path else ()
    operation["responses"] = {**ANSWERS[key], **refused(*_EVERYWHERE, *missing)}
    if key in BODIES:
        operation["requestBody"] = BODIES[key]
    parameters = [*operation.get("parameters", []), *HEADERS.get(key, [])]
    operation["parameters"] = [_plain(parameter) for parameter in parameters]
    if path.startswith("tokens/"):
        operation["security"] = [{"session": []}]


def _plain(parameter: Schema) -> Schema:
    """A parameter that may be left out is not null: no query can say that."""
    schema = dict(parameter["schema"])
    schema |= next((each for each in schema.pop("anyOf", ()) if each["type"] != "null"), {})
    schema.pop("title", None)
    return {**parameter, "schema": schema}
