"""Classes of a source as parameters, one case a line: annotation, value, what becomes of it.

`made` is the repr of what the handler gets; `refused` the fields that the schema names.
"""

from dataclasses import dataclass
from typing import Any

PRELUDE = '''\
import dataclasses
import typing as t
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, ClassVar, Generic, Literal, NamedTuple, NotRequired, Optional
from typing import Final, Required, TypedDict, TypeVar

import annotated_types as at
import pydantic
from annotated_types import Ge, Len
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, RootModel, StringConstraints
from pydantic.alias_generators import to_camel

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Base(TypedDict):
    id: int


class Row(Base, total=False):
    """A row.

    Attributes:
        note: What one says.
    """

    note: str
    when: Required[date]


class Loose(TypedDict):
    a: int
    b: NotRequired[int]


@dataclass
class Point:
    """A place.

    Attributes:
        x: Metres east.
        y (float): Metres
            north.
    """

    x: float
    y: float = 0.0
    tags: list[str] = field(default_factory=list)
    kind: ClassVar[str] = "point"
    size: float = field(default=1.0, init=False)


@dataclasses.dataclass(kw_only=True)
class Marked(Point):
    label: str
    colour: Colour = Colour.RED
    was: date | None = None
    scale: InitVar[float] = 1


@dataclass
class Slots:
    _: KW_ONLY
    a: int = None


class Pair(NamedTuple):
    low: int
    high: int = 9


class Item(BaseModel):
    """One line of an order."""

    name: str = Field(min_length=1, max_length=20, description="As in the catalogue.")
    price: Annotated[float, Field(gt=0)]
    count: PositiveInt = 1
    code: str | None = Field(None, pattern="^[A-Z]{2}[0-9]+$")
    _secret: int = 3


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    items: list[Item] = Field(min_length=1, max_length=3)
    due: date
    total: Optional[Decimal]
    point: Point | None = None


class Camel(BaseModel):
    model_config = {"alias_generator": to_camel, "strict": True}

    first_day: date
    last_day: date = Field(alias="end")


@dataclass
class Fixed:
    when: Final[date]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Node(BaseModel):
    value: int
    children: list["Node"] = []


class Numbers(RootModel[list[int]]):
    pass


class Page(BaseModel, Generic[T]):
    content: list[T]


Size = Annotated[int, Ge(1), at.Le(9), "how many"]
Name = Annotated[str, StringConstraints(pattern=r"^\\w+$", max_length=8)]
'''


@dataclass(frozen=True, slots=True)
class Case:
    annotation: str
    value: Any
    made: str = ""
    refused: tuple[str, ...] = ()
    is_left_to_schema: bool = False  # the bounds of a plain value are the schema's alone

    def __str__(self) -> str:
        return f"{self.annotation} {'takes' if self.made else 'refuses'} {self.value!r}"[:80]


