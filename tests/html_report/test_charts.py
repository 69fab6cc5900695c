"""Charts: where values lie, and texts that could be markup."""

import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpaste_ray.html_report.blocks import Curves, HeatMap, Histogram, Mark, Series, Spread, Spreads
from xpaste_ray.html_report.charts import curves_svg, heatmap_svg, histogram_svg, spreads_svg, ticks
from xpaste_ray.html_report.numbers import shown

MARKUP = '</title><script>x("&")</script>'


def numbers(svg, kind, name):
    return [float(one) for one in re.findall(rf'<{kind} [^>]*?\b{name}="(-?[\d.]+)"', svg)]


@pytest.mark.parametrize(
    ("span", "expected"),
    [((0, 100), [0, 20, 40, 60, 80, 100]), ((0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]), ((55, 92), [60, 70, 80, 90]),
     ((3, 3), [3])],
)  # fmt: skip
def test_ticks_are_round(span, expected):
    assert ticks(*span, 5) == pytest.approx(expected)


def test_ticks_of_counts_are_whole():
    assert ticks(0, 2, 4, finest=1) == [0, 1, 2]


@given(st.floats(-1000, 1000), st.floats(1e-6, 1e9), st.integers(2, 8))
def test_ticks_lie_between_and_are_few(low, span, count):
    found = ticks(low, low + span, count)
    assert len(found) <= count + 1
    assert all(low - 1e-6 * span <= one <= low + span * (1 + 1e-6) for one in found)


def test_bars_stand_on_each_other():
    """Of 3 and 1: four units high, the upper bar a third of the lower one."""
    series = (Series("a", (3, 0)), Series("b", (1, 0)))
    svg = histogram_svg(Histogram("t", "x", (0, 1, 2), series))
    (lower, upper), (top_of_lower, top_of_upper) = numbers(svg, "rect", "height"), numbers(svg, "rect", "y")
    assert lower == pytest.approx(3 * upper, abs=0.1) and top_of_upper + upper == pytest.approx(
        top_of_lower, abs=0.1
    )
    assert "a: 3 from 0 to 1" in svg


def test_mark_beyond_the_bins_is_drawn_inside_the_chart():
    svg = histogram_svg(Histogram("t", "x", (60, 80, 90), (Series("a", (1, 2)),), (Mark("bar", 40.0),)))
    (x,) = numbers(svg, 'line class="mark"', "x1")
    assert x == 54  # the left end
    assert min(numbers(svg, "rect", "x")) > x


def test_cells_of_a_heat_map_keep_their_places():
    svg = heatmap_svg(HeatMap("t", ((0, 4), (2, 0))))
    assert numbers(svg, "rect", "x")[1:] == [120, 0] and numbers(svg, "rect", "y")[1:] == [0, 120]
    assert re.findall(r'fill-opacity="([\d.]+)"', svg) == ["1.00", "0.54"]


def test_curves_leave_out_what_is_not_known():
    svg = curves_svg(Curves("t", "x", "y", (1, 2, 3), (Series("a", (1.0, None, 3.0)),)))
    assert len(numbers(svg, "circle", "cx")) == 2


def test_every_series_has_a_colour_that_the_page_knows():
    """The eighth has one of its own; the ninth has the first's again."""
    style = (files("xpaste_ray.html_report") / "page.css").read_text()
    svg = curves_svg(Curves("t", "x", "y", (1, 2), tuple(Series(str(n), (n, n)) for n in range(9))))
    used = re.findall(r'<polyline class="(l\d+)"', svg)
    assert used == [f"l{n}" for n in (*range(8), 0)]
    assert all(f".{name} {{ stroke: var(--c{name[1:]}); }}" in style for name in used)
    assert style.count("--c7: #") == 2  # by day and in the dark


@pytest.mark.parametrize(
    "svg",
    [
        histogram_svg(Histogram(MARKUP, MARKUP, (0, 1), (Series(MARKUP, (1,)),), (Mark(MARKUP, 0.5),))),
        curves_svg(Curves(MARKUP, MARKUP, MARKUP, (1,), (Series(MARKUP, (2,)),))),
        spreads_svg(Spreads(MARKUP, MARKUP, (Spread(MARKUP, 1, 0.1, 0, 0.2, 0),))),
        heatmap_svg(HeatMap(MARKUP, ((1,),))),
    ],
)
def test_texts_are_no_markup(svg):
    assert "<script" not in svg and "&lt;/title&gt;" in svg


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (1204, "number", "1,204"), (1204, "id", "1204"), (0.317, "share", "31.7 %"), (None, "number", ""),
        (55.0, "number", "55"), (0.05, "number", "0.05"), (3.14159, "number", "3.142"),
        (122.43, "number", "122"), (float("nan"), "number", ""), ("frog", "text", "frog"),
        (0, "share", "0.0 %"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(value, kind, text):
    assert shown(value, kind) == text
