"""Scripts with a typed `def main(...)`, as Windmill has them: its arguments are the parameters."""

import ast
import copy
from typing import ClassVar

from djsci.core.annotations import Schema
from djsci.core.handlers import Function
from djsci.core.schema import handler_schema

from .base import Adapter, Code, function, shim_text


class MainFunction(Adapter):
    """`def main(ticker: str, days: int = 30)`: what it returns is the result."""

    name: ClassVar[str] = "main"

    def reads(self, code: Code) -> bool:
        return function("main", code.trees) is not None

    def parameters(self, code: Code) -> Schema:
        node = function("main", code.trees)
        if node is None:
            return {"type": "object"}
        schema = handler_schema(_with_request(node), code.trees)
        return {**schema, "additionalProperties": node.args.kwarg is not None}

    def shim(self, code: Code) -> str:
        return shim_text("main_function")


def _with_request(node: Function) -> Function:
    """The function as if a request came first, as it does for a handler."""
    changed = copy.copy(node)
    changed.args = copy.copy(node.args)
    changed.args.posonlyargs = [ast.arg("djsci_request"), *node.args.posonlyargs]
    return changed
