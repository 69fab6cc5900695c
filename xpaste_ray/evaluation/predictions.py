"""Predictions in COCO's results format: a JSON list of masks with a category and a score each.

{"image_id": 7, "category_id": 18, "bbox": [x, y, w, h], "score": 0.9,
 "segmentation": {"size": [H, W], "counts": "..."}}
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pycocotools import mask as coco_mask

from xpaste_ray.errors import ConfigError
from xpaste_ray.evaluation.told_sizes import BoxF
from xpaste_ray.evaluation.truth import Truth
from xpaste_ray.formats.rle import rle_runs
from xpaste_ray.runs import write_whole
from xpaste_ray.storage import Location, locate

_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One predicted object. bbox_xywh: in pixels. score: the higher, the surer. size_hw and counts: of its
    mask, COCO's compressed RLE in the whole image."""

    image_id: int
    category_id: int
    bbox_xywh: BoxF
    score: float
    size_hw: tuple[int, int]
    counts: str

    @property
    def rle(self) -> dict[str, Any]:
        return {"size": list(self.size_hw), "counts": self.counts}


def sorted_predictions(predictions: Iterable[Prediction]) -> list[Prediction]:
    """By image, the surest first: whatever the order in which they came."""
    return sorted(
        predictions, key=lambda one: (one.image_id, -one.score, one.category_id, one.bbox_xywh, one.counts)
    )


def write_predictions(file: Path | Location, predictions: Iterable[Prediction]) -> None:
    """The file appears whole; the same predictions, in any order, give the same bytes."""
    write_whole(file, predictions_json(predictions))


def predictions_json(predictions: Iterable[Prediction]) -> bytes:
    """A prediction a line, in the order of `sorted_predictions`."""
    lines = ",\n".join(json.dumps(_entry(one), allow_nan=False) for one in sorted_predictions(predictions))
    return f"[\n{lines}\n]\n".encode() if lines else b"[]\n"


def _entry(one: Prediction) -> dict[str, Any]:
    return {
        "image_id": one.image_id,
        "category_id": one.category_id,
        "bbox": list(one.bbox_xywh),
        "score": one.score,
        "segmentation": one.rle,
    }


def read_predictions(file: Path | Location | str, truth: Truth) -> list[Prediction]:
    """The predictions of a file, for the images and categories of `truth`, sorted.

    Those without a box get the tight box of their mask. ConfigError that names the first entry which cannot
    be used, and why.
    """
    place = locate(file)
    try:
        text = place.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"--predictions {place} is not there: give a file of COCO results") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--predictions {place} is no JSON text ({error})") from None
    checked = _Checked(str(place), truth)
    try:
        found = [checked.prediction(number, entry) for number, entry in enumerate(_entries(text))]
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"--predictions {place} is not readable ({error}): give COCO results, a JSON list of "
            '{"image_id", "category_id", "score", "segmentation"}'
        ) from None
    return sorted_predictions(found)


def _entries(text: str) -> Iterator[Any]:
    """The entries of a JSON list one by one: those of a large dataset all at once would fill the memory."""
    decode = json.JSONDecoder().raw_decode

    def after(character: str, position: int) -> int:
        position = _after_space(text, position)
        if text[position : position + 1] != character:
            raise ValueError(f"expected {character!r} at character {position}")
        return _after_space(text, position + 1)

    position = after("[", 0)
    while text[position : position + 1] != "]":
        value, position = decode(text, position)
        yield value
        position = _after_space(text, position)
        if text[position : position + 1] != "]":
            position = after(",", position)
    if _after_space(text, position + 1) != len(text):
        raise ValueError(f"more text after the list, at character {position + 1}")


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


@dataclass(frozen=True, slots=True)
class _Checked:
    """Entries of one file to predictions."""

    file: str
    truth: Truth

    def prediction(self, number: int, entry: Any) -> Prediction:
        """number: the entry's place in the list, from 0. ConfigError."""
        if not isinstance(entry, dict):
            self._refuse(number, "is no JSON object: give COCO results, a list of them")
        image = self.truth.by_id.get(self._whole(number, entry, "image_id"))
        if image is None:
            self._refuse(
                number,
                f"image_id {entry['image_id']} is not among the {len(self.truth.images)} usable images of "
                "--val: give the dataset that was predicted, whole (`xpaste backgrounds index` lists images "
                "that cannot be used)",
            )
        category_id = self._whole(number, entry, "category_id")
        if category_id not in self.truth.category_ids:
            self._refuse(
                number, f"category_id {category_id} is none of --val's: give the ids of its annotation file"
            )
        score = entry.get("score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            self._refuse(number, f"score {score!r} is no finite number: leave the prediction out, or mend it")
        counts = self._counts(number, entry.get("segmentation"), image.size_hw)
        box = self._box(number, entry, image.size_hw, counts)
        return Prediction(image.id, category_id, box, float(score), image.size_hw, counts)

    def _whole(self, number: int, entry: dict[str, Any], key: str) -> int:
        value = entry.get(key)
        if type(value) is not int:
            self._refuse(number, f"{key} must be a whole number, got {value!r}")
        return value

    def _counts(self, number: int, segmentation: Any, size_hw: tuple[int, int]) -> str:
        if not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), str):
            self._refuse(
                number,
                "segmentation must be compressed RLE, {'size': [H, W], 'counts': '...'}: encode masks with "
                "pycocotools.mask.encode, and its bytes as ASCII",
            )
        size = segmentation.get("size")
        if size != list(size_hw):
            self._refuse(
                number,
                f"the mask is of size {size}, and the image is {list(size_hw)} (height, width): masks must "
                "be in the whole upright image",
            )
        counts: str = segmentation["counts"]
        try:
            runs = rle_runs(counts)
            whole = bool((runs >= 0).all()) and int(runs.sum()) == size_hw[0] * size_hw[1]
        except ValueError:
            whole = False
        if not whole:
            self._refuse(number, "the mask's RLE is damaged: encode it again with pycocotools.mask.encode")
        return counts

    def _box(self, number: int, entry: dict[str, Any], size_hw: tuple[int, int], counts: str) -> BoxF:
        if "bbox" not in entry:
            x, y, width, height = coco_mask.toBbox({"size": list(size_hw), "counts": counts.encode()})
            return float(x), float(y), float(width), float(height)
        box = entry["bbox"]
        is_box = isinstance(box, list) and len(box) == 4
        if not is_box or not all(type(side) in (int, float) and math.isfinite(side) for side in box):
            self._refuse(number, f"bbox must be [x, y, width, height] in pixels, got {box!r}")
        x, y, width, height = map(float, box)
        return x, y, width, height

    def _refuse(self, number: int, why: str) -> NoReturn:
        raise ConfigError(f"--predictions {self.file}: entry {number} (from 0): {why}")
