"""How pages write names, ages and lengths of time."""

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from djsci.models import PrivateFile
from djsci.web import prose as markdown
from djsci.web import run_words
from djsci.web.source_view import visible

register = template.Library()
_UNITS = ((60, "s", 1), (3600, "min", 60), (86_400, "h", 3600), (86_400 * 60, "d", 86_400))


@register.filter
def label(file: PrivateFile | None, most: int = 500) -> str:
    """What a file is called, on one line: its name, or its id where it has none that shows."""
    if file is None:
        return "–"
    name = " ".join(visible(" ".join((file.name or "").split())).split()) or str(file.pk)
    return name if len(name) <= most else f"{name[: most - 1]}…"


@register.filter
def shown(text: object) -> str:
    """Text whose hidden characters are written as codes."""
    return visible(str(text))


@register.filter
def prose(text: str) -> SafeString:
    """Markdown that others wrote, as markup that loads and runs nothing."""
    return markdown.prose(text)


@register.filter
def took(seconds: float | None) -> str:
    """A length of time."""
    return "" if seconds is None else run_words.seconds(seconds)


@register.filter
def ago(time: datetime | None) -> str | SafeString:
    """How long ago, as a `<time>` that the page's script keeps true."""
    if time is None:
        return "–"
    passed = max((timezone.now() - time).total_seconds(), 0)
    text = next(
        (f"{int(passed // size)} {unit} ago" for most, unit, size in _UNITS if passed < most), ""
    )
    text = "just now" if passed < 5 else text or f"{time:%Y-%m-%d}"
    return format_html(
        '<time datetime="{}" title="{}" data-djsci-ago="{}">{}</time>',
        time.isoformat(),
        f"{time:%Y-%m-%d %H:%M:%S %Z}".strip(),
        round(passed),
        text,
    )


@register.filter
def size(count: Any) -> str:
    """Bytes, for people."""
    number = float(count or 0)
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return (
                f"{number:.0f} {unit}"
                if unit == "bytes" or number >= 10
                else f"{number:.1f} {unit}"
            )
        number /= 1024
    return f"{number:.1f} GiB"
