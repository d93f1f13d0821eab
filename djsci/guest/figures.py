"""A matplotlib figure that a handler returns is answered as a picture: PNG, or SVG by `Accept`."""

import io
import sys
from typing import Any

from .requests import HandlerRequest
from .responses import Response

PNG, SVG = "image/png", "image/svg+xml"


def answered(value: Any, request: HandlerRequest) -> Any:
    """The picture of a figure; every other value as it is."""
    if not is_figure(value):
        return value
    accept = request.headers.get("Accept", "")
    kind = SVG if quality(SVG, accept) > quality(PNG, accept) else PNG
    drawn = io.BytesIO()
    value.savefig(drawn, format="svg" if kind == SVG else "png", bbox_inches="tight")
    return Response(drawn.getvalue(), headers={"Content-Type": kind})


def is_figure(value: Any) -> bool:
    """Whether it is a figure; matplotlib is not imported here, only used when it is loaded."""
    kind = getattr(sys.modules.get("matplotlib.figure"), "Figure", None)
    return isinstance(kind, type) and isinstance(value, kind)


def quality(kind: str, accept: str) -> float:
    """How much a type is wanted (RFC 9110): the most exact of the ranges that it falls in."""
    best = (-1, 1.0 if not accept.strip() else 0.0)
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        exact = ("*/*", f"{kind.partition('/')[0]}/*", kind)
        if name in exact:
            best = max(best, (exact.index(name), _weight(parameters)))
    return best[1]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0
