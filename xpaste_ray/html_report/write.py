"""The two files of a report."""

import json

from xpaste_ray.errors import ConfigError
from xpaste_ray.html_report.blocks import as_json
from xpaste_ray.html_report.page import page
from xpaste_ray.html_report.sections import gather
from xpaste_ray.runs import read_json, write_whole
from xpaste_ray.storage import Location, locate

REPORT_HTML = "report.html"

_SUFFIX = ".html"
_KIND = "xpaste report"


def write_report(place: str, out: str | None = None) -> Location:
    """Write the page, and beside it the JSON of the same name; returns where the page is.

    place: a run or a dataset. out: the page's file, `report.html` in that folder if not given. The same files
    give the same bytes. ConfigError if there is nothing to tell of, or a file of it is damaged.
    """
    file = locate(out) if out else locate(place) / REPORT_HTML
    if not file.name.endswith(_SUFFIX):
        raise ConfigError(f"--out {file}: give a file name that ends in {_SUFFIX}")
    beside = file.parent / f"{file.name.removesuffix(_SUFFIX)}.json"
    _check_free(beside)
    report = gather(place)
    told = {"kind": _KIND, "format": 1, **as_json(report)}
    _write(beside, json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _write(file, page(report))
    return file


def _check_free(beside: Location) -> None:
    """ConfigError if the JSON's name is taken by another file, as by `run.json`."""
    if not beside.is_file():
        return
    try:
        ours = read_json(beside).get("kind") == _KIND
    except ConfigError:
        ours = False
    if not ours:
        raise ConfigError(
            f"--out: {beside}, where the report's JSON would be, is another file: give another name"
        )


def _write(file: Location, text: str) -> None:
    """Names of files, which a report tells, need not be Unicode."""
    write_whole(file, text.encode(errors="replace"))
