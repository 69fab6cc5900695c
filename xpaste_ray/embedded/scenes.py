"""Rendered scenes of one known object: what the miniature models are trained and measured on.

A scene is one of the shipped objects turned, flipped, scaled, shifted and lit over a background,
with its exact alpha. Every draw comes from the generator that the caller hands in.
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np

from xpaste_ray.embedded import OBJECTS_DIR, PHOTOS_DIR

Background = Literal["white", "plain", "shaded", "vivid", "photo"]

_SUPERSAMPLING = 2  # scenes are painted at twice their size and averaged down: soft, exact edges
_OBJECT_SIDE_PX = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneStyle:
    """Ranges that a scene is drawn from; `object_scale` is the object's longer side / image side."""

    backgrounds: tuple[Background, ...]
    object_scale: tuple[float, float]
    max_rotation_deg: float
    max_light: float  # largest relative change of brightness and of each colour channel
    max_blur_sigma_px: float = 0.0


DIFFUSION_STYLE = SceneStyle(
    backgrounds=("white", "plain", "shaded", "shaded"),
    object_scale=(0.60, 0.82),
    max_rotation_deg=12,
    max_light=0.10,
)
CLIP_STYLE = SceneStyle(
    backgrounds=("white", "plain", "shaded", "vivid", "photo", "photo", "photo"),
    object_scale=(0.40, 0.90),
    max_rotation_deg=25,
    max_light=0.20,
    max_blur_sigma_px=0.8,
)


@cache
def load_object(name: str) -> np.ndarray:
    """The object of an LVIS category: (160, 160, 4) float32 in [0, 1], premultiplied RGBA, read-only.

    Cropped to its alpha, so that its longer side fills the square. KeyError for unknown names.
    """
    index = {row["name"]: row["file"] for row in json.loads((OBJECTS_DIR / "index.json").read_text())}
    bgra = cv2.imread(str(OBJECTS_DIR / index[name]), cv2.IMREAD_UNCHANGED).astype(np.float32) / 255
    rgba = bgra[..., [2, 1, 0, 3]]
    rgba[..., :3] *= rgba[..., 3:]
    ys, xs = np.nonzero(rgba[..., 3] > 0.02)
    rgba = rgba[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    height, width = rgba.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, 4), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = rgba
    shrunk = cv2.resize(square, (_OBJECT_SIDE_PX, _OBJECT_SIDE_PX), interpolation=cv2.INTER_AREA)
    shrunk.flags.writeable = False
    return shrunk


@cache
def load_photos() -> tuple[np.ndarray, ...]:
    """The shipped photographs at half size, (240, 320, 3) uint8 RGB, in file name order."""
    return tuple(
        cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2)[..., ::-1].copy()
        for path in sorted(PHOTOS_DIR.glob("*.jpg"))
    )


def object_names() -> list[str]:
    """LVIS names of all shipped objects, in category id order."""
    return [row["name"] for row in json.loads((OBJECTS_DIR / "index.json").read_text())]


def compose_scene(
    rng: np.random.Generator, name: str, style: SceneStyle, side_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """One object wholly inside one image.

    Returns (side_px, side_px, 3) uint8 RGB and the object's alpha, (side_px, side_px) float32 in [0, 1].
    """
    canvas_px = side_px * _SUPERSAMPLING
    background = _background(rng, style.backgrounds[rng.integers(len(style.backgrounds))], canvas_px)
    layer = cv2.warpAffine(
        load_object(name), _placement(rng, style, canvas_px), (canvas_px, canvas_px), flags=cv2.INTER_LINEAR
    )
    light = 1 + rng.uniform(-style.max_light, style.max_light) + rng.uniform(-0.5, 0.5, 3) * style.max_light
    alpha = layer[..., 3:]
    rgb = background * (1 - alpha) + np.minimum(layer[..., :3] * light.astype(np.float32), alpha)
    small = cv2.resize(np.concatenate([rgb, alpha], 2), (side_px, side_px), interpolation=cv2.INTER_AREA)
    pixels = small[..., :3]
    if style.max_blur_sigma_px:
        sigma = rng.uniform(0, style.max_blur_sigma_px)
        if sigma > 0.3:
            pixels = cv2.GaussianBlur(pixels, (0, 0), sigma)
    return np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8), small[..., 3]


def _placement(rng: np.random.Generator, style: SceneStyle, canvas_px: int) -> np.ndarray:
    """Affine map from object square to canvas pixels: flip, turn, scale, shift. (2, 3) float64."""
    scale = rng.uniform(*style.object_scale)
    angle = np.deg2rad(rng.uniform(-style.max_rotation_deg, style.max_rotation_deg))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    slack = max(0.0, 1 - scale * (abs(np.cos(angle)) + abs(np.sin(angle)))) / 2
    centre_xy = canvas_px * (0.5 + rng.uniform(-slack, slack, 2))
    factor = scale * canvas_px / _OBJECT_SIDE_PX
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = factor * turn @ np.diag([flip, 1.0])
    middle = np.full(2, (_OBJECT_SIDE_PX - 1) / 2)
    return np.column_stack([linear, centre_xy - 0.5 - linear @ middle])


def _background(rng: np.random.Generator, kind: Background, side_px: int) -> np.ndarray:
    """(side_px, side_px, 3) float32 RGB in [0, 1]."""
    if kind == "photo":
        return _photo_crop(rng, side_px)
    if kind == "white":
        return np.ones((side_px, side_px, 3), np.float32)
    if kind == "vivid":
        first, second = rng.uniform(0, 1, (2, 3))
        return _blend_across(rng, first, second, side_px)
    pale = _pale(rng)
    if kind == "plain":
        return np.broadcast_to(pale.astype(np.float32), (side_px, side_px, 3)).copy()
    return _blend_across(rng, pale, pale * rng.uniform(0.80, 0.95), side_px)


def _pale(rng: np.random.Generator) -> np.ndarray:
    """A light colour of low saturation, (3,) float64."""
    return rng.uniform(0.82, 1.0) * (1 - rng.uniform(0, 0.18) * rng.uniform(0, 1, 3))


def _blend_across(
    rng: np.random.Generator, first: np.ndarray, second: np.ndarray, side_px: int
) -> np.ndarray:
    """A smooth passage between two colours in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-0.5, 0.5, side_px, dtype=np.float32)
    along = ramp[None, :] * np.cos(angle) + ramp[:, None] * np.sin(angle)
    weight = np.clip(along / 1.4142 + 0.5, 0, 1)[..., None].astype(np.float32)
    return first.astype(np.float32) * (1 - weight) + second.astype(np.float32) * weight


def _photo_crop(rng: np.random.Generator, side_px: int) -> np.ndarray:
    photos = load_photos()
    photo = photos[rng.integers(len(photos))]
    crop_px = int(rng.integers(72, 200))
    top = rng.integers(photo.shape[0] - crop_px + 1)
    left = rng.integers(photo.shape[1] - crop_px + 1)
    crop = photo[top : top + crop_px, left : left + crop_px]
    mode = cv2.INTER_AREA if crop_px > side_px else cv2.INTER_LINEAR
    resized = cv2.resize(crop, (side_px, side_px), interpolation=mode)
    return resized.astype(np.float32) / 255
