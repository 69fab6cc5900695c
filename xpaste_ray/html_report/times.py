"""How long what took, and how fast each stage was."""

from collections.abc import Mapping, Sequence
from typing import Any

from xpaste_ray.html_report.blocks import Cell, Column, Section, Table
from xpaste_ray.html_report.counting import share, told_columns
from xpaste_ray.html_report.given import Given

_SUMMED = ("images", "busy_s", "wall_s")


def times(given: Given) -> Section | None:
    """None if the run does not tell, as one that never got to its end."""
    sittings = given.record.get("times", [])
    if not sittings:
        return None
    note = "Of all sittings: a run that was interrupted, or selected again, has several."
    return Section("times", "Seconds and rates", (_stages(sittings), _sittings(sittings)), note)


def _stages(sittings: Sequence[Mapping[str, Any]]) -> Table:
    """Each stage, summed over the sittings."""
    columns = (
        Column("stage", "text"), Column("images"), Column("busy seconds"), Column("wall seconds"),
        Column("actors"), Column("busy", "share"), Column("images/s"), Column("images/s per actor"),
        Column("GPUs"), Column("loading, s"), Column("processes lost"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(name for one in sittings for name in one["stages"]):
        own = [one for one in sittings if name in one["stages"]]
        images, busy, wall = (sum([one["stages"][name][key] for one in own]) for key in _SUMMED)
        actors, gpus = (max(one["stages"][name][key] for one in own) for key in ("actors", "gpus"))
        load, deaths = (sum([one.get(key, {}).get(name, 0) for one in own]) for key in ("load_s", "deaths"))
        rows.append(
            (name, images, busy, wall, actors or None, share(busy, wall * actors), share(images, wall),
             share(images, busy), gpus or None, load or None, deaths or None)
        )  # fmt: skip
    return Table("By stage", *told_columns(columns, rows))


def _sittings(sittings: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        Column("sitting"), Column("seconds"), Column("bottleneck", "text"),
        Column("accepted per core-second"), Column("accepted per GPU-second"),
    )  # fmt: skip
    rows = tuple(
        (number, one.get("wall_s"), one.get("bottleneck") or "", one.get("accepted_per_core_second"),
         one.get("accepted_per_gpu_second"))
        for number, one in enumerate(sittings, 1)
    )  # fmt: skip
    return Table("By sitting", *told_columns(columns, rows))
