"""HTTP functions of functions-framework, as Google Cloud runs them: `@functions_framework.http`."""

from typing import ClassVar

from djsci.core.annotations import Schema
from djsci.core.handlers import Function
from djsci.core.names import Names

from .base import Adapter, Code, shim_text, statements


class HttpFunction(Adapter):
    """The function gets a Flask request. The file imports functions-framework: it must be here."""

    name: ClassVar[str] = "functions"

    def reads(self, code: Code) -> bool:
        return bool(_found(code))

    def parameters(self, code: Code) -> Schema:
        return {"type": "object", "properties": {}, "additionalProperties": True}

    def takes_parameters(self, code: Code) -> bool:
        return False

    def shim(self, code: Code) -> str:
        return shim_text("http_function", _found(code)[-1:])


def _found(code: Code) -> list[str]:
    """The names of the functions that are so decorated."""
    names = Names(code.trees)
    return [
        statement.name
        for statement in statements(code.trees)
        if isinstance(statement, Function)
        and any(names.dotted(one) == "functions_framework.http" for one in statement.decorator_list)
    ]
