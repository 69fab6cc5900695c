"""F-EM: which segment of an image shows its category (EM-Paste, Algorithm 1). Pure: knows nothing of models.

`segments` puts a score table's rows in order, `first_choice` is step 1, `em` the loop over features with
`likeness` (mean and covariance) and `components` (fewer dimensions), `choose` the whole rule.
"""

from xpaste_ray.foregrounds.choose import CategoryLog, Chosen, Task, choose
from xpaste_ray.foregrounds.em import Iteration, Refined, refine
from xpaste_ray.foregrounds.segments import COLUMNS, CategorySegments, segments_of
from xpaste_ray.foregrounds.vectors import Features

__all__ = [
    "COLUMNS", "CategoryLog", "CategorySegments", "Chosen", "Features", "Iteration", "Refined", "Task",
    "choose", "refine", "segments_of",
]  # fmt: skip
