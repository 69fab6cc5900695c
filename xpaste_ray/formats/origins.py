"""Where an annotation comes from, as every format with room for it tells it."""

from typing import Any

from xpaste_ray.samples import Annotation


def told_origin(annotation: Annotation) -> dict[str, Any]:
    """`instance_id` for what the pool gave, and `provenance` for what has any; other keys are not there."""
    told: dict[str, Any] = {}
    if annotation.origin == "pool":
        told["instance_id"] = annotation.source_id
    provenance = _provenance(annotation)
    if provenance is not None:
        told["provenance"] = provenance
    return told


def _provenance(annotation: Annotation) -> dict[str, Any] | None:
    """The pool's record if it was asked for. What was copied is in no pool: its source is all of it."""
    if annotation.provenance is not None:
        return dict(annotation.provenance)
    if annotation.origin != "copied":
        return None
    background_id, _, number = annotation.source_id.rpartition("#")
    return {"background_id": background_id, "annotation_id": int(number) if number.isdecimal() else number}
