"""`lambda_handler(event, context)`: functions written for AWS Lambda."""

import ast
from collections.abc import Sequence
from typing import ClassVar

from djsci.core.annotations import Schema
from djsci.core.handlers import Function

from .base import Adapter, Code, function, shim_text, texts

NAME = "lambda_handler"
_OF_HTTP = frozenset(
    {"httpMethod", "multiValueQueryStringParameters", "pathParameters", "queryStringParameters"}
    | {"rawPath", "rawQueryString", "requestContext"}
)


class LambdaHandler(Adapter):
    """The event is the parameters; for code that looks for it, API Gateway's HTTP event."""

    name: ClassVar[str] = "lambda"

    def reads(self, code: Code) -> bool:
        node = function(NAME, code.trees)
        return node is not None and len([*node.args.posonlyargs, *node.args.args]) == 2

    def parameters(self, code: Code) -> Schema:
        node = function(NAME, code.trees)
        about = (node and ast.get_docstring(node)) or ""
        properties: Schema = {}
        if node is not None and not _is_of_http(code.trees):
            properties = {name: {} for name in _keys(node)}
        schema: Schema = {"type": "object"}
        if about:
            schema["title"] = about.partition("\n")[0].strip()
        return {**schema, "properties": properties, "additionalProperties": True}

    def takes_parameters(self, code: Code) -> bool:
        return not _is_of_http(code.trees)

    def shim(self, code: Code) -> str:
        return shim_text("lambda_handler", {"is_http": _is_of_http(code.trees)})


def _is_of_http(trees: Sequence[ast.Module]) -> bool:
    return bool(_OF_HTTP & texts(trees))


def _keys(node: Function) -> list[str]:
    """The keys that the function looks up in its event, in order."""
    event = [*node.args.posonlyargs, *node.args.args][0].arg
    found: dict[str, None] = {}
    for part in ast.walk(node):
        match part:
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key))):
                pass
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=name), attr="get"),
                args=[ast.Constant(value=str(key)), *_],
            ):
                pass
            case _:
                continue
        if name == event:
            found[key] = None
    return list(found)
