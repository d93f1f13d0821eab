"""A log line as one reader may see it: references as paths, tracebacks for the few."""

import json
import re
from typing import Any

from djsci.core.events import dumps

_REFERENCE = re.compile(r'"ref":"([0-9a-f]{64})"')
_ROOT = "/djsci/api/v1/runs"


def public(line: str, *, run_id: str, with_traceback: bool) -> str:
    """The line with absolute paths for stored parts, and no traceback unless asked for."""
    is_error = '"type":"error"' in line[:80]
    if is_error and not with_traceback:
        event = json.loads(line)
        event["traceback"] = []
        return dumps(event)
    if not is_error and _REFERENCE.search(line):
        return _with_paths(json.loads(line), run_id)
    return line


def _with_paths(event: dict[str, Any], run_id: str) -> str:
    data = f"{_ROOT}/{run_id}/outputs/{event['seq']}/data/"
    match event["type"]:
        case "result":
            event["ref"] = f"{_ROOT}/{run_id}/result/"
        case "chunk":
            event["ref"] = f"{data}?type=application/json"
        case "display_data" | "execute_result" | "update_display_data":
            for mime, part in event["data"].items():
                if _is_reference(part):
                    event["data"][mime] = {**part, "ref": f"{data}?type={mime}"}
        case _:
            pass
    return dumps(event)


def _is_reference(part: Any) -> bool:
    """Whether a part of a bundle is `{ref, size}`, and not JSON that looks like one."""
    return (
        isinstance(part, dict)
        and part.keys() == {"ref", "size"}
        and isinstance(part["ref"], str)
        and re.fullmatch("[0-9a-f]{64}", part["ref"]) is not None
    )
