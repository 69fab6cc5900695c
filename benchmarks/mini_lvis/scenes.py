"""One image of the study: shipped objects on a part of a shipped photograph, with what is seen of each."""

from dataclasses import dataclass
from itertools import count

import numpy as np

from xpaste_ray.embedded import DIFFUSION_CATEGORIES, PHOTOS_DIR
from xpaste_ray.embedded.labelled import LabelledScene, ShownObject
from xpaste_ray.embedded.layers import SUPERSAMPLING, Layer, painted, photo_crop, put, shrunk
from xpaste_ray.embedded.scenes import load_photos, object_names
from xpaste_ray.rng import rng_for

OTHERS = tuple(name for name in object_names() if name not in DIFFUSION_CATEGORIES)
"""Objects of no category of the study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniStyle:
    """How objects stand and look. side_px: of the square image. object_scale to max_light: see `layers.Pose`.
    max_blur_px: largest standard deviation; max_noise: the same, of 255. max_others: objects of `OTHERS`, at
    most. min_visible: part of any object that is seen."""

    side_px: int = 128
    object_scale: tuple[float, float]
    max_rotation_deg: float
    max_tilt: float
    max_light: float
    max_blur_px: float
    max_noise: float
    max_others: int
    min_visible: float


SHOWN = MiniStyle(
    object_scale=(0.25, 0.5), max_rotation_deg=15, max_tilt=0.04, max_light=0.15, max_blur_px=0.5,
    max_noise=3, max_others=2, min_visible=0.5,
)  # fmt: skip
"""What training shows."""

UNSEEN = MiniStyle(
    object_scale=(0.2, 0.5), max_rotation_deg=40, max_tilt=0.08, max_light=0.30, max_blur_px=0.8,
    max_noise=5, max_others=2, min_visible=0.4,
)  # fmt: skip
"""What validation and test show: most poses are none of training's."""

ALONE = MiniStyle(
    side_px=96, object_scale=(0.5, 0.95), max_rotation_deg=30, max_tilt=0.06, max_light=0.25,
    max_blur_px=0.8, max_noise=4, max_others=0, min_visible=1.0,
)  # fmt: skip
"""What a backbone is pretrained on."""


def split_photographs(seed: int, parts: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """parts: how many photographs each part has. All of a photograph's crops are in one part."""
    names = sorted(_crops_by_photograph())
    order = [names[i] for i in rng_for(seed, "mini-lvis photographs").permutation(len(names))]
    starts = np.cumsum([0, *parts.values()]).tolist()
    return {
        part: tuple(order[start : start + number])
        for (part, number), start in zip(parts.items(), starts, strict=False)
    }


def _crops_by_photograph() -> dict[str, list[np.ndarray]]:
    """A file is named after its photograph and the number of the crop."""
    crops: dict[str, list[np.ndarray]] = {}
    for path, pixels in zip(sorted(PHOTOS_DIR.glob("*.jpg")), load_photos(), strict=True):
        crops.setdefault(path.stem.rpartition("_")[0], []).append(pixels)
    return crops


def crops_of(photographs: tuple[str, ...]) -> list[np.ndarray]:
    """(240, 320, 3) uint8 each."""
    crops = _crops_by_photograph()
    return [crop for name in photographs for crop in crops[name]]


def mini_scene(
    seed: int, part: str, index: int, wanted: tuple[str, ...], crops: list[np.ndarray], style: MiniStyle
) -> LabelledScene:
    """Image `index` of a part: all `wanted`, labelled, and others without a label. It is drawn anew where one
    finds no place."""
    for attempt in count():
        rng = rng_for(seed, "mini-lvis scene", part, index, attempt)
        scene = _tried(rng, wanted, crops, style)
        if scene is not None:
            return scene
    raise AssertionError("count() does not end")


def _tried(
    rng: np.random.Generator, wanted: tuple[str, ...], crops: list[np.ndarray], style: MiniStyle
) -> LabelledScene | None:
    canvas = (SUPERSAMPLING * style.side_px,) * 2
    background = photo_crop(rng, crops, canvas)
    layers: list[Layer] = []
    for name in wanted:
        if put(rng, layers, name, style, canvas, style.min_visible) is None:
            return None
    for _ in range(rng.integers(style.max_others + 1)):
        put(rng, layers, OTHERS[rng.integers(len(OTHERS))], style, canvas, style.min_visible)
    image = painted(rng, background, layers, (style.side_px,) * 2, style.max_noise, style.max_blur_px)
    objects = tuple(
        ShownObject(one.name, place < len(wanted), shrunk(one.seen)) for place, one in enumerate(layers)
    )
    return LabelledScene(image, tuple(sorted(set(wanted))), objects)
