"""Bytes -> text: what a file is by its first bytes, and in which encoding."""

import codecs
import io
import re
import tokenize

from .errors import SourceInvalid, WrongKind

_OTHER_KINDS = (  # how files begin that are plainly neither notebook nor Python
    (b"PK\x03\x04", "a zip archive or an office document"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x7fELF", "an executable"),
    (b"\xcf\xfa\xed\xfe", "an executable"),
    (b"\xca\xfe\xba\xbe", "an executable"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"II*\x00", "an image"),
    (b"MM\x00*", "an image"),
    (b"RIFF", "an image, a sound or a film"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh9", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"Rar!", "a rar archive"),
    (b"SQLite format 3\x00", "a database"),
    (b"PAR1", "a Parquet table"),
    (b"\x89HDF", "an HDF5 file"),
)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TRANSFORMS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape"})
_PLAIN = bytes(range(32, 127)) + b"\t\n"
_MARKUP = re.compile(rb"\s*<[!?a-zA-Z]")


def refuse_other_kinds(name: str, data: bytes) -> None:
    """Raise for what is plainly no notebook and no Python, by its first bytes."""
    for start, kind in _OTHER_KINDS:
        if data.startswith(start):
            raise WrongKind(f"{name} is {kind}; only notebooks and Python files are taken.")
    if data.startswith(b"MZ") and b"\x00" in data[:1024]:
        raise WrongKind(f"{name} is an executable; only notebooks and Python files are taken.")
    if data.startswith(_UTF_16) or (b"\x00" in data[:4] and data[:4].strip(b"\x00")):
        raise SourceInvalid(f"{name} is UTF-16 or binary; save it as UTF-8.")
    if b"\x00" in data:
        raise SourceInvalid(f"{name} holds NUL bytes: it is no text.")
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise SourceInvalid(f"{name} is empty.")
    if _MARKUP.match(data.removeprefix(codecs.BOM_UTF8)):
        raise SourceInvalid(f"{name} is HTML or XML, neither a notebook nor Python.")


def decode(name: str, data: bytes, encoding: str) -> str:
    """The text of `data`, or an error that names the line."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"not valid {encoding}: {error.reason}"
        raise SourceInvalid(
            f"{name}, line {line}: {message}.", errors=[{"line": line, "message": message}]
        ) from error


def python_text(name: str, data: bytes) -> str:
    """The text of a Python file, by its BOM or its source cookie, with plain newlines."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        is_transform = codecs.lookup(encoding).name in _TRANSFORMS
        if is_transform or _PLAIN.decode(encoding) != _PLAIN.decode("ascii"):
            raise SyntaxError(f"the encoding {encoding} is not taken")
    except (SyntaxError, LookupError, UnicodeError) as error:
        message = str(getattr(error, "msg", None) or error)
        raise SourceInvalid(
            f"{name}: {message}.", errors=[{"line": 1, "message": message}]
        ) from error
    text = decode(name, data, encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")
