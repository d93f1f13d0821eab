"""The objects of the API and its problems, as OpenAPI says them."""

from typing import Any

from djsci import options, problems
from djsci.access.tokens import SCOPES
from djsci.core.events import FINAL, LIVE
from djsci.models import PrivateFile

Schema = dict[str, Any]
JSON = "application/json"


def an_object(required: str = "", optional: str = "", **properties: Schema) -> Schema:
    """An object; members named without a schema are texts."""
    names = [*required.split(), *properties, *optional.split()]
    members = {name: properties.get(name, {"type": "string"}) for name in names}
    needed = [name for name in members if name not in optional.split()]
    return {"type": "object", "properties": members, "required": needed}


def closed(schema: Schema) -> Schema:
    """The same object, which takes no other members."""
    return {**schema, "additionalProperties": False}


def maybe(kind: str, **more: Any) -> Schema:
    """This type, or null."""
    return {"type": [kind, "null"], **more}


def reference(name: str) -> Schema:
    """One of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def a_list(name: str) -> Schema:
    """The contract's list of what `SCHEMAS` calls so."""
    return an_object(items={"type": "array", "items": reference(name)}, next=maybe("string"))


_TIME = {"type": "string", "format": "date-time"}
MAYBE_TIME = maybe("string", format="date-time")
_WHOLE = {"type": "integer"}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_BYTES = {"type": "string", "contentMediaType": "application/octet-stream"}
_ERROR = an_object(
    "ename evalue",
    "traceback",
    cell=maybe("integer"),
    line=maybe("integer"),
    traceback={**_TEXTS, "description": "For those who may read the source."},
)
ACCESS: Schema = {"enum": list(PrivateFile.Access.values)}
_RUN = an_object(
    "id version trigger engine isolation reason",
    file=an_object("id", name=maybe("string")),
    state={"enum": [*LIVE, *FINAL]},
    created=_TIME,
    started=MAYBE_TIME,
    ended=MAYBE_TIME,
    user=maybe("string"),
    attempt={"type": "integer"},
    parameters={"type": "object"},
    result={},
    result_ref={"oneOf": [an_object("ref", size={"type": "integer"}), {"type": "null"}]},
    error={"oneOf": [_ERROR, {"type": "null"}]},
    elapsed=maybe("number"),
    abandoned={"type": "boolean"},
    links=an_object("self events result cancel page socket"),
)
_REQUIREMENTS = {
    **an_object(dependencies=_TEXTS, python=maybe("string")),
    "description": "What its PEP 723 header asks for, if it has one; not in lists.",
}
_FILE = an_object(
    "id",
    "requirements",
    requirements=_REQUIREMENTS,
    name=maybe("string"),
    kind=maybe("string", enum=["py", "ipynb", None]),
    version=maybe("string"),
    entry=maybe("string"),
    files={"type": "object", "additionalProperties": {"type": "string"}},
    access=ACCESS,
    owner=maybe("string"),
    settings={"type": "object"},
    parameters=maybe("object", description="The JSON Schema of the handler's parameters."),
    adapter=maybe("string"),
    created=MAYBE_TIME,
    changed=MAYBE_TIME,
    links=an_object("self runs source versions call page socket"),
)
_VERSION = an_object(
    "version kind entry",
    files=_FILE["properties"]["files"],
    parameters={"type": "object"},
    trusted={"type": "boolean", "description": "Its runs have the project's Django."},
    uploader=maybe("string"),
    created=_TIME,
)
_TOKEN = an_object(
    "id name",
    scopes={"type": "array", "items": {"enum": list(SCOPES)}},
    files={"type": ["array", "null"], "items": {"type": "string"}},
    created=_TIME,
    expires=MAYBE_TIME,
    last_used=MAYBE_TIME,
    revoked=MAYBE_TIME,
)
_EVENT = {
    **an_object("type", seq={"type": "integer", "minimum": 1}, t={"type": "number"}),
    "description": "More fields by type; unknown types are to be ignored.",
}
_EVENTS = an_object(
    events={"type": "array", "items": reference("Event")},
    after={"type": "integer"},
    ended={"type": "boolean"},
)
_ARTIFACT = an_object("name content_type sha256 ref", size={"type": "integer"})
_PROBLEM = an_object(
    "type title detail",
    "run errors error",
    status={"type": "integer"},
    errors={
        "type": "array",
        "items": an_object("message", "field cell line", cell=_WHOLE, line=_WHOLE),
    },
    error=_ERROR,
)
SCHEMAS: dict[str, Schema] = {
    "Run": _RUN,
    "File": _FILE,
    "Version": _VERSION,
    "Token": _TOKEN,
    "Event": _EVENT,
    "Events": _EVENTS,
    "Artifact": _ARTIFACT,
    "Problem": _PROBLEM,
}
SETTINGS = closed(
    {"type": "object", "properties": {name: {} for name in (*options.CHECKS, "access", "trusted")}}
)


def header(description: str, *, is_always: bool = True) -> Schema:
    """A header of an answer, which is always there or not."""
    return {"description": description, "required": is_always, "schema": {"type": "string"}}


_PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": header("How to come in: `Bearer`.")},
    429: {"Retry-After": header("Seconds.")},
    503: {"Retry-After": header("Seconds.")},
}


def _problem(status: int, codes: list[str]) -> Schema:
    said = {"properties": {"status": {"const": status}, "type": {"enum": codes}}}
    return {
        "description": f"A problem: {', '.join(f'`{code}`' for code in codes)}.",
        "headers": _PROBLEM_HEADERS.get(status, {}),
        "content": {problems.CONTENT_TYPE: {"schema": {"allOf": [reference("Problem"), said]}}},
    }


PROBLEMS = {f"{status}": _problem(status, codes) for status, codes in problems.codes().items()}


def refused(*statuses: int) -> dict[str, Schema]:
    """The problems with these statuses, as answers of an operation."""
    return {f"{status}": {"$ref": f"#/components/responses/{status}"} for status in statuses}
