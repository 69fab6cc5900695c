"""Charts as SVG that takes its colours from the page, so that they are right in the dark, too.

Series number n has the class fn where it is filled, and ln where it is a line; after the last of `COLOURS`
they begin anew.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape

import numpy as np

from xpaste_ray.html_report.blocks import Curves, HeatMap, Histogram, Mark, Spreads
from xpaste_ray.html_report.numbers import short

COLOURS = 8  # --c0 to --c7 of page.css

_WIDTH, _HEIGHT = 520, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 18, 40
_ROW_PX, _NAMES_PX = 22, 150
_HEAT_PX = 240
_MOST_LETTERS = 22


def colour_of(number: int) -> int:
    """Which colour a chart's series of this number has."""
    return number % COLOURS


def histogram_svg(block: Histogram) -> str:
    """Bars that stand on each other, and marks."""
    counts = np.array([one.values for one in block.series], float)
    xs = [*block.edges, *(mark.x for mark in block.marks)]
    frame = _Frame(min(xs), max(xs), 0, float(counts.sum(axis=0).max()), finest_y=1)
    parts = [*frame.axes(block.x)]
    base = np.zeros(counts.shape[1])
    for number, (one, values) in enumerate(zip(block.series, counts, strict=True)):
        for place in np.flatnonzero(values).tolist():
            low, high = block.edges[place], block.edges[place + 1]
            hint = f"{one.name}: {int(values[place]):,} from {short(low)} to {short(high)}"
            left, right = frame.x(low), frame.x(high)
            top, bottom = frame.y(base[place] + values[place]), frame.y(base[place])
            box = (left, top, max(right - left - 0.6, 0.6), max(bottom - top, 0.8))
            parts.append(_rect(f"f{colour_of(number)}", box, hint))
        base += values
    parts += [part for mark in block.marks for part in _mark(frame, mark)]
    return _svg(block.title, parts)


def _mark(frame: "_Frame", mark: Mark) -> Iterator[str]:
    """A line, its name on the side where there is more room."""
    x = frame.x(mark.x)
    yield _line("mark", (x, _TOP - 4), (x, _HEIGHT - _BOTTOM))
    anchor, shift = ("end", -5) if x > 0.6 * _WIDTH else ("start", 5)
    yield _text(mark.name, (x + shift, _TOP - 6), anchor, "mark")


