"""The picture of a run of foregrounds: for some images, how their segments were found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpaste_ray.config import ForegroundSettings, ResNetClassifier
from xpaste_ray.foregrounds.picture import ForegroundRow, draw_foregrounds
from xpaste_ray.foregrounds.record import read_choices
from xpaste_ray.masks import OBJECT_ABOVE
from xpaste_ray.pipelines.units import unit_names
from xpaste_ray.pool import current_pool
from xpaste_ray.records import Candidate
from xpaste_ray.runs import RunDir
from xpaste_ray.sources.labelled import open_labelled
from xpaste_ray.unit_files import read_unit

_CHANGED_FIRST = 2 / 3  # part of the rows for what the loop changed, as far as there is such

Choices = Sequence[tuple[str, int] | None]
Shown = tuple[Candidate, Choices]


def foreground_picture(run: RunDir, settings: ForegroundSettings, rows: int = 8) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a finished run: pairs of an image and a category whose segment the loop changed,
    then others, one an image.

    The classifier looks at them once more, in a process of its own: the driver's memory is for others.
    """
    import ray

    from xpaste_ray.pipelines.ray_profile import start_ray

    shown = _some(run, rows)
    start_ray(1)
    return ray.get(ray.remote(num_cpus=1, max_calls=1)(_draw).remote(run, settings, shown))


def _some(run: RunDir, rows: int) -> list[Shown]:
    """Candidates without what does not matter here, and their choices, step by step."""
    choices = read_choices(current_pool(run.root))
    changed, others = list[Shown](), list[Shown]()
    seen: set[int] = set()
    for unit in unit_names(run):
        for candidate in read_unit(run, unit.id):
            steps = choices.get(candidate.prompt.candidate_id, [])
            if not steps or steps[-1] is None or candidate.prompt.index in seen:
                continue
            seen.add(candidate.prompt.index)
            (others if steps[0] == steps[-1] else changed).append((candidate, steps))
        if len(changed) >= rows and len(others) >= rows:
            break
    first = changed[: max(round(rows * _CHANGED_FIRST), rows - len(others))]
    return [*first, *others[: rows - len(first)]]


def _draw(run: RunDir, settings: ForegroundSettings, shown: Sequence[Shown]) -> np.ndarray:
    from xpaste_ray.models.cam import activation_centre_yx
    from xpaste_ray.models.classifier import open_classifier

    told = settings.foregrounds
    trained = Path(run.classifier) if isinstance(told.classifier, ResNetClassifier) else None
    classifier = open_classifier(told.classifier, open_labelled(told.images).categories, "cpu", trained)
    rows = []
    for candidate, steps in shown:
        image = candidate.image
        output = classifier.output_of(candidate.prompt.category)
        if image is None or output is None:
            continue
        heat = classifier.cams([image], [output])[0]
        usable = [one for one in candidate.proposals if one.status == "ok" and one.mask is not None]
        masks = {(one.method, one.ordinal): one.mask > OBJECT_ABOVE for one in usable}
        before, after = (masks[step] if step else None for step in (steps[0], steps[-1]))
        centre_yx = activation_centre_yx(heat, told.cam.threshold)
        rows.append(
            ForegroundRow(
                candidate.prompt.category, image, heat, centre_yx, list(masks.values()), before, after
            )
        )
    return draw_foregrounds(rows)
