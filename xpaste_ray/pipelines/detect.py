"""The predictions of a detector for a whole dataset: shards of consecutive images, on actors.

known_categories.json                   the categories that the detector knows
predictions/00000000-00000031.parquet   what it found in images 0 .. 31; present means done
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.config import StageResources
from xpaste_ray.errors import RunError, XPasteError
from xpaste_ray.evaluation import Detections, Detects, Prediction, predictions_of
from xpaste_ray.evaluation.vocabulary import Unshared, match_categories
from xpaste_ray.formats.shards import Shard, plan_shards
from xpaste_ray.pipelines.compose import report_shards, run_shards
from xpaste_ray.pipelines.figures import StageFigures
from xpaste_ray.pipelines.job import Progress, Summary
from xpaste_ray.runs import made_by, open_parquet, read_json, write_json, write_parquet
from xpaste_ray.storage import Location
from xpaste_ray.worker import prepare_worker

LoadDetector = Callable[[str, str], Detects]
"""From weights and a device ("cpu", "cuda") to a detector; called in the actor."""

STAGE = "detect"

_IMAGES_PER_SHARD = 32
_IMAGES_AT_ONCE = 4
_PREDICTIONS = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("category_id", pa.int64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("x", "y", "width", "height", "score")),
        pa.field("mask_height", pa.int32(), nullable=False),
        pa.field("mask_width", pa.int32(), nullable=False),
        pa.field("counts", pa.string(), nullable=False),
    ]
)


def load_detector(weights: str, device: str) -> Detects:
    """The detector of this package."""
    from xpaste_ray.models.detector import Detector  # it loads torch

    detector: Detects = Detector(weights, device)
    return detector


@dataclass(frozen=True, slots=True)
class Detecting:
    """Which detector looks at which images, and where its predictions go.

    out: the run's folder. recipe: the fingerprint of all that predictions follow from.
    """

    weights: str
    load: LoadDetector
    backgrounds: Backgrounds
    out: Location
    recipe: str

    @property
    def shards(self) -> list[Shard]:
        return plan_shards(len(self.backgrounds), _IMAGES_PER_SHARD)

    def missing(self) -> list[Shard]:
        return [shard for shard in self.shards if made_by(self.file(shard)) != self.recipe]

    def file(self, shard: Shard) -> Location:
        return self.out / "predictions" / f"{shard.name}.parquet"

    @property
    def known_categories(self) -> Location:
        return self.out / "known_categories.json"

    def unshared(self) -> Unshared:
        """The categories that only the detector, or only the dataset, has. Some shard must be done."""
        known = [(int(number), str(name)) for number, name in read_json(self.known_categories)["categories"]]
        return match_categories(known, self.backgrounds.categories)

    def predictions(self) -> Iterator[Prediction]:
        """Of all shards. RunError if one is damaged."""
        for shard in self.shards:
            file = self.file(shard)
            try:
                rows = open_parquet(file).read().to_pylist()
            except (OSError, pa.ArrowInvalid) as error:
                raise RunError(
                    f"{file} is damaged ({error}): remove it, and the same command makes it again"
                ) from None
            yield from map(_from_row, rows)


class DetectActor:
    """Writes shards. The detector is loaded with the first one, so that what is wrong with it is answered as
    what is wrong with a shard is."""

    def __init__(self, work: Detecting, device: str) -> None:
        self._work, self._device = work, device
        self._detector: Detects | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        return report_shards(batch, self._write)

    def _write(self, shard: Shard) -> None:
        self._detector = self._detector or self._loaded()
        known = self._work.backgrounds.category_ids
        rows = [
            _to_row(one)
            for image_id, detections in _detected(self._detector, self._work.backgrounds, shard.indices)
            for one in predictions_of(image_id, detections)
            if one.category_id in known
        ]
        table = pa.Table.from_pylist(rows, schema=_PREDICTIONS)
        write_parquet(self._work.file(shard), table, self._work.recipe)

    def _loaded(self) -> Detects:
        detector = self._work.load(self._work.weights, self._device)
        match_categories(detector.categories, self._work.backgrounds.categories)
        write_json(self._work.known_categories, {"categories": [list(one) for one in detector.categories]})
        prepare_worker()
        return detector


def _detected(
    detector: Detects, backgrounds: Backgrounds, rows: Sequence[int]
) -> Iterator[tuple[int, Detections]]:
    """(image id, detections) of each row. The next images are decoded while the detector looks at some."""
    groups = [rows[start : start + _IMAGES_AT_ONCE] for start in range(0, len(rows), _IMAGES_AT_ONCE)]

    def load(group: Sequence[int]) -> list[np.ndarray]:
        return [backgrounds.load(row) for row in group]

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(load, groups[0])
        for group, following in zip(groups, [*groups[1:], []], strict=True):
            images = ahead.result()
            ahead = reader.submit(load, following)
            for row, found in zip(group, _looked_at(detector, images), strict=True):
                image_id = backgrounds.image_id(row)
                assert image_id is not None  # every image of an annotation file has one
                yield image_id, found


def _looked_at(detector: Detects, images: Sequence[np.ndarray]) -> list[Detections]:
    """RunError for what no setting of the run is to blame for, such as a GPU that is out of memory."""
    try:
        return detector(images)
    except XPasteError:
        raise
    except Exception as error:
        raise RunError(f"the detector failed ({type(error).__name__}: {error})") from error


def detect(work: Detecting, actors: StageResources, progress: Progress, summary: Summary) -> None:
    """Write the shards that are missing. Ray must be running and its data context configured. ConfigError or
    RunError for what an actor met."""
    missing = work.missing()
    if len(missing) < len(work.shards):
        progress.say(f"continuing: {len(work.shards) - len(missing)} of {len(work.shards)} shards are done")
    actors = actors.model_copy(update={"actors": min(actors.actors, len(missing))})
    progress.begin({STAGE: len(missing)}, "shards")
    began = time.perf_counter()
    seconds = run_shards(STAGE, DetectActor, {"work": work, "device": actors.device}, missing, actors)
    images, wall_s = sum(len(shard.indices) for shard in missing), time.perf_counter() - began
    gpus = actors.actors * actors.gpus
    figures = StageFigures(images, seconds, wall_s, actors.actors, gpus)
    summary.figures.note_pass({STAGE: figures}, wall_s)


def _to_row(one: Prediction) -> dict[str, Any]:
    x, y, width, height = one.bbox_xywh
    return {
        "image_id": one.image_id, "category_id": one.category_id,
        "x": x, "y": y, "width": width, "height": height, "score": one.score,
        "mask_height": one.size_hw[0], "mask_width": one.size_hw[1], "counts": one.counts,
    }  # fmt: skip


def _from_row(row: dict[str, Any]) -> Prediction:
    return Prediction(
        row["image_id"], row["category_id"], (row["x"], row["y"], row["width"], row["height"]), row["score"],
        (row["mask_height"], row["mask_width"]), row["counts"],
    )  # fmt: skip
