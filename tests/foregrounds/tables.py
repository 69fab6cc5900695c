"""Score tables by hand, with a feature for each row."""

import numpy as np

from tests.selection import tables
from xpaste_ray.foregrounds import choose, refine
from xpaste_ray.foregrounds.likeness import BLOCK


def segment(candidate, feature, cam=0.1, score=0.9, category=1, ordinal=0, **more):
    """A proposal that was classified, and its feature."""
    values = {"cam_distance": cam, "class_score": score, "ordinal": ordinal, "clip_logit": None}
    return tables.row(candidate, None, category, **values | more), np.array(feature, np.float16)


def without(candidate, reason, category=1):
    """A candidate that was rejected before it had a proposal."""
    return tables.row(candidate, None, category, None, reason=reason), None


def overlapping(*told):
    """For `overlaps`: (place, IoU, part of its own)."""
    return [dict(zip(("place", "iou", "contained"), one, strict=True)) for one in told]


def refine_in_memory(features, settings):
    """A `RefineMap`. features: a vector, or None, for each row of the table."""

    def refine_map(tasks):
        for task in tasks:
            vectors = np.stack([features[row] for row in task.segments.rows])
            yield refine(vectors, task.segments.image_of, task.initial, settings, BLOCK)

    return refine_map


def chosen(rows, settings):
    """`choose` of some of the above."""
    features = [feature for _, feature in rows]
    return choose(tables.table(*(row for row, _ in rows)), settings, refine_in_memory(features, settings))


def outcome(rows, settings):
    """Ids of the kept instances in order, and the reason of everything else by kind and id."""
    selection = chosen(rows, settings).selection
    kept = [f"{r['candidate_id']}-{r['method']}-{r['ordinal']}" for r in selection.kept.to_pylist()]
    return kept, {(r["kind"], r["id"]): r["reason"] for r in selection.rejects.to_pylist()}
