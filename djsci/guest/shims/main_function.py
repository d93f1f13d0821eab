"""A handler of `def main(...)`: the parameters are its arguments."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any


def adapt(namespace: Mapping[str, Any], path: str) -> Callable[..., Any]:
    """`main`, with a request before its own arguments."""
    main = namespace["main"]

    @functools.wraps(main)
    def handler(request: Any, /, *arguments: Any, **named: Any) -> Any:
        return main(*arguments, **named)

    signature = inspect.signature(main)
    request = inspect.Parameter("djsci_request", inspect.Parameter.POSITIONAL_ONLY)
    parts = [request, *signature.parameters.values()]
    handler.__signature__ = signature.replace(parameters=parts)  # type: ignore[attr-defined]
    return handler
