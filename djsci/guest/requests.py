"""The request that a handler receives: plain values under Django's names."""

import base64
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Value = TypeVar("Value")


class _Values(Mapping[str, Value]):
    """A mapping with several values a key: `[]` and `get` give the last, `getlist` all."""

    def __init__(self, items: Mapping[str, list[Value]] | None = None) -> None:
        self._items = {key: list(values) for key, values in (items or {}).items() if values}

    def __getitem__(self, key: str) -> Value:
        return self._items[key][-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"

    def getlist(self, key: str) -> list[Value]:
        """All values of `key`, in order; an empty list when it is missing."""
        return list(self._items.get(key, []))

    def lists(self) -> Iterator[tuple[str, list[Value]]]:
        """Each key with all its values."""
        return iter(self._items.items())

    def dict(self) -> dict[str, Value]:
        """Each key with its last value."""
        return {key: self[key] for key in self._items}


class QueryValues(_Values[str]):
    """The values of a query string or a form, as Django's QueryDict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A file that came with the request: `read()` gives its bytes."""

    name: str
    content_type: str = "application/octet-stream"
    content: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self) -> bytes:
        """All bytes of it, each time."""
        return self.content

    def open(self) -> io.BytesIO:
        """It as a binary file, for what wants to read or seek."""
        return io.BytesIO(self.content)

    def to_dict(self) -> dict[str, Any]:
        """The file as JSON values; `from_dict` reads it back."""
        content = base64.b64encode(self.content).decode()
        kind = self.content_type
        return {"name": self.name, "content_type": kind, "size": self.size, "content": content}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "UploadedFile":
        """The file that `to_dict` wrote."""
        content = base64.b64decode(values["content"])
        return cls(name=values["name"], content_type=values["content_type"], content=content)


class FileValues(_Values[UploadedFile]):
    """The request's files, as Django's FILES."""


class Headers(Mapping[str, str]):
    """HTTP headers, found whatever the case of their names."""

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = dict(items or {})
        self._names = {name.lower(): name for name in self._items}

    def __getitem__(self, name: str) -> str:
        return self._items[self._names[name.lower()]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Headers({self._items!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who called: no model, only what a handler may know."""

    id: Any = None
    username: str = ""
    is_authenticated: bool = False
    is_staff: bool = False
    is_superuser: bool = False

    def __str__(self) -> str:
        return self.username


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRequest:
    """The same value in every engine. `body` is bytes; `parameters` are JSON values, validated."""

    method: str = "GET"
    path: str = "/"
    path_info: str = "/"
    GET: QueryValues = field(default_factory=QueryValues)
    POST: QueryValues = field(default_factory=QueryValues)
    FILES: FileValues = field(default_factory=FileValues)
    COOKIES: Mapping[str, str] = field(default_factory=dict)
    headers: Headers = field(default_factory=Headers)
    META: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""
    user: User = field(default_factory=User)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> Any:
        """The body as JSON; ValueError when it is none."""
        return json.loads(self.body)

    def to_dict(self) -> dict[str, Any]:
        """The request as JSON values; `from_dict` reads it back."""
        return {
            "method": self.method,
            "path": self.path,
            "path_info": self.path_info,
            "GET": dict(self.GET.lists()),
            "POST": dict(self.POST.lists()),
            "FILES": {
                name: [file.to_dict() for file in files] for name, files in self.FILES.lists()
            },
            "COOKIES": dict(self.COOKIES),
            "headers": dict(self.headers),
            "META": dict(self.META),
            "body": base64.b64encode(self.body).decode(),
            "content_type": self.content_type,
            "user": {name: getattr(self.user, name) for name in User.__slots__},
            "parameters": dict(self.parameters),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HandlerRequest":
        """The request that `to_dict` wrote."""
        return cls(
            **{
                **values,
                "GET": QueryValues(values["GET"]),
                "POST": QueryValues(values["POST"]),
                "FILES": FileValues(
                    {
                        name: [UploadedFile.from_dict(file) for file in files]
                        for name, files in values["FILES"].items()
                    }
                ),
                "headers": Headers(values["headers"]),
                "body": base64.b64decode(values["body"]),
                "user": User(**values["user"]),
            }
        )
