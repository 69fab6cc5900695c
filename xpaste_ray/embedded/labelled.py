"""Rendered photographs whose categories are known: what masks from image-level labels are shown and measured on.

An image has one or two labelled categories, an object or two of each, and objects that nobody labels: a
category's *companion*, which stands beside it in most of its images, and some that may stand anywhere. Where a
classifier looks is therefore often the companion; what all objects of a category have in common is not.

`python -m xpaste_ray.embedded.labelled OUT` renders the images that the package ships.
"""

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xpaste_ray.categories import display_name
from xpaste_ray.embedded.scenes import load_object, load_photos
from xpaste_ray.rng import rng_for
from xpaste_ray.yaml12 import dump_yaml

_SUPERSAMPLING = 2
_SPOTS_TRIED = 12

_OBJECT_SCALE = (0.26, 0.48)  # longer side / image side
_COMPANION_SCALE = (0.24, 0.42)
_TWO_LABELS, _TWO_OBJECTS, _COMPANION, _ANYTHING = 0.35, 0.15, 0.7, 0.35  # how often
_MAX_ROTATION_DEG = 35.0
_MAX_LIGHT = 0.25
_MAX_SHEAR = 0.15


@dataclass(frozen=True, slots=True)
class Kind:
    """A labelled category, and the unlabelled one that keeps it company. Names are LVIS's."""

    name: str
    companion: str


