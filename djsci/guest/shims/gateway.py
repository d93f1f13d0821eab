"""A handler of a kernel gateway's notebook: it runs the cell whose route fits the request."""

import contextlib
import io
import json
import linecache
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from djsci import Response

SPEC: Any = None


def adapt(namespace: dict[str, Any], path: str) -> Callable[..., Any]:
    """Answers as the gateway would: 404 for no route, 405 for a route of other methods."""

    def handler(request: Any) -> Response:
        place = "/" + request.path_info.strip("/")
        fitting = [(route, found) for route in SPEC if (found := values(route["path"], place))]
        if not fitting:
            return Response({"reason": f"There is no route to {place}."}, status=404)
        method = "GET" if request.method == "HEAD" else request.method
        for route, found in fitting:
            if not route["info"] and route["method"] == method:
                return answer(namespace, path, route, json.dumps(described(request, found)))
        return Response({"reason": f"{place} does not take {method}."}, status=405)

    return handler


def values(route: str, place: str) -> dict[str, dict[str, str]] | None:
    """What stands in `place` for the `:names` of a route, under `path`; None if it does not fit."""
    parts = re.split(r":(\w+)", "/" + route.strip("/"))
    pattern = "([^/]+)".join(map(re.escape, parts[::2]))
    found = re.fullmatch(pattern, place)
    return found and {"path": dict(zip(parts[1::2], map(unquote, found.groups()), strict=True))}


def described(request: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    """The gateway's request: query values are lists, a JSON body is read."""
    body: Any = request.body.decode("utf-8", "replace")
    if request.content_type == "application/json":
        with contextlib.suppress(ValueError):
            body = json.loads(body)
    elif request.POST:
        body = dict(request.POST.lists())
    args, headers = dict(request.GET.lists()), dict(request.headers)
    return {"body": body, "args": args, "headers": headers, **found}


def answer(
    namespace: dict[str, Any], path: str, route: Mapping[str, Any], request: str
) -> Response:
    """What the route's cell prints, with the status and headers that its ResponseInfo prints."""
    body = played(namespace, path, route, request)
    status, headers = 200, {"Content-Type": "text/plain; charset=utf-8"}
    for other in SPEC:
        is_its = (other["method"], other["path"]) == (route["method"], route["path"])
        if other["info"] and is_its:
            told = json.loads(played(namespace, path, other, request))
            status = int(told.get("status", status))
            given = {str(name): str(text) for name, text in (told.get("headers") or {}).items()}
            if any(name.lower() == "content-type" for name in given):
                headers = {}
            headers |= given
    return Response(body, status=status, headers=headers)


def played(namespace: dict[str, Any], path: str, route: Mapping[str, Any], request: str) -> str:
    """What one cell prints, magics and all; the log has it too."""
    namespace["REQUEST"] = request
    text = route["text"]
    with contextlib.suppress(ImportError):
        from IPython.core.inputtransformer2 import TransformerManager

        text = TransformerManager().transform_cell(text)
    name, printed = f"{path}#cell-{route['cell']}", io.StringIO()
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    with contextlib.redirect_stdout(printed):
        exec(compile(text, name, "exec", dont_inherit=True), namespace)  # noqa: S102
    sys.stdout.write(printed.getvalue())
    return printed.getvalue()
