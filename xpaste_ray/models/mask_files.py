"""Masks that other tools made, from files that are named as the images are.

A folder holds for an image `a/photo.jpg` one of

    a/photo.png   a label map, 8 or 16 bits grey or with a palette: each number but 0 is a region; or, in
                  RGB, COCO's panoptic coding: R + 256 G + 65536 B is the number
    a/photo.npy   bool or integers: (N, H, W), a mask each where it is not 0; or (H, W), a label map
    a/photo.npz   the same as `masks`; for (N, H, W) also their `scores`, (N,), if there are any

A JSON file is COCO's: results, [{"image_id": ..., "segmentation": ..., "score": ...}], or annotations with
their images, {"images": [{"id": ..., "file_name": ...}], "annotations": [...]}. Segmentations are RLEs or
polygons. In results, image_id is the image's name without its ending, or the number that this is.

`photo.*` is found too where only one file has that name, in whatever folder. Of an image in a tar the name is
the member's, of a URL the last part, and of a generated image, which has no address, its candidate's id.
"""

import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, Generic, TypeVar
from urllib.parse import unquote, urlsplit
from zipfile import BadZipFile

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from xpaste_ray.backgrounds.annotations import Frame, encode_annotation
from xpaste_ray.config.segment import MasksMethod
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.fingerprints import fingerprint, hash_file
from xpaste_ray.models.segmenters import Shown, SoftMask
from xpaste_ray.storage import Location, locate

_ENDINGS = (".png", ".npy", ".npz")
_OPTION = "segment.methods.*.path"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_DAMAGED = (ValueError, KeyError, OSError, EOFError, SyntaxError, BadZipFile, zlib.error)  # what is read
_NO_FILE, _BAD_FILE, _WRONG_SIZE = "no_mask_file", "bad_mask_file", "mask_wrong_size"

T = TypeVar("T")
Scored = tuple[np.ndarray, float]
"""A (H, W) bool mask in the frame of its file, and its score."""


class MaskFileSegmenter:
    """The masks that lie there for an image, best score first, of equals the largest; scaled, where the image
    was reduced. Raises ConfigError if there are none at all; RowError "no_mask_file" for an image without,
    "bad_mask_file", or "mask_wrong_size" for another form than the image's.
    """

    micro_batch = 1

    def __init__(self, settings: MasksMethod) -> None:
        self._max_masks = settings.max_masks
        place = _place(settings.path, _OPTION)
        self._files: _Files | _Results = (
            _Results(place, _OPTION) if place.is_file() else _Files(place, _OPTION, settings.max_masks)
        )

    def __call__(self, shown: Sequence[Shown]) -> list[list[SoftMask]]:
        return [self._masks(one) for one in shown]

    def _masks(self, one: Shown) -> list[SoftMask]:
        size_hw = one.image.shape[:2]
        names = image_names(one.uri) if one.uri is not None else [one.candidate_id]
        found = list(self._files.masks_of(names, size_hw))
        found.sort(key=lambda scored: (-scored[1], -int(scored[0].sum())))
        return [SoftMask(_in_frame(mask, size_hw), score) for mask, score in found[: self._max_masks]]


def masks_name(path: str, option: str) -> str:
    """What is there, wherever it lies: "cob@1f0c...", by names and sizes of files, or by all that is
    in a local JSON file. ConfigError."""
    place = _place(path, option)
    told = hash_file(place) if place.is_local and place.is_file() else fingerprint(_sizes(place, option))
    return f"{place.name}@{told[:12]}"


def image_names(uri: str) -> list[str]:
    """What an image may be called, without its ending, likeliest first; see `sources` for what uris are."""
    path = unquote(urlsplit(uri).path).rpartition("/")[2] if _ADDRESS.match(uri) else uri
    names = [path]
    _, mark, inside = path.partition("#")
    if mark:  # a member of a tar, with its bytes, or a candidate of an earlier run, perhaps with its URL
        names.append(inside.partition("@")[0].partition("#")[0])
    return [str(PurePosixPath(name).with_suffix("")) for name in names if PurePosixPath(name).name]


class _ByName(Generic[T]):
    """Things by the images' names without ending; also by the last part of it, if that is no other's."""

    def __init__(self, things: Iterable[tuple[str, T]]) -> None:
        self._whole: dict[str, T] = {}
        self._last: dict[str, list[T]] = defaultdict(list)
        for name, thing in things:
            self._whole[name] = thing
            self._last[name.rpartition("/")[2]].append(thing)

    def __getitem__(self, names: Sequence[str]) -> T:
        """RowError "no_mask_file"."""
        for name in names:
            if name in self._whole:
                return self._whole[name]
        for name in names:
            if len(same := self._last.get(name.rpartition("/")[2], ())) == 1:
                return same[0]
        raise RowError(_NO_FILE, " or ".join(names))


class _Files:
    """A folder with a file for each image."""

    def __init__(self, folder: Location, option: str, most: int) -> None:
        self._folder, self._most = folder, most
        self._names = _ByName(
            (str(PurePosixPath(name).with_suffix("")), name) for name in _sizes(folder, option)
        )

    def masks_of(self, names: Sequence[str], size_hw: tuple[int, int]) -> Iterator[Scored]:
        name = self._names[names]
        try:
            data = (self._folder / name).read_bytes()
        except FileNotFoundError:
            raise RowError(_NO_FILE, name) from None
        try:
            yield from _decoded(data, PurePosixPath(name).suffix, self._most)
        except _DAMAGED as error:
            raise RowError(_BAD_FILE, f"{name}: {error}") from None