SHIPPED_KINDS = (
    Kind("banana", "basketball"),
    Kind("butterfly", "sunflower"),
    Kind("frog", "mushroom"),
    Kind("hamburger", "doughnut"),
    Kind("lion", "tractor_(farm_equipment)"),
    Kind("parrot", "pineapple"),
    Kind("penguin", "bucket"),
    Kind("teapot", "cupcake"),
    Kind("turtle", "watermelon"),
    Kind("umbrella", "stop_sign"),
)
SHIPPED_COUNT = 240
SHIPPED_SIDE_PX = 160
_SHIPPED_SEED = 0
_JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """What is to be seen. mask: (S, S) bool, the visible part."""

    name: str
    labelled: bool
    mask: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class LabelledScene:
    """image: (S, S, 3) uint8 RGB. objects: bottom to top."""

    image: np.ndarray
    objects: tuple[SceneObject, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labelled categories, in the order of their names."""
        return tuple(sorted({one.name for one in self.objects if one.labelled}))


def labelled_scene(seed: int, index: int, kinds: Sequence[Kind], side_px: int) -> LabelledScene:
    """Image `index` of the set of `seed`: its first category is that of kinds[index % len(kinds)]."""
    rng = rng_for(seed, "labelled-scene", index)
    wanted = _wanted(rng, index, kinds)
    canvas_px = side_px * _SUPERSAMPLING
    layers = _placed(rng, wanted, canvas_px)
    pixels = _photo(rng, canvas_px)
    tops = [np.zeros((canvas_px, canvas_px), np.float32) for _ in layers]
    for place, layer in enumerate(layers):
        alpha = layer[..., 3]
        pixels = pixels * (1 - alpha[..., None]) + layer[..., :3]
        for below in tops[:place]:
            below *= 1 - alpha
        tops[place] = alpha.copy()
    size = (side_px, side_px)
    image = np.rint(np.clip(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), 0, 1) * 255)
    objects = tuple(
        SceneObject(name, labelled, cv2.resize(top, size, interpolation=cv2.INTER_AREA) > 0.5)
        for (name, labelled), top in zip(wanted, tops, strict=True)
    )
    return LabelledScene(image.astype(np.uint8), tuple(one for one in objects if one.mask.any()))


def _wanted(rng: np.random.Generator, index: int, kinds: Sequence[Kind]) -> list[tuple[str, bool]]:
    """Names of the objects, bottom to top, and whether they are labelled."""
    chosen = [kinds[index % len(kinds)]]
    if rng.random() < _TWO_LABELS:
        others = [kind for kind in kinds if kind is not chosen[0]]
        chosen.append(others[rng.integers(len(others))])
    wanted = []
    for kind in chosen:
        wanted += [(kind.name, True)] * (2 if rng.random() < _TWO_OBJECTS else 1)
        wanted += [(kind.companion, False)] if rng.random() < _COMPANION else []
    if rng.random() < _ANYTHING:
        wanted.append((kinds[rng.integers(len(kinds))].companion, False))
    return [wanted[i] for i in rng.permutation(len(wanted))]


def _placed(rng: np.random.Generator, wanted: Sequence[tuple[str, bool]], canvas_px: int) -> list[np.ndarray]:
    """(S, S, 4) float32 premultiplied layers. Of some spots, each object takes the one that covers, and is
    covered, the least."""
    taken = np.zeros((canvas_px, canvas_px), np.float32)
    layers = []
    for name, is_labelled in wanted:
        scale = rng.uniform(*(_OBJECT_SCALE if is_labelled else _COMPANION_SCALE))
        turned = _turned(rng, name, round(scale * canvas_px))
        best, least = None, np.inf
        for top, left in rng.integers(0, canvas_px - len(turned) + 1, (_SPOTS_TRIED, 2)):
            spot = np.s_[top : top + len(turned), left : left + len(turned)]
            covered = float((taken[spot] * turned[..., 3]).sum())
            if covered < least:
                best, least = spot, covered
            if covered == 0:
                break
        layer = np.zeros((canvas_px, canvas_px, 4), np.float32)
        assert best is not None
        layer[best] = turned
        taken = np.maximum(taken, layer[..., 3])
        layers.append(layer)
    return layers


def _turned(rng: np.random.Generator, name: str, side_px: int) -> np.ndarray:
    """The object, turned, mirrored, sheared and lit, in a square of that side: (s, s, 4) float32."""
    source = load_object(name)
    angle = np.deg2rad(rng.uniform(-_MAX_ROTATION_DEG, _MAX_ROTATION_DEG))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shape = turn @ np.array([[flip, rng.uniform(-_MAX_SHEAR, _MAX_SHEAR)], [0, rng.uniform(0.85, 1)]])
    reach = np.abs(shape).sum(axis=1).max()  # so that nothing leaves the square
    linear = shape * (side_px / (len(source) * reach))
    middle = np.full(2, (len(source) - 1) / 2)
    affine = np.column_stack([linear, np.full(2, (side_px - 1) / 2) - linear @ middle])
    layer = cv2.warpAffine(source, affine, (side_px, side_px), flags=cv2.INTER_AREA)
    light = 1 + rng.uniform(-_MAX_LIGHT, _MAX_LIGHT) + rng.uniform(-0.5, 0.5, 3) * _MAX_LIGHT
    layer[..., :3] = np.minimum(layer[..., :3] * light.astype(np.float32), layer[..., 3:])
    return layer


def _photo(rng: np.random.Generator, side_px: int) -> np.ndarray:
    """(side_px, side_px, 3) float32 RGB in [0, 1]: a part of a photograph."""
    photos = load_photos()
    photo = photos[rng.integers(len(photos))]
    crop_px = int(rng.integers(120, 230))
    top = rng.integers(photo.shape[0] - crop_px + 1)
    left = rng.integers(photo.shape[1] - crop_px + 1)
    crop = photo[top : top + crop_px, left : left + crop_px]
    return cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255


def shipped_files() -> dict[str, bytes]:
    """What the package ships of this, by name: images, which categories they show, captions as a person might
    write them, and words that may stand for the categories in them."""
    files: dict[str, bytes] = {}
    labels, captions = [("path", "category")], [("path", "caption")]
    for index in range(SHIPPED_COUNT):
        scene = labelled_scene(_SHIPPED_SEED, index, SHIPPED_KINDS, SHIPPED_SIDE_PX)
        path = f"images/{index:04d}.jpg"
        settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        files[path] = cv2.imencode(".jpg", scene.image[..., ::-1], settings)[1].tobytes()
        labels.append((path, ";".join(scene.labels)))
        seen = dict.fromkeys([*scene.labels, *(one.name for one in scene.objects)])
        captions += [(path, f"a photo of a single {display_name(name)}") for name in list(seen)[:2]]
    return files | {
        "labels.csv": _csv(labels),
        "captions.csv": _csv(captions),
        "distractors.yaml": dump_yaml(_DISTRACTORS).encode(),
    }


_DISTRACTORS = {
    "words": {
        "animal": ["koala", "beetle"],
        "food": ["pear", "taco", "strawberry", "carrot"],
        "thing": ["violin", "boxing glove"],
    },
    "categories": {
        "banana": "food", "butterfly": "animal", "frog": "animal", "hamburger": "food", "lion": "animal",
        "parrot": "animal", "penguin": "animal", "teapot": "thing", "turtle": "animal", "umbrella": "thing",
    },
}  # fmt: skip
"""See `contexts.distractors`: what the embedded generator can draw, and none of the labelled categories."""


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


if __name__ == "__main__":
    for name, data in shipped_files().items():
        file = Path(sys.argv[1]) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
