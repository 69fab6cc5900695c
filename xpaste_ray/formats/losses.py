"""What samples hold and a format has no room for. In the dataset's fragments it is still there."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from xpaste_ray.config import FormatName
from xpaste_ray.samples import Sample

_COUNTS: dict[str, Callable[[Sample], int]] = {
    "crowds": lambda sample: sum(a.iscrowd for a in sample.annotations),
    "amodal masks": lambda sample: sum(a.amodal is not None for a in sample.annotations),
    "sources of pasted objects": lambda sample: sum(a.origin != "background" for a in sample.annotations),
    "images' lists of absent or unfinished categories": lambda sample: bool(
        sample.neg_category_ids or sample.not_exhaustive_category_ids
    ),
}
_CROWDS, _AMODAL, _SOURCES, _LISTS = _COUNTS
_NO_ROOM: dict[FormatName, tuple[str, ...]] = {
    "coco": (_LISTS,),
    "lvis": (_CROWDS,),
    "yolo": (_CROWDS, _AMODAL, _SOURCES, _LISTS),
    "voc": (_CROWDS, _LISTS),
    "webdataset": (),
    "parquet": (),
}


def losses(samples: Iterable[Sample], formats: Sequence[FormatName]) -> dict[FormatName, dict[str, int]]:
    """By format, how much of what it cannot hold the samples have; formats that hold all are not there."""
    totals: Counter[str] = Counter()
    for sample in samples:
        totals.update({what: count(sample) for what, count in _COUNTS.items()})
    lost = {name: {what: totals[what] for what in _NO_ROOM[name] if totals[what]} for name in formats}
    return {name: counts for name, counts in lost.items() if counts}
