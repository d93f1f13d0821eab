"""The guest protocol's frames: `u32 length | kind | body`, each one message of a packet socket."""

import json
import struct
from collections.abc import Iterator
from typing import Any

VERSION = 1
PART = 96 << 10  # bytes of a part: a frame fits any socket's buffer
MOST = 1 << 20  # bytes of one frame
OBJECT, STDOUT, STDERR, BYTES = b"j", b"o", b"e", b"b"
ARTIFACT = "artifact:"  # what parts are of, with a number, a colon and the name after it
_HEAD = struct.Struct("!Ic")
_SIZE = struct.Struct("!I")


class BadFrame(ValueError):
    """What came is no frame of this protocol."""


def frame(kind: bytes, body: bytes) -> bytes:
    """One frame, ready to send."""
    return _HEAD.pack(len(body), kind) + body


def parse(data: bytes) -> tuple[bytes, bytes]:
    """The kind and the body of one frame. Raises `BadFrame`."""
    if len(data) < _HEAD.size or len(data) > MOST:
        raise BadFrame(f"a frame of {len(data)} bytes")
    size, kind = _HEAD.unpack_from(data)
    if size != len(data) - _HEAD.size:
        raise BadFrame(f"a frame that says {size} bytes and has {len(data) - _HEAD.size}")
    return kind, data[_HEAD.size :]


def message(values: dict[str, Any]) -> Iterator[bytes]:
    """The frames of a JSON object: one, or parts where it is large."""
    body = json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", "replace")
    if len(body) <= PART:
        yield frame(OBJECT, body)
    else:
        yield from parts(OBJECT.decode(), body)


def parts(of: str, data: bytes) -> Iterator[bytes]:
    """The frames of `data`, named `of`; the last one says so."""
    view = memoryview(data)
    for start in range(0, len(data) or 1, PART):
        yield _part(of, bytes(view[start : start + PART]), is_last=start + PART >= len(data))


def stream(of: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same of data that comes in pieces, each of at most `PART` bytes."""
    held = next(pieces, b"")
    for piece in pieces:
        yield _part(of, held, is_last=False)
        held = piece
    yield _part(of, held, is_last=True)


def _part(of: str, piece: bytes, *, is_last: bool) -> bytes:
    head = json.dumps({"of": of, "last": is_last}).encode()
    return frame(BYTES, _SIZE.pack(len(head)) + head + piece)


class Assembly:
    """Puts parts together, never more than `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._parts: dict[str, list[bytes]] = {}
        self._size = 0

    def add(self, body: bytes) -> tuple[str, bytes] | None:
        """The name and the bytes of what is complete with this part. Raises `BadFrame`."""
        try:
            (size,) = _SIZE.unpack_from(body)
            head = json.loads(body[_SIZE.size : _SIZE.size + size])
            name, is_last = str(head["of"]), bool(head["last"])
        except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadFrame("a part without its head") from error
        piece = body[_SIZE.size + size :]
        self._size += len(piece)
        if self._size > self.limit:
            raise BadFrame(f"parts of more than {self.limit} bytes")
        held = self._parts.setdefault(name, [])
        held.append(piece)
        if not is_last:
            return None
        whole = b"".join(self._parts.pop(name))
        self._size -= len(whole)
        return name, whole
