"""A handler of a functions-framework HTTP function: its request and its answer are Flask's."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from djsci import Response

SPEC: Any = None


def adapt(namespace: Mapping[str, Any], path: str) -> Callable[..., Any]:
    """The function, called inside a Flask request."""
    flask = importlib.import_module("flask")
    testing = importlib.import_module("werkzeug.test")
    function = namespace[SPEC[0]]
    application = flask.Flask("djsci")

    def handler(request: Any) -> Response:
        made = testing.EnvironBuilder(
            path=request.path_info,
            method=request.method,
            query_string=request.META.get("QUERY_STRING", ""),
            headers=[one for one in request.headers.items() if one[0].lower() != "content-length"],
            data=request.body,
        )
        with application.request_context(made.get_environ()):
            return answer(application.make_response(function(flask.request)))

    return handler


def answer(made: Any) -> Response:
    """Flask's answer as one of ours; JSON is a value, text is text."""
    body: Any = made.get_data()
    if made.is_json:
        body = made.get_json()
    elif made.mimetype.startswith("text/"):
        body = body.decode("utf-8", "replace")
    kept = [one for one in made.headers.items() if one[0].lower() != "content-length"]
    return Response(body, status=made.status_code, headers=dict(kept))
