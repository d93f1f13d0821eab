"""Find and call the handler: sync, async, generators; parameters converted to their annotations."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from .requests import HandlerRequest

Send = Callable[[dict[str, Any]], None]
Await = Callable[[Coroutine[Any, Any, Any]], Any]


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
    {"type": "result", "value": <JSON text>, "http": {…} | None}. `await_` runs a coroutine to its end
    on the loop that ran the cells' awaits. What the handler raises passes through; a result that
    cannot be encoded raises `results.ResultRefused`.
    """
    raise NotImplementedError
