"""Files among a call's parameters: found where the schema wants them, kept beside the values."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from djsci.guest.files import UNKNOWN_TYPE, by_digest, is_reference, reference
from djsci.guest.requests import FileValues, HandlerRequest, UploadedFile

FORMAT = "binary"
_DATA = re.compile(r"data:(?P<type>[^;,\s]{0,100})(?P<words>(?:;[^;,]{0,300}){0,5}),", re.ASCII)
_ABSENT: Any = object()


class Attached(str):
    """A file's place in the parameters while they are checked: text, as the schema says."""

    file: UploadedFile

    @classmethod
    def of(cls, file: UploadedFile) -> "Attached":
        """The text that stands for `file`."""
        made = cls("")
        made.file = file
        return made


def read(text: str) -> UploadedFile:
    """The file that text holds: base64, or a `data:` URL, whose `name` it may say.

    Raises ValueError.
    """
    if isinstance(text, Attached):
        return text.file
    match = _DATA.match(text)
    words = match["words"].split(";")[1:] if match else ["base64"]
    content = text[match.end() :] if match else text
    named = [word.partition("=")[2] for word in words if word.startswith(("name=", "filename="))]
    try:
        if "base64" in words:
            data = base64.b64decode(unquote(content) if "%" in content else content, validate=True)
        else:
            data = unquote_to_bytes(content)
    except (binascii.Error, UnicodeError) as error:
        raise ValueError(str(error)) from error
    kind = (match["type"] if match else "") or UNKNOWN_TYPE
    return UploadedFile(
        name=unquote(named[0]) if named else "file", content_type=kind, content=data
    )


def takes_file(schema: Mapping[str, Any]) -> bool:
    """Whether a parameter of this schema is a file, or a list of them."""
    branches = [schema, *schema.get("anyOf", [])]
    return any(
        part.get("format") == FORMAT for one in branches for part in (one, one.get("items") or {})
    )


def attach(schema: Mapping[str, Any], values: Mapping[str, Any], request: HandlerRequest) -> Any:
    """`values` with the request's files: those of fields that take one, and those referred to."""
    if not request.FILES:
        return values
    digests = by_digest(request)
    return _attached(schema, values, "", request.FILES, digests)


def _attached(
    schema: Mapping[str, Any],
    value: Any,
    path: str,
    files: FileValues,
    digests: Mapping[str, UploadedFile],
) -> Any:
    for branch in schema.get("anyOf", [schema]):
        items, kind = branch.get("items") or {}, branch.get("type")
        if branch.get("format") == FORMAT:
            if is_reference(value) and value["sha256"] in digests:
                return Attached.of(digests[value["sha256"]])
            if value is _ABSENT and path in files:
                return Attached.of(files[path])
        elif kind == "array" and value is _ABSENT:
            if items.get("format") == FORMAT and path in files:
                return [Attached.of(file) for file in files.getlist(path)]
        elif kind == "array" and isinstance(value, list):
            value = [_attached(items, item, "", files, digests) for item in value]
        elif kind == "object" and (value is _ABSENT or isinstance(value, Mapping)):
            found = dict(value) if value is not _ABSENT else {}
            for name, inner in (branch.get("properties") or {}).items():
                place = f"{path}.{name}" if path else name
                made = _attached(inner, found.get(name, _ABSENT), place, files, digests)
                if made is not _ABSENT:
                    found[name] = made
            value = found if found else value
    return value


def detach(
    schema: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[dict[str, Any], list[tuple[str, UploadedFile]]]:
    """Checked values with a reference in each file's place, and the files by parameter."""
    found: list[tuple[str, UploadedFile]] = []
    properties = schema.get("properties", {})
    plain = {
        name: _detached(properties.get(name, {}), value, name, found)
        for name, value in values.items()
    }
    return plain, found


def _detached(
    schema: Mapping[str, Any], value: Any, name: str, found: list[tuple[str, UploadedFile]]
) -> Any:
    for branch in schema.get("anyOf", [schema]):
        if isinstance(value, str) and branch.get("format") == FORMAT:
            file = read(value)
            found.append((name, file))
            return reference(file)
        if isinstance(value, list) and branch.get("items"):
            value = [_detached(branch["items"], item, name, found) for item in value]
        if isinstance(value, Mapping) and branch.get("properties"):
            inner = branch["properties"]
            value = {
                key: _detached(inner.get(key, {}), item, name, found) for key, item in value.items()
            }
    return value
