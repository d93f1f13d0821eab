"""A handler of `lambda_handler(event, context)`."""

import base64
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import djsci

SPEC: Any = None
MOST = 900.0  # seconds that AWS gives a function at most: where no run says how long it may last


class Context:
    """What a function is told of its run."""

    function_version = "$LATEST"
    invoked_function_arn = log_group_name = log_stream_name = ""
    identity = client_context = None

    def __init__(self, name: str) -> None:
        self.function_name = name
        self.aws_request_id = str(uuid.uuid4())
        self.memory_limit_in_mb = "1024"
        self._end = time.monotonic() + djsci.run.get("timeout", MOST)

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._end - time.monotonic()) * 1000))


def adapt(namespace: Mapping[str, Any], path: str) -> Callable[..., Any]:
    """The function, called with the parameters, or with the request as API Gateway puts it."""
    function = namespace["lambda_handler"]
    name = path.rpartition("/")[2].rpartition(".")[0]

    def handler(request: Any) -> Any:
        event = http_event(request) if SPEC["is_http"] else dict(request.parameters)
        return answer(function(event, Context(name)))

    return handler


def http_event(request: Any) -> dict[str, Any]:
    """The request as an event: the fields of both versions of API Gateway's."""
    try:
        body, is_base64 = request.body.decode(), False
    except UnicodeDecodeError:
        body, is_base64 = base64.b64encode(request.body).decode(), True
    query = dict(request.GET.lists())
    place = {"method": request.method, "path": request.path_info}
    return {
        "version": "2.0",
        "httpMethod": request.method,
        "path": request.path_info,
        "rawPath": request.path_info,
        "rawQueryString": request.META.get("QUERY_STRING", ""),
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None,
        "body": body or None,
        "isBase64Encoded": is_base64,
        "requestContext": {"http": place, "httpMethod": request.method},
    }


def answer(value: Any) -> Any:
    """API Gateway's answer as one of ours; anything else is the result as it is."""
    if not isinstance(value, dict) or type(value.get("statusCode")) is not int:
        return value
    body = value.get("body", "")
    if value.get("isBase64Encoded") and isinstance(body, str):
        body = base64.b64decode(body)
    headers = {str(name): str(text) for name, text in (value.get("headers") or {}).items()}
    return djsci.Response(body, status=value["statusCode"], headers=headers)
