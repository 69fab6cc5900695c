"""What a report is made of: plain data, which the page draws and the JSON holds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Literal

Cell = str | int | float | None
Tone = Literal["kept", "rejected", "plain"]
Kind = Literal["text", "number", "share", "id"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that matters, with its name and what it is of."""

    name: str
    value: Cell
    note: str = ""
    kind: Kind = "number"


@dataclass(frozen=True, slots=True)
class Figures:
    block: ClassVar[str] = "figures"
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """kind: a `share` is a fraction, shown in per cent with a bar; an `id` is a number that is no amount."""

    name: str
    kind: Kind = "number"


@dataclass(frozen=True, slots=True)
class Table:
    """folded: shown when it is asked for. half: of the page's width."""

    block: ClassVar[str] = "table"
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: bool = False
    half: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """A count for each bin, or a y for each x of `Curves`; None where there is none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A line at an x, such as a bar that a score must reach."""

    name: str
    x: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bins between edges; the series stand on each other."""

    block: ClassVar[str] = "histogram"
    title: str
    x: str
    edges: tuple[float, ...]
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curves:
    """Lines over shared xs."""

    block: ClassVar[str] = "curves"
    title: str
    x: str
    y: str
    xs: tuple[float, ...]
    series: tuple[Series, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of what was realised, and of what was expected."""

    name: str
    count: int
    mean: float
    std: float
    expected_mean: float
    expected_std: float


@dataclass(frozen=True, slots=True)
class Spreads:
    block: ClassVar[str] = "spreads"
    title: str
    x: str
    rows: tuple[Spread, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Counts by place, rows from the top."""

    block: ClassVar[str] = "heatmap"
    title: str
    counts: tuple[tuple[int, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image. The JSON has its size only."""

    kind: Literal["webp"]
    data: bytes
    size_hw: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture, a line below it, and all that is known of where it comes from."""

    picture: Picture
    caption: str
    told: Mapping[str, Any]
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Gallery:
    """size: of the tiles."""

    block: ClassVar[str] = "gallery"
    title: str
    shots: tuple[Shot, ...]
    note: str = ""
    size: Literal["small", "large"] = "small"


Block = Figures | Table | Histogram | Curves | Spreads | HeatMap | Gallery


@dataclass(frozen=True, slots=True)
class Section:
    """key: of its address in the page, unlike that of any other section of the chapter."""

    key: str
    title: str
    blocks: tuple[Block, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Chapter:
    """What is told of one folder."""

    name: str
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Report:
    name: str
    chapters: tuple[Chapter, ...]


def as_json(value: Any) -> Any:
    """Plain JSON: a block says which it is, numbers that are none are null, and pixels are left out."""
    if isinstance(value, Picture):
        return {"height": value.size_hw[0], "width": value.size_hw[1]}
    if is_dataclass(value):
        told = {"block": value.block} if hasattr(value, "block") else {}
        return told | {one.name: as_json(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [as_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
