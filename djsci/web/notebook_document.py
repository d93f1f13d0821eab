"""The executed notebook as one page for a frame: its cells, what they said, how long they took."""

import base64
import html
import json
from collections.abc import Mapping
from typing import Any

from djsci.core.terminal import plain

from . import frame_document
from .frame_document import PLOTLY, Level
from .highlight import highlighted
from .printed import folded
from .run_words import seconds
from .source_view import visible

MOST_SHOWN = 16 << 20  # characters of outputs: what comes later is in the `.ipynb` alone
MOST_MARKED = 400_000  # of code and prose: what comes later has no colours
MOST_TEXT = 200_000  # of one output as text
MARKDOWN = "text/markdown"
_IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS = ("application/json", "text/latex", "text/plain")
_STYLE = """\
.dj-cell { margin: 0 0 18px; padding-left: 10px; \
border-left: 3px solid light-dark(#dfe2e8, #30353e); }
.dj-note { margin: 0; font-size: 12px; color: light-dark(#5a6270, #9aa3b1); }
.dj-source { margin: 2px 0 8px; padding: 8px 12px; border-radius: 6px; tab-size: 4; \
background: light-dark(#f3f4f7, #15181d); }
.dj-out { margin: 0 0 8px; overflow: auto; }
pre.dj-out { max-height: 60vh; white-space: pre-wrap; overflow-wrap: anywhere; }
.dj-bad { border-left: 3px solid light-dark(#b3261e, #ff8f85); padding-left: 8px; }
.dj-k { color: light-dark(#7a2d8f, #dd9cf0); }
.dj-f, .dj-d { color: light-dark(#2156c4, #86acff); }
.dj-b, .dj-n { color: light-dark(#0b6270, #62cbd9); }
.dj-s { color: light-dark(#17703a, #63d08b); }
.dj-c { color: light-dark(#5a6270, #9aa3b1); }
"""


def document(notebook: Mapping[str, Any], *, title: str, level: Level) -> str:
    """The page of a notebook as nbformat 4.5 has it, which comes from `runs.receipts`."""
    language = notebook["metadata"]["language_info"]["name"]
    drawing = _Drawing(level, "python" if language.startswith(("python", "ipython")) else language)
    cells = "".join(map(drawing.cell, notebook["cells"]))
    library = frame_document.library_for([{PLOTLY: None}] if drawing.has_plots else [])
    return frame_document.page(library + cells, title=title, level=level, style=_STYLE)


class _Drawing:
    """Cells in their order, within what a page may hold."""

    def __init__(self, level: Level, language: str) -> None:
        self.has_plots = False
        self._language = language
        self._is_static = level == "static"
        self._shown = 0
        self._marked = 0
        self._outputs = 0

    def cell(self, cell: Mapping[str, Any]) -> str:
        text = str(cell["source"])
        if cell["cell_type"] == "markdown":
            body = frame_document.rendered(text) if self._may_mark(text) else _pre(text)
            return f'<section class="dj-prose">{body}</section>'
        is_marked = self._may_mark(text)
        code = highlighted(visible(text), self._language if is_marked else "text")
        outputs = "".join(self._output(output) for output in cell["outputs"])
        return (
            f'<section class="dj-cell"><p class="dj-note">{_note(cell)}</p>'
            f'<pre class="dj-source">{code}</pre>{outputs}</section>'
        )

    def _may_mark(self, text: str) -> bool:
        self._marked += len(text)
        return self._marked <= MOST_MARKED

    def _output(self, output: Mapping[str, Any]) -> str:
        self._outputs += 1
        if self._shown > MOST_SHOWN:
            return ""
        drawn = self._drawn(output)
        self._shown += len(drawn)
        if self._shown > MOST_SHOWN:
            return _pre("This output and those below are too large for a page: see the .ipynb.")
        return drawn

    def _drawn(self, output: Mapping[str, Any]) -> str:
        match output["output_type"]:
            case "stream":
                text = folded(plain("".join(output["text"])))
                return _pre(text, is_bad=output["name"] == "stderr")
            case "error":
                said = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
                return _pre(plain(said), is_bad=True)
        return self._bundle(output["data"])

    def _bundle(self, data: Mapping[str, Any]) -> str:
        prose = data.get(MARKDOWN)
        if prose is not None and not self._may_mark(prose := frame_document.text_of(prose)):
            data = {"text/plain": prose, **{kind: data[kind] for kind in data if kind != MARKDOWN}}
        if PLOTLY in data:  # written out: what stands in a part refers to nothing any more
            data = {**data, PLOTLY: json.dumps(data[PLOTLY])}
            self.has_plots = self.has_plots or not self._is_static
        body = frame_document.markup(data, place=f"output-{self._outputs}")
        if body is not None:
            return f'<div class="dj-out">{body}</div>'
        kind = next((kind for kind in (*_IMAGES, *_TEXTS) if kind in data), None)
        if kind is None:
            return ""
        if kind in _IMAGES:
            return _image(kind, frame_document.text_of(data[kind]))
        is_value = kind == "application/json"
        text = json.dumps(data[kind], ensure_ascii=False, indent=2) if is_value else None
        return _pre(plain(text or frame_document.text_of(data[kind])))


def _note(cell: Mapping[str, Any]) -> str:
    """The line above a cell's code: its count, what went wrong, how long it took."""
    about = cell["metadata"].get("djsci", {})
    parts = [f"[{cell['execution_count'] or ' '}]", *cell["metadata"].get("tags", ())]
    if "seconds" in about:
        parts.append(seconds(about["seconds"]))
    if about.get("state") == "error":
        parts.append("failed")
    return html.escape(" · ".join(parts))


def _pre(text: str, *, is_bad: bool = False) -> str:
    more = f"\n… {len(text) - MOST_TEXT:,} more characters" if len(text) > MOST_TEXT else ""
    name = "dj-out dj-bad" if is_bad else "dj-out"
    return f'<pre class="{name}">{html.escape(visible(text[:MOST_TEXT] + more))}</pre>'


def _image(kind: str, text: str) -> str:
    if kind == "image/svg+xml":
        text = base64.b64encode(text.encode()).decode()
    return f'<p class="dj-out"><img alt="" src="data:{kind};base64,{html.escape(text)}"></p>'