def curves_svg(block: Curves) -> str:
    """Lines with a dot at each point."""
    values = [value for one in block.series for value in one.values if value is not None]
    frame = _Frame(block.xs[0], block.xs[-1], min([0.0, *values]), max([1e-9, *values]))
    parts = [*frame.axes(block.x, block.y)]
    for number, one in enumerate(block.series):
        pairs = zip(block.xs, one.values, strict=True)
        points = [(frame.x(x), frame.y(y)) for x, y in pairs if y is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="l{colour_of(number)}" points="{path}"/>')
        parts += [_dot(f"f{colour_of(number)}", point, 2.6) for point in points]
    return _svg(block.title, parts)


def spreads_svg(block: Spreads) -> str:
    """Of each row two intervals, mean plus and minus the standard deviation: expected above realised."""
    height = _TOP + _ROW_PX * len(block.rows) + _BOTTOM
    ends = [0.0]
    for row in block.rows:
        ends += [row.mean - row.std, row.mean + row.std]
        ends += [row.expected_mean - row.expected_std, row.expected_mean + row.expected_std]
    frame = _Frame(min(ends), max(ends), 0, 1, left=_NAMES_PX, height=height)
    parts = [*frame.x_axis(block.x)]
    for number, row in enumerate(block.rows):
        y = _TOP + _ROW_PX * (number + 0.5)
        name = row.name if len(row.name) <= _MOST_LETTERS else f"{row.name[: _MOST_LETTERS - 1]}…"
        parts.append(_text(name, (_NAMES_PX - 8, y + 4), "end", "name"))
        told = ((0, row.mean, row.std, y + 4), (1, row.expected_mean, row.expected_std, y - 4))
        for kind, mean, std, at in told:
            parts.append(_line(f"l{kind} wide", (frame.x(mean - std), at), (frame.x(mean + std), at)))
            parts.append(_dot(f"f{kind}", (frame.x(mean), at), 3.6))
    return _svg(block.title, parts, (_WIDTH, height))


def heatmap_svg(block: HeatMap) -> str:
    """A square a cell, the denser the fuller."""
    counts = np.array(block.counts)
    side, most = _HEAT_PX / len(counts), max(int(counts.max()), 1)
    parts = [_rect("ground", (0, 0, _HEAT_PX, _HEAT_PX))]
    for row, column in np.argwhere(counts).tolist():
        count = int(counts[row, column])
        density = f' fill-opacity="{0.08 + 0.92 * count / most:.2f}"'
        parts.append(_rect("f0", (column * side, row * side, side, side), f"{count:,}", density))
    return _svg(block.title, parts, (_HEAT_PX, _HEAT_PX))


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values lie in a chart, in its units. finest_y: the least step between the marks of the y axis."""

    low: float
    high: float
    bottom: float
    top: float
    left: int = _LEFT
    height: int = _HEIGHT
    finest_y: float = 0.0

    def x(self, value: float) -> float:
        width = _WIDTH - self.left - _RIGHT
        span = self.high - self.low
        return self.left + width * ((value - self.low) / span if span else 0.5)

    def y(self, value: float) -> float:
        share = (value - self.bottom) / ((self.top - self.bottom) or 1)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def axes(self, x_name: str, y_name: str = "") -> Iterator[str]:
        for value in ticks(self.bottom, self.top, 4, self.finest_y):
            y = self.y(value)
            yield _line("grid", (self.left, y), (_WIDTH - _RIGHT, y))
            yield _text(short(value), (self.left - 6, y + 4), "end")
        if y_name:
            yield _text(y_name, (self.left - 6, _TOP - 7), "start", "title")
        yield from self.x_axis(x_name)

    def x_axis(self, name: str) -> Iterator[str]:
        floor = self.height - _BOTTOM
        yield _line("axis", (self.left, floor), (_WIDTH - _RIGHT, floor))
        for value in ticks(self.low, self.high, 6):
            x = self.x(value)
            yield _line("axis", (x, floor), (x, floor + 4))
            yield _text(short(value), (x, floor + 16), "middle")
        yield _text(name, ((self.left + _WIDTH - _RIGHT) / 2, self.height - 6), "middle", "title")


def ticks(low: float, high: float, count: int, finest: float = 0.0) -> list[float]:
    """About `count` round numbers from low to high: steps of 1, 2 or 5 times a power of ten, at least
    `finest`."""
    if high <= low:
        return [low]
    rough = max((high - low) / count, finest)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(one * size for one in (1, 2, 5, 10) if one * size >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


Point = tuple[float, float]


def _rect(kind: str, box_xywh: tuple[float, float, float, float], hint: str = "", more: str = "") -> str:
    x, y, width, height = box_xywh
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.2f}"'
    return f'<rect class="{kind}" {place}{more}><title>{escape(hint)}</title></rect>'


def _line(kind: str, start: Point, end: Point) -> str:
    place = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line class="{kind}" {place}/>'


def _dot(kind: str, at: Point, radius: float) -> str:
    return f'<circle class="{kind}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}"/>'


def _text(text: str, at: Point, anchor: str, kind: str = "tick") -> str:
    place = f'x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(text)}</text>'


def _svg(title: str, parts: Iterable[str], size_wh: tuple[int, int] = (_WIDTH, _HEIGHT)) -> str:
    box, inside = f"0 0 {size_wh[0]} {size_wh[1]}", "".join(parts)
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(title)}">{inside}</svg>'
