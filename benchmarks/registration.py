"""Where a shipped object lies in a picture of it: an affine map, found by trying and then refining.

A picture is explained by an object as `a * object + (1 - alpha) * (b + c * x + d * y)` for each colour, where
a, b, c and d are fitted: the object's light, and a plain or shaded background, as the generator was taught
(`scenes.DIFFUSION_STYLE`). How much of the picture's variance that leaves is how badly it fits. Every pose of
a grid is tried on a small picture, for all objects at once, as one matrix product; the best are refined on
the whole one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from scipy.optimize import minimize

from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, load_object

_COARSE_PX = 32
_ANGLES_DEG = (-12.0, -4.0, 4.0, 12.0)
_SCALES = (0.58, 0.66, 0.74, 0.82)
_SHIFT_STEP = 1.5 / _COARSE_PX  # of the picture's side
_STARTS = 2
_GOOD_FIT = 0.05  # another start would not find another pose
_SUPERSAMPLING = 2
_RIDGE = 1e-6 * np.eye(6, dtype=np.float32)  # an object that hides all has nothing around it
_LEAST_LIGHT, _MOST_LIGHT = 0.5, 1.6  # no object explains a picture in which it is black, or negative
_WIDER = np.array([8.0, 0.06, 0.06, 0.06])  # by which a refined pose may leave the generator's ranges


@dataclass(frozen=True, slots=True)
class Pose:
    """scale: the object's longer side, and centre_xy its middle, as parts of the picture's side."""

    flipped: bool
    angle_deg: float
    scale: float
    centre_xy: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """unexplained: part of the picture's variance, 0 is a perfect fit. alpha: (S, S) float32 in [0, 1]."""

    category: str
    pose: Pose
    unexplained: float
    alpha: np.ndarray


