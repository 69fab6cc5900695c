"""Shipped objects put on one picture, one above another, with what is seen of each.

Everything is laid on a canvas of `SUPERSAMPLING` times the picture's size, then averaged down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from xpaste_ray.embedded.scenes import load_object

SUPERSAMPLING = 2  # as in `scenes`: soft, exact edges
_ATTEMPTS = 24
_LEAST_BLUR_PX = 0.3  # a narrower kernel is that of no blur


class Pose(Protocol):
    """Ranges that an object's place and look are drawn from.

    object_scale: its longer side / the picture's shorter one. max_tilt: how far a corner moves, as a part of
    the object's side. max_light: largest relative change of brightness; of a colour, less.
    """

    @property
    def object_scale(self) -> tuple[float, float]: ...
    @property
    def max_rotation_deg(self) -> float: ...
    @property
    def max_tilt(self) -> float: ...
    @property
    def max_light(self) -> float: ...


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """An object before it is painted.

    rgba: (h, w, 4) float32, premultiplied, of the `part` of the canvas that it lies in. covers, seen: (H, W)
    bool on the whole canvas, what it would cover alone, and what others leave. depth: what has more of it
    covers what has less. least: pixels of it that must be seen.
    """

    name: str
    rgba: np.ndarray
    part: tuple[slice, slice]
    covers: np.ndarray
    seen: np.ndarray
    depth: float
    least: float


def put(
    rng: np.random.Generator,
    layers: list[Layer],
    name: str,
    pose: Pose,
    canvas_hw: tuple[int, int],
    min_visible: float,
    beside_xy: np.ndarray | None = None,
) -> np.ndarray | None:
    """Adds the object where enough of it, and of all others, is seen, and returns its centre; None if there
    is no such place among those tried. min_visible: part of it that must be seen. beside_xy: the centre of
    what it stands beside."""
    for _ in range(_ATTEMPTS):
        side = rng.uniform(*pose.object_scale) * min(canvas_hw)
        room = np.array([canvas_hw[1], canvas_hw[0]]) - side
        centre = side / 2 + rng.uniform(0, 1, 2) * room
        if beside_xy is not None:
            angle = rng.uniform(0, 2 * np.pi)
            away = side * rng.uniform(0.7, 1.1) * np.array([np.cos(angle), np.sin(angle)])
            centre = np.clip(beside_xy + away, side / 2, side / 2 + room)
        changed = _with(layers, _layer(rng, name, centre, side, pose, canvas_hw, min_visible))
        if all(np.count_nonzero(one.seen) >= one.least for one in changed):
            layers[:] = changed
            return centre
    return None


def _with(layers: Sequence[Layer], new: Layer) -> list[Layer]:
    """All of them, as they are seen together."""
    seen, changed = new.seen, []
    for one in layers:
        if one.depth > new.depth:
            seen = seen & ~one.covers
            changed.append(one)
        else:
            changed.append(replace(one, seen=one.seen & ~new.covers))
    return [*changed, replace(new, seen=seen)]


def _layer(
    rng: np.random.Generator,
    name: str,
    centre_xy: np.ndarray,
    side_px: float,
    pose: Pose,
    canvas_hw: tuple[int, int],
    min_visible: float,
) -> Layer:
    """The object turned, mirrored, tilted and lit."""
    picture = load_object(name)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    moved = corners + rng.uniform(-pose.max_tilt, pose.max_tilt, (4, 2))
    angle = np.deg2rad(rng.uniform(-pose.max_rotation_deg, pose.max_rotation_deg))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = np.array([-1.0 if rng.random() < 0.5 else 1.0, 1.0])
    target = centre_xy + side_px * (moved * mirror) @ turn.T
    left, top = np.floor(target.min(axis=0)).astype(int).clip(0)
    right, bottom = (np.ceil(target.max(axis=0)).astype(int) + 1).clip(0, canvas_hw[::-1])
    source = (corners + 0.5) * picture.shape[0] - 0.5
    matrix = cv2.getPerspectiveTransform(source.astype(np.float32), (target - (left, top)).astype(np.float32))
    rgba = cv2.warpPerspective(picture, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    light = 1 + rng.uniform(-pose.max_light, pose.max_light) + rng.uniform(-0.4, 0.4, 3) * pose.max_light
    rgba[..., :3] = np.minimum(rgba[..., :3] * light.astype(np.float32), rgba[..., 3:])
    part = slice(top, bottom), slice(left, right)
    covers = np.zeros(canvas_hw, bool)
    covers[part] = rgba[..., 3] > 0.5
    return Layer(
        name, rgba, part, covers, covers, float(rng.random()), min_visible * np.count_nonzero(covers)
    )


def shrunk(mask: np.ndarray) -> np.ndarray:
    """A mask of the canvas in the picture's size: a pixel is the object's if most of its four are."""
    height, width = (side // SUPERSAMPLING for side in mask.shape)
    parts = mask.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING)
    small: np.ndarray = parts.sum(axis=(1, 3)) > SUPERSAMPLING**2 / 2
    return small


def painted(
    rng: np.random.Generator,
    background: np.ndarray,
    layers: Sequence[Layer],
    size_hw: tuple[int, int],
    max_noise: float,
    max_blur_px: float = 0.0,
) -> np.ndarray:
    """(H, W, 3) uint8. background: (h, w, 3) float32 in [0, 1], of the canvas. max_noise: largest standard
    deviation of it, of 255. max_blur_px: the same of a blur."""
    pixels = background.copy()
    for layer in sorted(layers, key=lambda one: one.depth):
        below = pixels[layer.part]
        below[:] = below * (1 - layer.rgba[..., 3:]) + layer.rgba[..., :3]
    small: np.ndarray = 255 * cv2.resize(pixels, size_hw[::-1], interpolation=cv2.INTER_AREA)
    if max_blur_px:
        sigma = rng.uniform(0, max_blur_px)
        if sigma > _LEAST_BLUR_PX:
            small = cv2.GaussianBlur(small, (0, 0), sigma)
    noise = rng.uniform(0, max_noise) * rng.standard_normal(small.shape)
    return np.clip(np.rint(small + noise), 0, 255).astype(np.uint8)


def photo_crop(
    rng: np.random.Generator, photos: Sequence[np.ndarray], canvas_hw: tuple[int, int]
) -> np.ndarray:
    """A part of one of the photographs in the canvas's form: (h, w, 3) float32 in [0, 1]."""
    photo = photos[rng.integers(len(photos))]
    fit = min(photo.shape[0] / canvas_hw[0], photo.shape[1] / canvas_hw[1])
    fit *= rng.uniform(0.6, 1)
    height, width = (int(fit * side) for side in canvas_hw)
    top = rng.integers(photo.shape[0] - height + 1)
    left = rng.integers(photo.shape[1] - width + 1)
    crop = photo[top : top + height, left : left + width].astype(np.float32) / 255
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return cv2.resize(crop, canvas_hw[::-1], interpolation=cv2.INTER_LINEAR)
