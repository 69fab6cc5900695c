"""A report as one HTML page that needs nothing else, opened from a disk or sent to someone."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from xpaste_ray import __version__
from xpaste_ray.html_report import charts
from xpaste_ray.html_report.blocks import (
    Block,
    Curves,
    Gallery,
    HeatMap,
    Histogram,
    Picture,
    Report,
    Shot,
    Spreads,
    as_json,
)
from xpaste_ray.html_report.numbers import shown

_FOLDER = Path(__file__).resolve().parent
_SEARCHED_FROM = 13  # rows of a table
_EXACT_UP_TO = 2**53 - 1


def page(report: Report) -> str:
    """All texts are escaped: names and prompts may be anybody's. No script but the page's own may run, and
    nothing may be loaded from anywhere."""
    script = (_FOLDER / "page.js").read_text()
    shots = list(_shots(report))
    places = {id(shot): number for number, shot in enumerate(shots)}
    template = _environment().from_string((_FOLDER / "page.html").read_text())
    return template.render(
        report=report,
        version=__version__,
        style=Markup((_FOLDER / "page.css").read_text()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        told=_in_script([as_json({"caption": shot.caption, "told": shot.told}) for shot in shots]),
        number_of=lambda shot: places[id(shot)],
        several=len(report.chapters) > 1,
        searched_from=_SEARCHED_FROM,
    )


def _environment() -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "chart": _chart, "legend": _legend, "data_uri": _data_uri, "shown": shown,
    }  # fmt: skip
    return environment


def _shots(report: Report) -> Iterator[Shot]:
    for chapter in report.chapters:
        for section in chapter.sections:
            for block in section.blocks:
                if isinstance(block, Gallery):
                    yield from block.shots


def _chart(block: Block) -> Markup:
    """Its texts are escaped in `charts`."""
    match block:
        case Histogram():
            return Markup(charts.histogram_svg(block))
        case Curves():
            return Markup(charts.curves_svg(block))
        case Spreads():
            return Markup(charts.spreads_svg(block))
        case HeatMap():
            return Markup(charts.heatmap_svg(block))
    raise TypeError(f"{type(block).__name__} is no chart")


def _legend(block: Block) -> Sequence[tuple[int, str]]:
    """Numbers of colours with their names; nothing where there is one alone."""
    match block:
        case Histogram() | Curves() if len(block.series) > 1:
            named = [(number, one.name) for number, one in enumerate(block.series) if any(one.values)]
            return [(charts.colour_of(number), name) for number, name in named]
        case Spreads():
            return list(enumerate(("realised", "expected")))
    return []


def _data_uri(picture: Picture) -> str:
    return f"data:image/{picture.kind};base64,{base64.b64encode(picture.data).decode()}"


def _in_script(value: Any) -> Markup:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(_for_javascript(value), allow_nan=False, separators=(",", ":"))
    return Markup(re.sub("[<>&]", lambda sign: f"\\u{ord(sign[0]):04x}", text))


def _for_javascript(value: Any) -> Any:
    """Whole numbers as texts where JavaScript would round them: seeds."""
    if isinstance(value, dict):
        return {key: _for_javascript(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_for_javascript(one) for one in value]
    return str(value) if isinstance(value, int) and abs(value) > _EXACT_UP_TO else value
