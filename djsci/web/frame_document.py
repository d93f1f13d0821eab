"""The document of one rich output: what a run displayed, behind a script of ours that reports."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import mistune

from djsci import blobs

Level = Literal["static", "interactive"]

RANKED = ("text/html", "text/markdown", "application/javascript", "text/javascript")
PLOTLY = "application/vnd.plotly.v1+json"
MARKDOWN_LIMIT = 128 << 10  # more is shown as text: the renderer takes seconds for some of it

# First in the document, so that nothing runs before it: it tells how high the output is and how
# many scripts were blocked, and keeps a click on a link from replacing the output.
REPORTER = """\
(() => {
  const root = document.documentElement;
  const send = parent.postMessage.bind(parent);
  let blocked = 0;
  const report = () => {
    const bar = innerHeight - root.clientHeight;
    const height = Math.ceil(root.getBoundingClientRect().height) + (bar > 0 ? bar : 0);
    send({ height, blocked }, "*");
  };
  addEventListener("securitypolicyviolation", (event) => {
    if (!event.effectiveDirective.startsWith("script-src")) return;
    blocked += 1;
    report();
  });
  const stay = (event) => {
    for (const node of event.composedPath()) {
      if (!(node instanceof Element) || !/^(a|area)$/i.test(node.localName)) continue;
      const link = node.getAttribute("href") ?? node.getAttribute("xlink:href");
      if (link !== null && !link.startsWith("#")) event.preventDefault();
    }
  };
  addEventListener("click", stay, true);
  addEventListener("auxclick", stay, true);
  new ResizeObserver(report).observe(root);
  addEventListener("load", report);
})();
"""
REPORTER_HASH = base64.b64encode(hashlib.sha256(REPORTER.encode()).digest()).decode()

# What would load, embed or lead elsewhere is renamed: unknown elements do nothing. A template may
# be a closed shadow tree, whose links the reporter does not see.
_TAGS = re.compile(
    r"<(/?)(?=(?:meta|iframe|frame|object|embed|link|base|portal|fencedframe|template)"
    r"(?![\w:-]))",
    re.IGNORECASE,
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><script>{reporter}</script><title>{title}</title>\
<style>
:root {{ color-scheme: light dark; }}
html, body {{ height: auto !important; min-height: 0 !important; }}
body {{ margin: 8px; font: 13px/1.45 system-ui, sans-serif; overflow-wrap: break-word; }}
table {{ border-collapse: collapse; border: 0; font-variant-numeric: tabular-nums; }}
th, td {{ border: 0; border-bottom: 1px solid light-dark(#dfe2e8, #30353e); padding: 3px 10px; \
text-align: right; white-space: nowrap; }}
th {{ font-weight: 600; }}
pre, code {{ font: 12.5px/1.5 ui-monospace, monospace; }}
pre {{ overflow: auto; }}
img, svg {{ max-width: 100%; }}
a {{ color: light-dark(#1d5fbf, #7db1ff); }}
{style}</style></head><body>{body}</body></html>
"""

_markdown = mistune.create_markdown(escape=True, plugins=["table", "strikethrough", "task_lists"])


def document(data: Mapping[str, Any], *, seq: int, level: Level) -> str | None:
    """The page that shows the best part of a MIME bundle; None where no part needs a page."""
    body = markup(data)
    if body is None:
        return None
    return page(library_for([data]) + body, title=f"Output {seq}", level=level)


def page(body: str, *, title: str, level: Level, style: str = "") -> str:
    """The page around what a run displayed."""
    if level == "static":
        body = inert(body)
    return _PAGE.format(reporter=REPORTER, title=html.escape(title), style=style, body=body)


def notice(text: str, *, title: str) -> str:
    """The page that says why there is nothing to see."""
    return page(f"<p>{html.escape(text)}</p>", title=title, level="static")


def markup(data: Mapping[str, Any], *, place: str = "output") -> str | None:
    """The best part of a MIME bundle; a script draws into the element `place`."""
    if PLOTLY in data and _plotly_library():
        return _plot(data[PLOTLY], place)
    kind = next((kind for kind in RANKED if kind in data), None)
    if kind is None:
        return None
    text = text_of(data[kind])
    match kind:
        case "text/html":
            return text
        case "text/markdown":
            return rendered(text)
    return _scripted(text, place)


def library_for(bundles: Iterable[Mapping[str, Any]]) -> str:
    """What the scripts of these bundles need before them, once."""
    library = _plotly_library() if any(PLOTLY in data for data in bundles) else None
    return f"<script>{library}</script>" if library else ""


def rendered(text: str) -> str:
    """Markdown as HTML; the HTML in it is shown as text."""
    if len(text) > MARKDOWN_LIMIT:
        return f"<pre>{html.escape(text)}</pre>"
    return str(_markdown(text))


def _scripted(text: str, place: str) -> str:
    """A script with the `element` to draw in, as Jupyter gives it."""
    code = re.sub(r"</(?=script)", r"<\\/", text, flags=re.IGNORECASE).replace("<!--", "<\\!--")
    return (
        f'<div id="{place}"></div><script>'
        f'(function (element) {{\n{code}\n}})(document.getElementById("{place}"));</script>'
    )


def _plot(part: Any, place: str) -> str:
    """A figure of plotly; the HTML beside it relies on a page that has the library already."""
    is_stored = isinstance(part, dict) and "ref" in part
    text = text_of(part) if is_stored or isinstance(part, str) else json.dumps(part)
    figure = text.replace("<", "\\u003c")
    return (
        f'<div id="{place}"></div><script>(figure => Plotly.newPlot("{place}", figure.data, '
        f"figure.layout, {{responsive: true, ...figure.config}}))({figure});</script>"
    )


def _plotly_library() -> str | None:
    """plotly.js, where the server has the package that brings it."""
    found = find_spec("plotly")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder, "package_data", "plotly.min.js")
        if path.is_file():
            return _read(path)
    return None


@lru_cache(maxsize=1)
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def inert(markup: str) -> str:
    """The markup with every tag renamed that would load or lead elsewhere."""
    return _TAGS.sub(r"<\1x-", markup)


def text_of(part: Any) -> str:
    """A part of a bundle: text, a list of lines, or stored for its size."""
    if isinstance(part, dict):
        return blobs.get(part["ref"]).decode(errors="replace")
    return "".join(part) if isinstance(part, list) else str(part)
