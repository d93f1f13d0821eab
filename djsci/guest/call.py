"""Find and call the handler: sync, async, generators; parameters converted to their annotations."""

import inspect
import types
import typing
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import aclosing, closing
from typing import Any

from . import api
from .convert import Unfit, convert_value
from .failures import describe
from .figures import answered
from .modules import load_module
from .requests import HandlerRequest
from .results import ResultRefused, answer, encode

__all__ = ["NoHandler", "ResultRefused", "call", "convert", "describe", "find_handler"]
__all__ += ["load_module", "result_frame"]

HANDLER = "djsci_handler"
Send = Callable[[dict[str, Any]], None]
Await = Callable[[Coroutine[Any, Any, Any]], Any]
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class NoHandler(LookupError):
    """The file defines no `djsci_handler(request)`."""


def call(
    namespace: Mapping[str, Any],
    request: HandlerRequest,
    *,
    send: Send,
    await_: Await,
    result_limit: int,
) -> None:
    """Call `namespace["djsci_handler"]` and send its frames.

    Frames: {"type": "chunk", "value": <JSON text>} for each yielded item, then one
    {"type": "result", "value": <JSON text>, "http": {…} | None}. `await_` runs a coroutine to its
    end on the loop that ran the cells' awaits. What the handler raises passes through; a result
    that cannot be encoded raises `results.ResultRefused`.
    """
    todo = steps(namespace, request, send=send, result_limit=result_limit)
    came: Any = None
    while True:
        try:
            coroutine = todo.send(came)
        except StopIteration:
            return
        came = await_(coroutine)


def steps(
    namespace: Mapping[str, Any], request: HandlerRequest, *, send: Send, result_limit: int
) -> Generator[Coroutine[Any, Any, Any], Any, None]:
    """`call` for who has a loop running: yields each coroutine and takes what it returned."""
    handler = find_handler(namespace)
    arguments, keywords = bind(handler, request)
    value = handler(*arguments, **keywords)
    if inspect.isawaitable(value):
        value = yield _awaited(value)
    if inspect.isasyncgen(value):
        send((yield _stream_async(value, _Chunks(send, result_limit))))
    elif inspect.isgenerator(value):
        send(_stream(value, _Chunks(send, result_limit)))
    else:
        send(result_frame(answered(value, request), limit=result_limit))


def adapted(namespace: Mapping[str, Any], shim: str, path: str) -> Mapping[str, Any]:
    """What the file at `path` defines, with the handler that its adapter's shim makes of it."""
    if not shim:
        return namespace
    scope: dict[str, Any] = {"__name__": "djsci_shim"}
    # Under a name of ours: a traceback does not show it.
    exec(compile(shim, f"{__file__}.shim", "exec", dont_inherit=True), scope)  # noqa: S102
    return {**namespace, HANDLER: scope["adapt"](namespace, path)}


def result_frame(value: Any, *, limit: int) -> dict[str, Any]:
    """The frame of a run's result. Raises `ResultRefused`."""
    plain, http = answer(value)
    return {"type": "result", "value": encode(plain, limit=limit), "http": http}


def find_handler(namespace: Mapping[str, Any]) -> Callable[..., Any]:
    """The file's handler. Raises `NoHandler`."""
    try:
        handler = namespace[HANDLER]
    except KeyError:
        raise NoHandler(f"The file defines no `{HANDLER}(request)`.") from None
    if not callable(handler):
        kind = type(handler).__name__
        raise NoHandler(f"`{HANDLER}` is a {kind}; define it as a function.")
    return typing.cast(Callable[..., Any], handler)


def bind(handler: Callable[..., Any], request: HandlerRequest) -> tuple[list[Any], dict[str, Any]]:
    """The handler's arguments: the request first if it takes any, then the parameters it names."""
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):  # written in C, it does not say
        return [request], {}
    values = convert(handler, api.arguments(request))
    arguments: list[Any] = []
    if parameters and parameters[0].kind in (*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL):
        arguments.append(request)
        first = parameters.pop(0)
        if first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            values.pop(first.name, None)
    for parameter in parameters:
        if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            break
        if parameter.name not in values:
            break
        arguments.append(values.pop(parameter.name))
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        named = {item.name for item in parameters if item.kind in _KEYWORD}
        values = {name: value for name, value in values.items() if name in named}
    return arguments, values


_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def convert(handler: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the handler's annotations name them; what cannot be resolved is left.

    Raises `Unfit`, a ValueError that names the parameter.
    """
    annotations = _annotations(handler) if values else {}
    given = inspect.signature(handler).parameters if annotations else {}
    converted: dict[str, Any] = {}
    for name, value in values.items():
        if value is None and name in given and given[name].default is None:
            converted[name] = None
            continue
        try:
            converted[name] = convert_value(annotations.get(name, Any), value)
        except Unfit as error:
            raise Unfit(f"parameter {name!r}: {error}") from error.__cause__
    return converted


def _annotations(handler: Callable[..., Any]) -> dict[str, Any]:
    function = inspect.unwrap(handler)
    scope = getattr(getattr(function, "__func__", function), "__globals__", {})
    found = {}
    for name, parameter in inspect.signature(handler).parameters.items():
        holder = types.SimpleNamespace(__annotations__={name: parameter.annotation})
        try:
            hints = typing.get_type_hints(holder, scope, include_extras=True)
        except Exception:  # noqa: S112 - a name for type checkers only; the value stays as it is
            continue
        if parameter.annotation is not inspect.Parameter.empty:
            found[name] = hints[name]
    return found


class _Chunks:
    """Sends what a generator yields, each item at once, and holds their sum to the limit."""

    def __init__(self, send: Send, limit: int) -> None:
        self.send = send
        self.limit = limit
        self.texts: list[str] = []
        self.left = limit - 2

    def add(self, item: Any) -> None:
        place = f"$[{len(self.texts)}]"
        try:
            text = encode(item, limit=max(0, self.left), path=place)
        except ResultRefused as refused:
            if refused.code == "result_too_large":
                raise ResultRefused(
                    refused.code, place, f"The chunks are larger than {self.limit} bytes of JSON."
                ) from None
            raise
        self.left -= len(text.encode()) + 1
        self.texts.append(text)
        self.send({"type": "chunk", "value": text})

    def result(self) -> dict[str, Any]:
        return {"type": "result", "value": f"[{','.join(self.texts)}]", "http": None}


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _stream(items: Generator[Any, Any, Any], chunks: _Chunks) -> dict[str, Any]:
    with closing(items):
        for item in items:
            chunks.add(item)
    return chunks.result()


async def _stream_async(items: AsyncGenerator[Any, Any], chunks: _Chunks) -> dict[str, Any]:
    async with aclosing(items):
        async for item in items:
            chunks.add(item)
    return chunks.result()
