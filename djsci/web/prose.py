"""Markdown that others wrote -> markup for a page of ours: no HTML of theirs, no style, no load."""

import re
from typing import Any

import mistune
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from .highlight import highlighted
from .source_view import visible

MOST_CHARACTERS = 20_000
_WEB = re.compile(r"https?://", re.IGNORECASE)


class _Renderer(mistune.HTMLRenderer):
    """What the policy of our pages lets through, and headings that fit below ours."""

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        return f"<h3>{text}</h3>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if not _WEB.match(url):
            return text
        return f'<a href="{escape(url)}" rel="nofollow noreferrer noopener">{text}</a>'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return f"<em>{escape(mistune.util.striptags(text)) or 'image'}</em>"

    def block_code(self, code: str, info: str | None = None) -> str:
        kind = (info or "text").split(None, 1)[0] if (info or "").strip() else "text"
        return f'<pre class="dj-code">{highlighted(code.removesuffix(chr(10)), kind)}</pre>\n'

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        name = "th" if head else "td"
        return f"<{name}>{text}</{name}>\n"


_markdown = mistune.create_markdown(
    escape=True, renderer=_Renderer(escape=True), plugins=["table", "strikethrough"]
)


def prose(text: str) -> SafeString:
    """Markdown as markup; what is very long stays text."""
    text = visible(text.replace("\r\n", "\n"))
    if len(text) > MOST_CHARACTERS:
        return mark_safe(f'<div class="dj-prose">{escape(text)}</div>')  # noqa: S308 - escaped
    return mark_safe(f'<div class="dj-markdown">{_markdown(text)}</div>')  # noqa: S308 - escaped