def _decoded(data: bytes, ending: str, most: int) -> Iterator[Scored]:
    """At most so many of a label map, the largest. ValueError, and whatever the libraries raise, for a file
    that is not what its ending says."""
    if ending == ".png":
        with Image.open(BytesIO(data)) as image:
            return _unscored(_regions_of(_panoptic(np.asarray(image)), most))
    told = np.load(BytesIO(data), allow_pickle=False)
    if ending == ".npy":
        return _unscored(_split(told, most))
    masks = told["masks"]
    if "scores" not in told:
        return _unscored(_split(masks, most))
    scores = np.asarray(told["scores"], np.float64)
    if masks.ndim != 3 or scores.shape != (len(masks),) or not np.isfinite(scores).all():
        raise ValueError(f"masks of shape {masks.shape} and scores of shape {scores.shape}, or not finite")
    return zip(_split(masks, most), scores.tolist(), strict=True)


def _unscored(masks: Iterable[np.ndarray]) -> Iterator[Scored]:
    return ((mask, 0.0) for mask in masks)


def _panoptic(pixels: np.ndarray) -> np.ndarray:
    """(H, W) of labels, from those, or from colours."""
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels.astype(np.int64) @ np.array([1, 256, 65536])
    raise ValueError(f"pixels of shape {pixels.shape} are neither labels nor RGB")


def _split(array: np.ndarray, most: int) -> Iterator[np.ndarray]:
    if array.dtype.kind not in "bui" or not 2 <= array.ndim <= 3:
        raise ValueError(f"an array of {array.dtype} and shape {array.shape} holds no masks")
    return iter(array != 0) if array.ndim == 3 else _regions_of(array, most)


def _regions_of(labels: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """The largest first; of equals, those of smaller numbers."""
    numbers, areas = np.unique(labels[labels != 0], return_counts=True)
    largest = numbers[np.argsort(-areas, kind="stable")[:most]]
    return (labels == number for number in largest)


class _Results:
    """One JSON file for all images, which every process holds whole."""

    def __init__(self, file: Location, option: str) -> None:
        try:
            told = json.loads(file.read_bytes())
            entries = told if isinstance(told, list) else told["annotations"]
            images = {} if isinstance(told, list) else {one["id"]: one for one in told["images"]}
            by_image: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
            for entry in entries:
                by_image[entry["image_id"]].append(entry)
            named = [(_name_of(number, images.get(number)), number) for number in {**by_image, **images}]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{option}: {file} is not as COCO's results or annotations are ({type(error).__name__}: "
                f"{error}): give a list with image_id and segmentation, or images and annotations"
            ) from None
        self._by_image, self._images, self._names = by_image, images, _ByName(named)

    def masks_of(self, names: Sequence[str], size_hw: tuple[int, int]) -> Iterator[Scored]:
        number = self._names[[*names, *(_number(name) for name in names)]]
        size = _declared(self._images.get(number, {})) or size_hw
        for entry in self._by_image.get(number, ()):
            yield _annotated(entry, size), _score(entry)


def _name_of(number: Any, image: Mapping[str, Any] | None) -> str:
    return str(number) if image is None else str(PurePosixPath(image["file_name"]).with_suffix(""))


def _number(name: str) -> str:
    """As in a list of results: 000000000139 is 139."""
    last = name.rpartition("/")[2]
    return str(int(last)) if last.isdecimal() else last


def _declared(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _annotated(entry: Mapping[str, Any], size_hw: tuple[int, int]) -> np.ndarray:
    """size_hw: the frame of polygons, which do not tell their own."""
    segmentation = entry.get("segmentation")
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    try:
        frame = Frame(size_hw if size is None else (int(size[0]), int(size[1])))
        known = {"id": 0, "category_id": 0, "segmentation": segmentation}
        counts = encode_annotation(known, frame)["counts"]
    except (RowError, TypeError, ValueError, IndexError) as error:
        raise RowError(_BAD_FILE, f"a segmentation of {entry.get('image_id')}: {error}") from None
    mask: np.ndarray = coco_mask.decode({"size": list(frame.size_hw), "counts": counts}).astype(bool)
    return mask


def _score(entry: Mapping[str, Any]) -> float:
    try:
        return float(entry.get("score", 0.0))
    except (TypeError, ValueError):
        raise RowError(_BAD_FILE, f"a score of {entry.get('image_id')}") from None


def _in_frame(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(H, W) float32. RowError unless some scale makes the one size the other but for rounding."""
    scales = [(side, own) for side, own in zip(size_hw, mask.shape, strict=True)]
    if not all(mask.shape) or max((s - 1) / o for s, o in scales) >= min((s + 1) / o for s, o in scales):
        raise RowError(_WRONG_SIZE, f"{mask.shape} for an image of {size_hw}")
    if mask.shape == size_hw:
        return mask.astype(np.float32)
    how = cv2.INTER_AREA if mask.shape[0] > size_hw[0] else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), size_hw[::-1], interpolation=how)


def _place(path: str, option: str) -> Location:
    place = locate(path)
    if not place.exists() or (place.is_file() and not place.name.endswith(".json")):
        raise ConfigError(f"{option}: {path!r} is neither a folder of mask files nor a .json file")
    return place


def _sizes(place: Location, option: str) -> dict[str, int]:
    """Bytes of the mask files of a folder by relative name, or of the one JSON file."""
    if place.is_file():
        return {place.name: place.size()}
    found = {name: size for name, size in place.files().items() if name.endswith(_ENDINGS)}
    if not found:
        raise ConfigError(
            f"{option}: {place} holds no mask files: name them as the images are, ending in "
            f"{', '.join(_ENDINGS)}"
        )
    return found
