"""An evaluation as a table for other programs."""

import csv
import io

from xpaste_ray.evaluation.average_precision import Evaluation

_COLUMNS = ("id", "name", "frequency", "images", "instances", "ap_segm", "ap_bbox")


def per_category_csv(evaluation: Evaluation) -> bytes:
    """A row a category, by id; AP in [0, 1], empty where the truth has no object of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in evaluation.categories:
        writer.writerow(getattr(one, column) for column in _COLUMNS)
    return text.getvalue().encode()
