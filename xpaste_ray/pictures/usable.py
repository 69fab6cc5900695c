"""Whether an image is of any use."""

import cv2
import numpy as np

from xpaste_ray.errors import RowError
from xpaste_ray.masks import OBJECT_ABOVE, spread_edge_colour, tight_box_xywh
from xpaste_ray.pictures.decode import check, decode, decode_rgba

_BLACK_BELOW = 8  # grey levels: nothing in the image is brighter
_MIN_OBJECT_PX = 2
OPAQUE = 255
_CONSTANT_BELOW = 2  # grey levels between the darkest and the brightest value


def read_picture(data: bytes, max_side_px: int, min_side_px: int = 1) -> np.ndarray:
    """The image of a JPEG, PNG or WebP file, its longer side at most `max_side_px`: (H, W, 3) uint8 RGB.

    RowError with the reasons of `check`, "image_too_small", "black_image" or "constant_image".
    """
    check(data)
    image = decode(data)
    if min(image.shape[:2]) < min_side_px:
        raise RowError("image_too_small", f"{image.shape[1]}x{image.shape[0]}")
    image = within(image, max_side_px)
    if (reason := defect(image)) is not None:
        raise RowError(reason)
    return image


def read_cutout(data: bytes, max_side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours and soft mask of a PNG or WebP file with transparency, its longer side at most `max_side_px`:
    (H, W, 3) uint8 RGB and (H, W) uint8.

    Colours under the mask's edge are those of the object, so that nothing hidden shows when it is resized.
    RowError with the reasons of `decode_rgba` and `mask_defect`.
    """
    rgba = decode_rgba(data)
    alpha = np.ascontiguousarray(rgba[..., 3])
    if int(alpha.min()) == OPAQUE:
        raise RowError("opaque_image")
    rgb = spread_edge_colour(rgba[..., :3], alpha) if alpha.any() else rgba[..., :3]
    image, mask = within(rgb, max_side_px), within(alpha, max_side_px)
    if (reason := mask_defect(image, mask)) is not None:
        raise RowError(reason)
    return image, mask


def mask_defect(image: np.ndarray, mask: np.ndarray) -> str | None:
    """Why an object shows nothing, if so: "empty_mask" or "tiny_mask" (it takes 2 px in both directions to
    make a cut-out), or `defect`'s reason. mask: (H, W) uint8; above 128 is object."""
    inside = mask > OBJECT_ABOVE
    box = tight_box_xywh(inside)
    if box is None:
        return "empty_mask"
    if min(box[2:]) < _MIN_OBJECT_PX:
        return "tiny_mask"
    return defect(image[inside])


def within(image: np.ndarray, max_side_px: int) -> np.ndarray:
    """The image, reduced by averaging if its longer side exceeds `max_side_px`. Any number of channels."""
    height, width = image.shape[:2]
    shrink = max_side_px / max(height, width)
    if shrink >= 1:
        return image
    size_wh = max(1, round(width * shrink)), max(1, round(height * shrink))
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)


def defect(image: np.ndarray) -> str | None:
    """Why an image has nothing to see, if so: "black_image" or "constant_image"."""
    brightest, darkest = int(image.max()), int(image.min())
    if brightest < _BLACK_BELOW:
        return "black_image"
    return "constant_image" if brightest - darkest < _CONSTANT_BELOW else None
