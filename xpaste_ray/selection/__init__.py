"""Which proposals become instances: a pure rule over score columns, never over pixels.

`rule` decides, in steps that each have a file: `limits` row by row, `overlaps` within a candidate,
`duplicates` and `quota` within a category. `sweep` counts what other bars would keep.
"""

from xpaste_ray.selection.columns import columns_of
from xpaste_ray.selection.duplicates import Embeddings, Vectors
from xpaste_ray.selection.rule import Selection, select
from xpaste_ray.selection.sweep import Sweep, sweep

__all__ = ["Embeddings", "Selection", "Sweep", "Vectors", "columns_of", "select", "sweep"]
