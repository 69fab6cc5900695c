"""Images to paste on: from a folder, a COCO or LVIS dataset, Parquet files or constant colours.

`resolve` finds the source, `index` decodes every image once, `cache` keeps the result, and
`reader` is all that planning, rendering and serving need.
"""

from xpaste_ray.backgrounds.cache import Indexer, Progress, open_or_index
from xpaste_ray.backgrounds.reader import BackgroundAnnotation, Backgrounds
from xpaste_ray.backgrounds.resolve import resolve_source
from xpaste_ray.backgrounds.sources import Source

__all__ = [
    "BackgroundAnnotation", "Backgrounds", "Indexer", "Progress", "Source", "open_or_index",
    "resolve_source",
]  # fmt: skip