_DAY = {"when": "2026-02-28"}
_ITEM = {"name": "pen", "price": 2}
_ORDER = {"items": [_ITEM], "due": "2026-02-28", "total": "1.50"}
_FULL = "Item(name='pen', price=2.0, count=1, code=None)"
_TAKEN: tuple[tuple[str, Any, str], ...] = (
    ("Row", {"id": 1, **_DAY}, "{'id': 1, 'when': datetime.date(2026, 2, 28)}"),
    ("Loose", {"a": 1, "c": 2}, "{'a': 1, 'c': 2}"),
    ("Point", {"x": 1}, "Point(x=1.0, y=0.0, tags=[], size=1.0)"),
    (
        "Marked",
        {"x": 1, "label": "a", "colour": "blue", "was": None, "scale": 2},
        "Marked(x=1.0, y=0.0, tags=[], size=1.0, label='a',"
        " colour=<Colour.BLUE: 'blue'>, was=None)",
    ),
    ("Slots", {"a": None}, "Slots(a=None)"),
    ("Pair", {"low": 1}, "Pair(low=1, high=9)"),
    ("Fixed", _DAY, "Fixed(when=datetime.date(2026, 2, 28))"),
    ("list[Pair]", [{"low": 1, "high": 2}], "[Pair(low=1, high=2)]"),
    ("dict[str, Point]", {"a": {"x": 1}}, "{'a': Point(x=1.0, y=0.0, tags=[], size=1.0)}"),
    ("Item", {**_ITEM, "other": 1}, _FULL),
    (
        "Order",
        _ORDER,
        f"Order(items=[{_FULL}], due=datetime.date(2026, 2, 28), total=Decimal('1.50'),"
        " point=None)",
    ),
    (
        "Camel",
        {"firstDay": "2026-02-28", "end": "2026-03-01"},
        "Camel(first_day=datetime.date(2026, 2, 28), last_day=datetime.date(2026, 3, 1))",
    ),
    ("Cat | Dog", {"kind": "dog", "name": "a"}, "Dog(kind='dog', name='a')"),
    (
        "Node",
        {"value": 1, "children": [{"value": 2, "children": []}]},
        "Node(value=1, children=[Node(value=2, children=[])])",
    ),
    ("Numbers", [1, 2], "Numbers(root=[1, 2])"),
    ("Page", {"content": [1, "a"]}, "Page(content=[1, 'a'])"),
    ("Size", 3, "3"),
    ("Name", "abc", "'abc'"),
    ("Annotated[list[Size] | None, Len(1, 2)]", [1], "[1]"),
)
_REFUSED: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    ("Row", {"id": "1", "note": 3}, ("v.id", "v.note", "v.when")),
    ("Row", [1], ("v",)),
    ("Point", {"x": "east", "z": 1}, ("v.x", "v.z")),
    ("Point", {"x": 1, "size": 2}, ("v.size",)),
    ("Point", {"x": 1, "kind": "a"}, ("v.kind",)),
    ("Marked", {"x": 1, "colour": "green"}, ("v.label", "v.colour")),
    ("Pair", {"high": 1}, ("v.low",)),
    ("Pair", [1, 2], ("v",)),
    ("list[Pair]", [{"low": 1}, {"low": "a"}], ("v[1].low",)),
    ("Item", {"name": "", "price": 0, "count": 0}, ("v.name", "v.price", "v.count")),
    ("Item", {**_ITEM, "code": "x"}, ("v.code",)),
    ("Item", {"name": "x" * 21, "price": 1, "count": None}, ("v.name", "v.count")),
    ("Order", {**_ORDER, "items": [_ITEM, {"name": "a", "price": "x"}]}, ("v.items[1].price",)),
    ("Order", {**_ORDER, "items": []}, ("v.items",)),
    ("Order", {**_ORDER, "items": [_ITEM] * 4}, ("v.items",)),
    ("Order", {**_ORDER, "oops": 1, "point": {"x": 1, "y": "n"}}, ("v.oops", "v.point.y")),
    ("Order", {"items": [_ITEM], "due": "soon"}, ("v.due", "v.total")),
    ("Camel", {"first_day": "2026-02-28", "end": "2026-03-01"}, ("v.firstDay",)),
    ("Cat | Dog", {"kind": "cat", "lives": 10}, ("v.lives",)),
    ("Cat | Dog | None", {"kind": "cow"}, ("v",)),
    ("Node", {"value": 1, "children": [{"value": 2, "children": 3}, 4]}, ("v.children[1]",)),
    ("Numbers", ["a"], ("v[0]",)),
    ("Page", {"content": 3}, ("v.content",)),
)  # fmt: skip
_BOUNDED: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    ("Loose", {}, ("v.a",)),
    ("Size", 0, ("v",)),
    ("Size", 10, ("v",)),
    ("Name", "a b", ("v",)),
    ("Name", "x" * 9, ("v",)),
    ("list[Size]", [1, 0], ("v[1]",)),
    ("Annotated[list[Size] | None, Len(1, 2)]", [], ("v",)),
    ("pydantic.conint(gt=3)", 3, ("v",)),
)

CASES: tuple[Case, ...] = (
    *(Case(annotation, value, made) for annotation, value, made in _TAKEN),
    *(Case(annotation, value, refused=refused) for annotation, value, refused in _REFUSED),
    *(Case(each[0], each[1], refused=each[2], is_left_to_schema=True) for each in _BOUNDED),
)
