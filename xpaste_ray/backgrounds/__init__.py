"""Images to paste on: from a folder, a COCO or LVIS dataset, Parquet files or constant colours.

`resolve` finds the source (`contexts` that of images made to paste on), `index` decodes every image once,
`cache` keeps the result, and `reader`, or `mixed` of two, is all that planning, rendering and serving need.
"""

from xpaste_ray.backgrounds.cache import Indexer, Progress, open_or_index
from xpaste_ray.backgrounds.contexts import resolve_contexts, with_contexts
from xpaste_ray.backgrounds.mixed import MixedBackgrounds
from xpaste_ray.backgrounds.reader import BackgroundAnnotation, Backgrounds
from xpaste_ray.backgrounds.resolve import resolve_source
from xpaste_ray.backgrounds.sources import Source

AnyBackgrounds = Backgrounds | MixedBackgrounds
"""What is pasted on."""

__all__ = [
    "AnyBackgrounds", "BackgroundAnnotation", "Backgrounds", "Indexer", "MixedBackgrounds", "Progress",
    "Source", "open_or_index", "resolve_contexts", "resolve_source", "with_contexts",
]  # fmt: skip
