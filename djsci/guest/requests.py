"""The request that a handler receives: plain values under Django's names."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


class QueryValues(Mapping[str, str]):
    """A multi-valued mapping, as Django's QueryDict: `[]` and `get` give the last, `getlist` all."""

    def __init__(self, items: Mapping[str, list[str]] | None = None) -> None:
        self._items = {key: list(values) for key, values in (items or {}).items()}

    def __getitem__(self, key: str) -> str:
        values = self._items[key]
        return values[-1] if values else ""

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"QueryValues({self._items!r})"

    def getlist(self, key: str) -> list[str]:
        """All values of `key`, in order; an empty list when it is missing."""
        return list(self._items.get(key, []))

    def lists(self) -> Iterator[tuple[str, list[str]]]:
        """Each key with all its values."""
        return iter(self._items.items())

    def dict(self) -> dict[str, str]:
        """Each key with its last value."""
        return {key: self[key] for key in self._items}


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
    FILES: Mapping[str, Any] = field(default_factory=dict)
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
            "FILES": dict(self.FILES),
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
                "headers": Headers(values["headers"]),
                "body": base64.b64decode(values["body"]),
                "user": User(**values["user"]),
            }
        )
