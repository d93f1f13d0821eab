"""A handler that runs a script as a script, its arguments made from the parameters."""

import argparse
import json
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from djsci.guest import api

SPEC: Any = None


class BadArguments(ValueError):
    """The script's own parser refused them."""


def adapt(namespace: Mapping[str, Any], path: str) -> Callable[..., Any]:
    """Its result is what `djsci.result()` was given, else null."""

    def handler(request: Any) -> Any:
        given: list[Any] = []
        channel = api._channel()
        if channel is not None:
            channel.on_result = given.append
        said = _hear()
        former, sys.argv[:] = list(sys.argv), [path, *argv(SPEC, request.parameters)]
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            if end.code == 2:
                raise BadArguments(said[-1] if said else "the script exited with 2") from None
            if end.code not in (None, 0):
                raise
        finally:
            sys.argv[:] = former
        return given[-1] if given else None

    return handler


def _hear() -> list[str]:
    """What the parser complains of from now on."""
    said: list[str] = []
    stock = argparse.ArgumentParser.error

    def error(parser: argparse.ArgumentParser, message: str) -> Any:
        said.append(message)
        stock(parser, message)

    argparse.ArgumentParser.error = error  # type: ignore[method-assign, assignment]
    return said


def argv(spec: Sequence[Mapping[str, str]], values: Mapping[str, Any]) -> list[str]:
    """The command line: options first, so that what follows `--` is positional."""
    options: list[str] = []
    positional: list[str] = []
    is_list = False
    for one in spec:
        value = values.get(one["name"])
        if value is None:
            continue
        if one["how"] == "raw":
            return [str(item) for item in value]
        if not one["flag"]:
            positional += map(_text, value if isinstance(value, list) else [value])
            continue
        is_list |= one["how"] in ("list", "append_list")
        options += _option(one["flag"], one["how"], value)
    if positional and (is_list or any(text.startswith("-") for text in positional)):
        positional.insert(0, "--")
    return options + positional


def _option(flag: str, how: str, value: Any) -> Iterator[str]:
    match how:
        case "store_true" | "store_false":
            if value is (how == "store_true"):
                yield flag
        case "optional":
            yield flag if value else f"--no-{flag[2:]}"
        case "count":
            yield from [flag] * value
        case "append":
            yield from (_joined(flag, item) for item in value)
        case "append_list":
            for item in value:
                yield from (flag, *map(_text, item if isinstance(item, list) else [item]))
        case "list":
            yield from (flag, *map(_text, value))
        case _:
            yield _joined(flag, value)


def _joined(flag: str, value: Any) -> str:
    return f"{flag}={_text(value)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
