"""Where objects lie in the dataset's images, how many of them, and how much of each is visible."""

import numpy as np

from xpaste_ray.config import OcclusionSettings
from xpaste_ray.html_report.blocks import Block, HeatMap, Histogram, Mark, Section, Series
from xpaste_ray.html_report.composed import ORIGINS
from xpaste_ray.html_report.counting import histogram
from xpaste_ray.html_report.given import Given

_CELLS = 24
_NAMES = {
    "pool": "pasted from the pool",
    "copied": "copied from other images",
    "background": "of the backgrounds",
}


def places(given: Given) -> Section | None:
    """None without a dataset, or without objects."""
    composed = given.composed
    if composed is None or not len(composed.category):
        return None
    blocks: list[Block] = []
    if composed.pasted.any():
        blocks.append(_heat_map("Centres of pasted objects", composed.centre_yx[composed.pasted]))
    if not composed.pasted.all():
        blocks.append(
            _heat_map("Centres of the backgrounds' own objects", composed.centre_yx[~composed.pasted])
        )
    groups = {
        _NAMES[name]: composed.visible[composed.origin == number]
        for number, name in enumerate(ORIGINS)
        if (composed.origin == number).any()
    }
    rule = given.setting(OcclusionSettings, "compose", "occlusion")
    marks: tuple[Mark, ...] = ()
    if rule is not None and rule.rule == "visible-fraction":
        least = rule.min_visible_fraction
        marks = (Mark(f"min_visible_fraction {least:g}", least),)
    note = "1: nothing covers it, and it lies wholly in the image."
    shown = histogram(
        "Overlaps: how much of an object is visible", "visible fraction", groups, marks, (0, 1), note
    )
    blocks += [shown] if shown else []
    blocks.append(_objects_of_images(composed.objects))
    return Section("places", "Positions and overlaps", tuple(blocks))


def _heat_map(title: str, centre_yx: np.ndarray) -> HeatMap:
    counts, _, _ = np.histogram2d(centre_yx[:, 0], centre_yx[:, 1], _CELLS, [[0, 1], [0, 1]])
    told = tuple(tuple(map(int, row)) for row in counts.tolist())
    return HeatMap(title, told, f"{len(centre_yx):,} boxes, as parts of the image's height and width.")


def _objects_of_images(objects: np.ndarray) -> Histogram:
    """A bin for each number, or for several if there are many."""
    most = int(objects.max())
    step = -(-(most + 1) // 40)
    edges = np.arange(0, most + step + 1, step) - 0.5
    counts = np.histogram(objects, edges)[0]
    series = (Series("images", tuple(counts.tolist())),)
    return Histogram("Objects of an image", "annotations", tuple(edges.tolist()), series)
