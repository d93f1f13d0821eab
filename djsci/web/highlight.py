"""Source text -> spans of a few classes, for `<pre class="dj-code">`: no style, no script."""

from collections.abc import Iterator

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.lexers.special import TextLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType
from pygments.util import ClassNotFound

MOST_CHARACTERS = 200_000
_KINDS = {"ipynb": "python", "code": "python"}
# The first that a token belongs to; what is in none stays plain text.
_CLASSES: tuple[tuple[_TokenType, str], ...] = (
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Decorator, "d"),
    (Name.Builtin, "b"),
    (Name.Exception, "b"),
    (Name.Tag, "k"),
    (String, "s"),
    (Number, "n"),
    (Comment, "c"),
)


def highlighted(text: str, kind: str) -> SafeString:
    """The inside of a `<pre class="dj-code">`: `kind` is py, ipynb or a lexer's name.

    No span crosses the end of a line. What is long, or of a kind that nobody knows, stays plain.
    """
    lexer = _lexer(kind) if len(text) <= MOST_CHARACTERS else None
    inner = "".join(_spans(text, lexer)) if lexer else escape(text)
    # The first newline in a <pre> is not shown: one more keeps it.
    return mark_safe(("\n" if text.startswith("\n") else "") + inner)  # noqa: S308 - escaped above


def _lexer(kind: str) -> Lexer | None:
    try:
        lexer: Lexer = get_lexer_by_name(
            _KINDS.get(kind, kind), stripnl=False, ensurenl=False, stripall=False
        )
    except ClassNotFound:
        return None
    return None if isinstance(lexer, TextLexer) else lexer


def _spans(text: str, lexer: Lexer) -> Iterator[str]:
    for token, value in lexer.get_tokens(text):
        name = next((name for kind, name in _CLASSES if token in kind), "")
        if not name:
            yield escape(value)
            continue
        for line in value.splitlines(keepends=True):
            end = "\n" if line.endswith("\n") else ""
            body = line.removesuffix("\n")
            yield (f'<span class="dj-{name}">{escape(body)}</span>' if body else "") + end
