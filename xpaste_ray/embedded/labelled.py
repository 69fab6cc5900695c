"""Images of which only the categories are told, with the true masks kept aside: material for masks from
image-level labels (EM-Paste), and the small set of them that is shipped.

python -m xpaste_ray.embedded.labelled OUT    # makes the shipped set again

An image has objects of one or two labelled categories on a crop of a photograph, and objects without a label.
Many labelled objects have a companion beside them, always the same one for a category: a classifier that
learns of the labels alone takes the companion for a sign of the category, and its activation is between the
two or on the wrong one.
"""

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xpaste_ray.categories import display_name
from xpaste_ray.embedded.layers import SUPERSAMPLING, Layer, painted, photo_crop, put, shrunk
from xpaste_ray.embedded.scenes import load_photos
from xpaste_ray.rng import rng_for

_JPEG_QUALITY = 90

SHIPPED_SEED, SHIPPED_COUNT = 0, 240
_IMAGES, _LABELS, _CAPTIONS, _DISTRACTORS, _NOTICE_FILE = (
    "images", "labels.csv", "captions.csv", "distractors.yaml", "NOTICE"
)  # fmt: skip

_DISTRACTOR_FILE = """\
# What may stand for the labelled categories in captions: words that embedded:diffusion can draw, none of
# which is a labelled category.
words:
  animal: [beetle, butterfly, koala, lion, parrot]
  food: [carrot, cupcake, doughnut, eggplant, mushroom, pear, pineapple, taco, watermelon]
  thing: [bucket, boxing glove, sunflower, violin]
  vehicle: [tractor]
categories:
  frog: animal
  penguin: animal
  turtle: animal
  banana: food
  broccoli: food
  strawberry: food
  basketball: thing
  teapot: thing
  umbrella: thing
  bus_(vehicle): vehicle
"""

_NOTICE = """\
The images in this folder were made by xpaste_ray/embedded/labelled.py. They show objects on parts of
photographs, resized, turned and relit; both are shipped beside this folder, with their licences in full:

  ../objects/NOTICE   Microsoft Fluent Emoji (3D style), Copyright (c) Microsoft Corporation   MIT
  ../photos/NOTICE    photographs from the Debian package lomiri-wallpapers-16.04:
                      Aitzol Berasategi, Jakkub Mede, freespace   CC-BY-4.0
                      Clements Engelhardt                         CC0-1.0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledStyle:
    """What is drawn, and how.

    companions: labelled category -> the object without a label that stands beside it. others: what else is
    there without one. side_px: of either side of an image. object_scale: an object's longer side / the
    image's shorter one. two_labels, twice, with_companion: how often an image has a second labelled category,
    a labelled category a second object, and a labelled object its companion. max_others: further objects
    without a label, at most. min_visible: of a labelled object, and of any other.
    """

    companions: Mapping[str, str]
    others: tuple[str, ...]
    side_px: tuple[int, int] = (160, 192)
    object_scale: tuple[float, float] = (0.26, 0.5)
    two_labels: float = 0.4
    twice: float = 0.2
    with_companion: float = 0.7
    max_others: int = 2
    min_visible: tuple[float, float] = (0.75, 0.5)
    max_rotation_deg: float = 35
    max_tilt: float = 0.07  # how far a corner moves, as a part of the object's side
    max_light: float = 0.25
    max_noise: float = 3.0  # standard deviation, of 255

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(self.companions)


SHIPPED_STYLE = LabelledStyle(
    companions={
        "frog": "bucket", "penguin": "snowman", "turtle": "crab_(animal)", "banana": "monkey",
        "broccoli": "carrot", "strawberry": "cupcake", "teapot": "cookie", "umbrella": "duck",
        "basketball": "dog", "bus_(vehicle)": "stop_sign",
    },
    others=("balloon", "car_(automobile)", "chair", "cow", "guitar", "lemon", "owl", "pizza", "telephone",
            "tomato"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ShownObject:
    """mask: (H, W) bool, what is seen of it."""

    category: str
    labelled: bool
    mask: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class LabelledScene:
    """image: (H, W, 3) uint8 RGB. labels: sorted. objects: in the order they were put there."""

    image: np.ndarray
    labels: tuple[str, ...]
    objects: tuple[ShownObject, ...]


def labelled_scene(seed: int, index: int, style: LabelledStyle) -> LabelledScene:
    """Image `index`: it shows category `index` of the style's at least, counted round and round."""
    rng = rng_for(seed, "labelled scene", index)
    height, width = (int(side) for side in rng.integers(style.side_px[0], style.side_px[1] + 1, 2))
    canvas = SUPERSAMPLING * height, SUPERSAMPLING * width
    background = photo_crop(rng, load_photos(), canvas)
    layers: list[Layer] = []
    for category in _labels(rng, index, style):
        for _ in range(1 + (rng.random() < style.twice)):
            centre = put(rng, layers, category, style, canvas, style.min_visible[0])
            if centre is not None and rng.random() < style.with_companion:
                put(rng, layers, style.companions[category], style, canvas, style.min_visible[1], centre)
    for _ in range(rng.integers(style.max_others + 1)):
        other = style.others[rng.integers(len(style.others))]
        put(rng, layers, other, style, canvas, style.min_visible[1])
    objects = tuple(ShownObject(one.name, one.name in style.companions, shrunk(one.seen)) for one in layers)
    labels = tuple(sorted({one.category for one in objects if one.labelled}))
    image = painted(rng, background, layers, (height, width), style.max_noise)
    return LabelledScene(image, labels, objects)


