"""How to call a file from elsewhere: lines to copy, with `$DJSCI_TOKEN` where a token goes."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import fields
from .source_view import visible

MOST_DEFAULTS = 3
LONGEST = 56  # characters of parameters on one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """One way to call. `language` is what it is highlighted as."""

    id: str
    title: str
    language: str
    text: str
    note: str = ""


def of_file(origin: str, root: str, file_id: str, schema: Mapping[str, Any]) -> list[Snippet]:
    """Each way, with parameters that fit the schema."""
    example = parameters(schema)
    call = f"{origin}{root}call/{file_id}/"
    socket = f"ws{origin.removeprefix('http')}{root}ws/call/{file_id}/"
    runs = f"{origin}{root}api/v1/files/{file_id}/runs/"
    return [
        Snippet(id="curl", title="curl", language="bash", text=_curl(call, example)),
        Snippet(id="python", title="Python", language="python", text=_python(call, example)),
        Snippet(
            id="javascript", title="JavaScript", language="javascript", text=_script(call, example)
        ),
        Snippet(
            id="websocket",
            title="WebSocket",
            language="python",
            text=_socket(socket, example),
            note="Every event as it happens: output, progress, the result, the end.",
        ),
        Snippet(
            id="run",
            title="Start now, read later",
            language="bash",
            text=_later(runs, example),
            note="The run, ended or after 25 s; its links lead to events and result.",
        ),
    ]


def _json(value: Mapping[str, Any], indent: str = "") -> str:
    """JSON, on one line where that is short."""
    return _lines(value, indent, "  ", _as_json)


def _as_json(value: Any) -> str:
    """Letters as they are, but nothing that would hide or turn text."""
    text = json.dumps(value, ensure_ascii=False)
    return text if visible(text) == text else json.dumps(value)


def _literal(value: Mapping[str, Any], indent: str = "") -> str:
    """As Python writes it."""
    return _lines(value, indent, "    ", repr)


def _lines(value: Mapping[str, Any], indent: str, step: str, write: Callable[[Any], str]) -> str:
    """A member a line, where one line would be long."""
    text = write(value)
    if len(text) <= LONGEST:
        return text
    members = (
        f"{indent}{step}{write(key)}: {_lines(each, indent + step, step, write)},"
        if isinstance(each, dict)
        else f"{indent}{step}{write(key)}: {write(each)},"
        for key, each in value.items()
    )
    inside = "\n".join(members).removesuffix(",")
    return f"{{\n{inside}\n{indent}}}"


def _curl(url: str, example: dict[str, Any]) -> str:
    body = shlex.quote(_json(example))
    sent = f" \\\n  -H 'Content-Type: application/json' \\\n  -d {body}" if example else ""
    return f'curl {shlex.quote(url)} \\\n  -H "Authorization: Bearer $DJSCI_TOKEN"{sent}'


def _python(url: str, example: dict[str, Any]) -> str:
    return f"""import json, os, urllib.request

call = urllib.request.Request(
    {url!r},
    data=json.dumps({_literal(example, " " * 4)}).encode(),
    headers={{
        "Authorization": f"Bearer {{os.environ['DJSCI_TOKEN']}}",
        "Content-Type": "application/json",
    }},
)
with urllib.request.urlopen(call) as answer:
    print(json.load(answer))"""


def _script(url: str, example: dict[str, Any]) -> str:
    body = _json(example, "  ")
    return f"""const answer = await fetch({json.dumps(url)}, {{
  method: "POST",
  headers: {{
    Authorization: `Bearer ${{process.env.DJSCI_TOKEN}}`,
    "Content-Type": "application/json",
  }},
  body: JSON.stringify({body}),
}});
console.log(await answer.json());"""


def _socket(url: str, example: dict[str, Any]) -> str:
    return f"""import json, os
from websockets.sync.client import connect  # pip install websockets

token = {{"Authorization": f"Bearer {{os.environ['DJSCI_TOKEN']}}"}}
address = {url!r}
with connect(address, additional_headers=token) as socket:
    parameters = {_literal(example, " " * 4)}
    socket.send(json.dumps({{"type": "start", "parameters": parameters}}))
    for frame in socket:
        print(frame)"""


def _later(url: str, example: dict[str, Any]) -> str:
    body = shlex.quote(_json({"parameters": example}))
    return (
        f'curl {shlex.quote(url)} \\\n  -H "Authorization: Bearer $DJSCI_TOKEN" \\\n'
        f"  -H 'Content-Type: application/json' -H 'Prefer: wait=25' \\\n  -d {body}"
    )


def parameters(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Values that fit: what is required, and some short defaults."""
    required = schema.get("required") or ()
    example: dict[str, Any] = {}
    left = MOST_DEFAULTS
    for name, wanted in (schema.get("properties") or {}).items():
        if name in required:
            example[name] = value(wanted)
        elif left and wanted.get("default") is not None and len(repr(wanted["default"])) <= 40:
            left -= 1
            example[name] = wanted["default"]
    return example


def _number(wanted: Mapping[str, Any]) -> Any:
    """A number within the bounds: the least one, else 1, else the most one."""
    least = wanted.get("minimum", wanted.get("exclusiveMinimum"))
    most = wanted.get("maximum", wanted.get("exclusiveMaximum"))
    found = 1 if least is None else least
    if "exclusiveMinimum" in wanted:
        is_narrow = wanted["type"] == "number" and most is not None and most <= least + 1
        found = (least + most) / 2 if is_narrow else least + 1
    elif least is None and most is not None and most <= 1:
        found = most - ("exclusiveMaximum" in wanted)
    step = wanted.get("multipleOf")
    return -(-found // step) * step if step else found


def value(wanted: Mapping[str, Any]) -> Any:
    """Some value that fits a schema."""
    first = next(iter(fields.branches_of(wanted)), {})
    if "default" in wanted:
        return wanted["default"]
    if first.get("enum"):
        return first["enum"][0]
    formats = {
        "date": "2030-06-01",
        "date-time": "2030-06-01T13:45:00Z",
        "time": "13:45:00",
        "duration": "PT1M30S",
        "decimal": "1.50",
        "uuid": "12345678-1234-5678-1234-567812345678",
        "email": "ada@example.org",
        "uri": "https://example.org/",
        "binary": "data:text/csv;name=a.csv;base64,YSxiCjEsMgo=",
    }
    match first.get("type"):
        case "string":
            text = formats.get(str(first.get("format")), "text")
            return text.ljust(min(first.get("minLength", 0), 1000), "x")[: first.get("maxLength")]
        case "integer" | "number":
            return _number(first)
        case "boolean":
            return True
        case "array":
            items = [first.get("items") or {}] * min(first.get("minItems", 1) or 1, 20)
            return [value(each) for each in first.get("prefixItems") or items]
        case "object":
            return {
                name: value(each)
                for name, each in (first.get("properties") or {}).items()
                if name in (first.get("required") or ())
            }
    return "text"
