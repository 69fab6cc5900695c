"""How long what took, and how fast each stage was."""

from collections.abc import Sequence

from xpaste_ray.html_report.blocks import Cell, Column, Section, Table
from xpaste_ray.html_report.counting import share, told_columns
from xpaste_ray.html_report.given import Given
from xpaste_ray.html_report.record import Sitting


def times(given: Given) -> Section | None:
    """None if the run does not tell, as one that never got to its end."""
    sittings = given.record.times
    if not sittings:
        return None
    note = "Of all sittings: a run that was interrupted, or selected again, has several."
    return Section("times", "Seconds and rates", (_stages(sittings), _sittings(sittings)), note)


def _stages(sittings: Sequence[Sitting]) -> Table:
    """Each stage, summed over the sittings."""
    columns = (
        Column("stage", "text"), Column("images"), Column("busy seconds"), Column("wall seconds"),
        Column("actors"), Column("busy", "share"), Column("images/s"), Column("images/s per actor"),
        Column("GPUs"), Column("loading, s"), Column("processes lost"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for name in dict.fromkeys(name for sitting in sittings for name in sitting.stages):
        own = [sitting.stages[name] for sitting in sittings if name in sitting.stages]
        images, busy, wall = (sum(getattr(one, key) for one in own) for key in ("images", "busy_s", "wall_s"))
        actors, gpus = (max(getattr(one, key) for one in own) for key in ("actors", "gpus"))
        load = sum(sitting.load_s.get(name, 0) for sitting in sittings)
        deaths = sum(sitting.deaths.get(name, 0) for sitting in sittings)
        rows.append(
            (name, images, busy, wall, actors or None, share(busy, wall * actors), share(images, wall),
             share(images, busy), gpus or None, load or None, deaths or None)
        )  # fmt: skip
    return Table("By stage", *told_columns(columns, rows))


def _sittings(sittings: Sequence[Sitting]) -> Table:
    columns = (
        Column("sitting"), Column("seconds"), Column("bottleneck", "text"),
        Column("accepted per core-second"), Column("accepted per GPU-second"),
    )  # fmt: skip
    rows = [
        (number, one.wall_s, one.bottleneck, one.accepted_per_core_second, one.accepted_per_gpu_second)
        for number, one in enumerate(sittings, 1)
    ]
    return Table("By sitting", *told_columns(columns, rows))
