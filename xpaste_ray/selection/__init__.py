"""Which proposals become instances: a pure rule over score columns, never over pixels.

`rule` decides, in steps that each have a file: `limits` row by row, `overlaps` within a candidate,
`duplicates` and `quota` within a category; `outcome` tells it as tables. `sweep` counts what other bars would
keep.
"""

from xpaste_ray.selection.columns import columns_of
from xpaste_ray.selection.duplicates import Embeddings, Vectors
from xpaste_ray.selection.outcome import Selection
from xpaste_ray.selection.rule import select
from xpaste_ray.selection.sweep import Sweep, sweep

__all__ = ["Embeddings", "Selection", "Sweep", "Vectors", "columns_of", "select", "sweep"]