def _labels(rng: np.random.Generator, index: int, style: LabelledStyle) -> list[str]:
    """One category or two. Half of the second ones are the next of the list: some pairs are frequent."""
    categories, first = style.categories, index % len(style.categories)
    if len(categories) == 1 or rng.random() >= style.two_labels:
        return [categories[first]]
    step = 1 if rng.random() < 0.5 else int(rng.integers(1, len(categories)))
    return [categories[first], categories[(first + step) % len(categories)]]


def encode_jpeg(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as it is shipped."""
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not ok:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as JPEG")
    return bytes(data)


def captions_of(labels: Sequence[str]) -> tuple[str, str]:
    """Two, which name every label between them, in words that the embedded models know."""
    first, last = (display_name(re.sub(r"_\(.*\)", "", name)) for name in (labels[0], labels[-1]))
    article = "an" if first[0] in "aeiou" else "a"
    if first == last:
        return f"a photo of a single {first}", f"a photo of {article} {first}"
    return f"a photo of a single {first}", f"a photo of a single {last}"


def write_labelled(
    out: Path, style: LabelledStyle = SHIPPED_STYLE, count: int = SHIPPED_COUNT, seed: int = SHIPPED_SEED
) -> None:
    """Images, labels.csv (path, category with `;`) and captions.csv (path, caption), as `images.path` and
    `contexts.captions.file` take them. The same arguments give the same bytes."""
    (out / _IMAGES).mkdir(parents=True, exist_ok=True)
    labels, captions = [], []
    for index in range(count):
        scene, path = labelled_scene(seed, index, style), f"{_IMAGES}/{index:04d}.jpg"
        (out / path).write_bytes(encode_jpeg(scene.image))
        labels.append((path, ";".join(scene.labels)))
        captions += [(path, caption) for caption in captions_of(scene.labels)]
    _write_csv(out / _LABELS, ("path", "category"), labels)
    _write_csv(out / _CAPTIONS, ("path", "caption"), captions)


def _write_csv(path: Path, head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def _main(out: Path) -> None:
    """The shipped set whole."""
    write_labelled(out)
    (out / _DISTRACTORS).write_text(_DISTRACTOR_FILE)
    (out / _NOTICE_FILE).write_text(_NOTICE)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m xpaste_ray.embedded.labelled OUT")
    _main(Path(sys.argv[1]))
