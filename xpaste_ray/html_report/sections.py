"""Who tells of what, in the order of the page. A new kind of run adds its builder here, and what its folder
is known by to `given.MARKS`."""

from collections.abc import Callable

import pyarrow as pa

from xpaste_ray.errors import ConfigError
from xpaste_ray.html_report.asked import asked
from xpaste_ray.html_report.blocks import Chapter, Report, Section
from xpaste_ray.html_report.composed_samples import composed_samples
from xpaste_ray.html_report.contexts import contexts
from xpaste_ray.html_report.duplicates import duplicates
from xpaste_ray.html_report.evaluated import evaluated
from xpaste_ray.html_report.funnel import funnel
from xpaste_ray.html_report.given import Given, find_given
from xpaste_ray.html_report.instances import samples
from xpaste_ray.html_report.places import places
from xpaste_ray.html_report.refinement import refinement
from xpaste_ray.html_report.scores import score_histograms
from xpaste_ray.html_report.sizes import sizes
from xpaste_ray.html_report.studied import studied
from xpaste_ray.html_report.summary import summary
from xpaste_ray.html_report.times import times
from xpaste_ray.html_report.trained import trained
from xpaste_ray.html_report.yields import yields
from xpaste_ray.storage import locate

Builder = Callable[[Given], Section | None]
"""Looks whether its files are there; None if there is nothing to tell. ConfigError for a damaged one."""

BUILDERS: tuple[Builder, ...] = (
    summary,
    studied,
    trained,
    evaluated,
    composed_samples,
    funnel,
    score_histograms,
    yields,
    samples,
    duplicates,
    refinement,
    contexts,
    sizes,
    places,
    times,
    asked,
)


def gather(place: str) -> Report:
    """Everything that there is to tell of a folder. ConfigError if it is none that a report can tell of, or
    if a file of it is damaged."""
    return Report(locate(place).name, tuple(_chapter(given) for given in find_given(place)))


def _chapter(given: Given) -> Chapter:
    try:
        found = [build(given) for build in BUILDERS]
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(
            f"a file in {given.folder} is damaged, or gone ({error}): `xpaste pool verify` or "
            "`xpaste validate` tells which; run the command that made it again"
        ) from None
    return Chapter(given.name, tuple(section for section in found if section is not None))