def place(name: str, pose: Pose, side_px: int) -> np.ndarray:
    """The object in its pose: (side_px, side_px, 4) float32, premultiplied, in [0, 1]."""
    picture = load_object(name)
    canvas_px = _SUPERSAMPLING * side_px
    angle = np.deg2rad(pose.angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = pose.scale * canvas_px / picture.shape[0] * turn @ np.diag([-1.0 if pose.flipped else 1.0, 1.0])
    middle = np.full(2, (picture.shape[0] - 1) / 2)
    shift = canvas_px * np.array(pose.centre_xy) - 0.5 - linear @ middle
    matrix = np.column_stack([linear, shift])
    large = cv2.warpAffine(picture, matrix, (canvas_px, canvas_px), flags=cv2.INTER_LINEAR)
    small: np.ndarray = cv2.resize(large, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return small


def grid_poses() -> Iterator[Pose]:
    """As the generator was taught: an object is wholly in the picture."""
    for flipped, angle, scale in product((False, True), _ANGLES_DEG, _SCALES):
        turned = abs(np.cos(np.deg2rad(angle))) + abs(np.sin(np.deg2rad(angle)))
        slack = max(0.0, 1 - scale * turned) / 2
        steps = int(slack // _SHIFT_STEP)
        shifts = _SHIFT_STEP * np.arange(-steps, steps + 1)
        for x, y in product(shifts.tolist(), repeat=2):
            yield Pose(flipped, angle, scale, (0.5 + x, 0.5 + y))


def _around(rgba: np.ndarray) -> np.ndarray:
    """(..., S, S, 4) -> (..., S, S, 3): a constant and two slopes, where the object is not."""
    side = rgba.shape[-2]
    x, y = np.meshgrid(*(np.linspace(-1, 1, side, dtype=np.float32),) * 2)
    around: np.ndarray = (1 - rgba[..., 3:]) * np.stack([np.ones_like(x), x, y], axis=-1)
    return around


def _grid(name: str) -> np.ndarray:
    """(poses, 3, 4, pixels) float32: for each colour, an orthonormal basis of what the object
    in its pose, and what is around it, explain."""
    poses = np.stack([place(name, pose, _COARSE_PX) for pose in grid_poses()])
    around = _around(poses)
    columns = np.stack([np.concatenate([poses[..., c, None], around], axis=-1) for c in range(3)], axis=1)
    orthonormal, _ = np.linalg.qr(columns.reshape(len(poses), 3, -1, 4))
    return np.ascontiguousarray(orthonormal.transpose(0, 1, 3, 2)).astype(np.float32)


def coarse_fits(pictures: np.ndarray, name: str) -> np.ndarray:
    """pictures: (N, S, S, 3) uint8. Returns (N, poses) float32: what each pose of the grid leaves
    unexplained."""
    small = np.stack([_reduced(one) for one in pictures])
    colours = small.reshape(len(small), -1, 3).transpose(2, 1, 0)  # 3, pixels, N
    grid = _grid(name)
    explained = np.zeros((len(grid), len(small)), np.float32)
    for colour in range(3):
        flat = grid[:, colour].reshape(-1, grid.shape[-1])
        explained += np.square(flat @ colours[colour]).reshape(len(grid), 4, -1).sum(axis=1)
    total = np.square(small).sum(axis=(1, 2, 3))
    left: np.ndarray = ((total - explained) / _variance(small)).T
    return left


def register(picture: np.ndarray, name: str, fits: np.ndarray) -> Registration:
    """The object's best pose. picture: (S, S, 3) uint8 RGB. fits: (poses,), its row of `coarse_fits`."""
    poses = list(grid_poses())
    scaled = picture.astype(np.float32) / 255
    found: list[tuple[Pose, float]] = []
    for i in _apart(np.argsort(fits, kind="stable"), poses):
        found.append(_refined(scaled, name, poses[i]))
        if found[-1][1] < _GOOD_FIT:
            break
    pose, left = min(found, key=lambda one: one[1])
    return Registration(name, pose, left, place(name, pose, picture.shape[0])[..., 3])


def _apart(order: np.ndarray, poses: Sequence[Pose]) -> list[int]:
    """The first, and the next ones that are turned or flipped in another way."""
    chosen: dict[tuple[bool, float], int] = {}
    for i in order.tolist():
        chosen.setdefault((poses[i].flipped, poses[i].angle_deg), i)
        if len(chosen) == _STARTS:
            break
    return list(chosen.values())


def _refined(picture: np.ndarray, name: str, start: Pose) -> tuple[Pose, float]:
    """Nelder and Mead's search from a pose of the grid."""
    origin = np.array([start.angle_deg, start.scale, *start.centre_xy])
    unit = np.array([4.0, 0.04, 0.02, 0.02])
    ranges = np.array([
        [-DIFFUSION_STYLE.max_rotation_deg, DIFFUSION_STYLE.max_rotation_deg],
        DIFFUSION_STYLE.object_scale, [0.3, 0.7], [0.3, 0.7],
    ])  # fmt: skip
    low, high = (ranges[:, 0] - _WIDER - origin) / unit, (ranges[:, 1] + _WIDER - origin) / unit

    def pose_at(steps: np.ndarray) -> Pose:
        angle, scale, x, y = (origin + unit * steps).tolist()
        return Pose(start.flipped, angle, scale, (x, y))

    def left_at(steps: np.ndarray) -> float:
        return unexplained(picture, place(name, pose_at(steps), picture.shape[0]))

    simplex = np.concatenate([np.zeros((1, 4)), np.eye(4)])
    found = minimize(
        left_at, np.zeros(4), method="Nelder-Mead", bounds=np.column_stack([low, high]),
        options={"initial_simplex": simplex.clip(low, high), "xatol": 0.05, "fatol": 1e-4, "maxfev": 120},
    )  # fmt: skip
    return pose_at(found.x), float(found.fun)


def unexplained(picture: np.ndarray, rgba: np.ndarray) -> float:
    """Part of a picture's variance. picture: (S, S, 3) float32 in [0, 1]. rgba: the object in its pose."""
    columns = np.concatenate([rgba[..., :3], _around(rgba)], axis=-1).reshape(-1, 6)
    wanted = picture.reshape(-1, 3)
    gram, against = columns.T @ columns + _RIDGE, columns.T @ wanted
    left = float(np.square(wanted).sum())
    for colour in range(3):
        own = np.array([colour, 3, 4, 5])
        own_gram, own_against = gram[np.ix_(own, own)], against[own, colour]
        light = np.linalg.solve(own_gram, own_against)
        if not _LEAST_LIGHT <= light[0] <= _MOST_LIGHT:
            light[0] = light[0].clip(_LEAST_LIGHT, _MOST_LIGHT)
            light[1:] = np.linalg.solve(own_gram[1:, 1:], own_against[1:] - light[0] * own_gram[1:, 0])
        left += float(light @ own_gram @ light - 2 * light @ own_against)
    return left / float(_variance(picture[None])[0])


def _reduced(picture: np.ndarray) -> np.ndarray:
    small: np.ndarray = cv2.resize(picture, (_COARSE_PX, _COARSE_PX), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _variance(pictures: np.ndarray) -> np.ndarray:
    """(N,): squared distance from the picture's mean colour, summed."""
    mean = pictures.mean(axis=(1, 2), keepdims=True)
    total: np.ndarray = np.square(pictures - mean).sum(axis=(1, 2, 3))
    return np.maximum(total, 1e-6)
