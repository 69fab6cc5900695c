"""Source stage: images that exist already, read and decoded."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco_mask

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.config import (
    AnnotatedSource,
    AnySource,
    CandidatesSource,
    CutoutsSource,
    FolderSource,
    WebDatasetSource,
)
from xpaste_ray.config.images import ImagesSettings
from xpaste_ray.errors import ConfigError, RowError, StorageError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.masks import BoxXYWH, decode_png, object_fraction
from xpaste_ray.pictures.files import MAX_FILE_BYTES, file_at, read_file
from xpaste_ray.pictures.usable import defect, mask_defect, read_cutout, read_picture, within
from xpaste_ray.records import GIVEN, Candidate, Proposal
from xpaste_ray.runs import RunDir, open_parquet
from xpaste_ray.sources.annotated import object_of
from xpaste_ray.sources.candidates import candidate_of
from xpaste_ray.sources.webdataset import Member
from xpaste_ray.storage import Location

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What was read for a prompt. image: (H, W, 3) uint8 RGB. mask: (H, W) uint8, if it came with one.
    model: what once generated the image."""

    image: np.ndarray
    content_hash: str
    mask: np.ndarray | None = None
    model: str | None = None


Read = Callable[[Sequence[str]], Iterator[Found | Exception]]
"""URIs to what is there, or why there is nothing, in their order."""


class ReadStage:
    """Fills in the images of candidates that have only their prompts.

    A candidate whose image cannot be used is rejected with the reason; if it could not be read (a disk, a
    network), that is `transient`. Where a mask came with the image, it is the candidate's one proposal, and
    segmenters leave it alone.
    """

    def __init__(self, settings: AnySource | ImagesSettings, place: Any) -> None:
        """place: what the opened source says that its images are read from, see `FoundImages`."""
        self._read: Read = READERS[settings.kind](settings, place)

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        found = self._read([candidate.prompt.uri or "" for candidate in candidates])
        return [_filled(candidate, one) for candidate, one in zip(candidates, found, strict=True)]


def _filled(candidate: Candidate, found: Found | Exception) -> Candidate:
    if isinstance(found, Exception):
        return _rejected(candidate, found)
    return replace(
        candidate,
        image=found.image,
        content_hash=found.content_hash,
        model=found.model,
        proposals=() if found.mask is None else (_proposal(found.mask),),
    )


def _rejected(candidate: Candidate, error: Exception) -> Candidate:
    if isinstance(error, RowError):
        return replace(candidate, status="rejected", reason=error.reason)
    if isinstance(error, FileNotFoundError):
        return replace(candidate, status="rejected", reason="missing_file")
    _LOG.warning("%s could not be read: %s", candidate.prompt.candidate_id, error)
    passing = isinstance(error, OSError | StorageError)
    return replace(
        candidate, status="rejected", reason="read_failed" if passing else "unreadable", transient=passing
    )


def _proposal(mask: np.ndarray) -> Proposal:
    return Proposal(GIVEN, 0, mask, area_fraction=object_fraction(mask))


def _each(read: Callable[[str], Found]) -> Read:
    """Reads one after the other; what is raised is told of that one only."""

    def read_all(uris: Sequence[str]) -> Iterator[Found | Exception]:
        for uri in uris:
            try:
                yield read(uri)
            except ConfigError:
                raise
            except Exception as error:
                yield error

    return read_all


def _files(settings: FolderSource | ImagesSettings, root: Location) -> Read:
    """Images of a folder, or of an index file, whose paths may be elsewhere."""

    def read(uri: str) -> Found:
        data = read_file(file_at(root, uri))
        return Found(read_picture(data, settings.max_side_px), hash_bytes(data))

    return _each(read)


def _labelled(settings: ImagesSettings, root: Location) -> Read:
    """Images with labels: one that is asked for with several categories is read once."""
    read_all = _files(settings, root)

    def read(uris: Sequence[str]) -> Iterator[Found | Exception]:
        wanted = list(dict.fromkeys(uris))
        found = dict(zip(wanted, read_all(wanted), strict=True))
        return (found[uri] for uri in uris)

    return read


def _cutouts(settings: CutoutsSource, root: Location) -> Read:
    def read(uri: str) -> Found:
        data = read_file(file_at(root, uri))
        image, mask = read_cutout(data, settings.max_side_px)
        return Found(image, hash_bytes(data), mask)

    return _each(read)


def _members(settings: WebDatasetSource, root: Location) -> Read:
    """Members of tars, by their places."""

    def read(uri: str) -> Found:
        member = Member.of(uri)
        if member.size > MAX_FILE_BYTES:
            raise RowError("file_too_large")
        with (root / member.tar).open() as file:
            if file.size() < member.offset + member.size:
                raise RowError("truncated", member.tar)
            file.seek(member.offset)
            data = file.read(member.size)
        return Found(read_picture(data, settings.max_side_px), hash_bytes(data))

    return _each(read)


def _stored(settings: CandidatesSource, root: Location) -> Read:
    """Stored images of an earlier run, with the masks that had come along. Each of its files is opened once
    for all that is wanted of it."""
    run = RunDir(root)

    def open_unit(unit: str) -> Mapping[str, dict[str, Any]] | Exception:
        try:
            rows = _rows_of(open_parquet(run.unit_file(unit)))
        except pa.ArrowInvalid:
            return RowError("unreadable", unit)
        except (OSError, StorageError) as error:
            return error
        return {row["candidate_id"]: row for row in rows}

    def read(uris: Sequence[str]) -> Iterator[Found | Exception]:
        places = [candidate_of(uri) for uri in uris]
        units = {unit: open_unit(unit) for unit in dict.fromkeys(unit for unit, _ in places)}
        for unit, candidate_id in places:
            rows = units[unit]
            if isinstance(rows, Exception):
                yield rows
                continue
            row = rows.get(candidate_id, {})
            yield _decoded(row, settings.max_side_px) if row.get("image_png") else RowError("missing_image")

    return read


def _rows_of(unit: pq.ParquetFile) -> list[dict[str, Any]]:
    """Its candidates, each with `given_png`, the mask that came with it. Masks are read only if there are
    such: those of segmenters are as large."""
    rows: list[dict[str, Any]] = unit.read(["candidate_id", "model", "content_hash", "image_png"]).to_pylist()
    paths = [unit.schema.column(number).path for number in range(len(unit.schema))]

    def proposals(*fields: str) -> list[list[dict[str, Any]]]:
        wanted = [path for path in paths if path.startswith("proposals.") and path.endswith(fields)]
        told: list[list[dict[str, Any]]] = unit.read(wanted)["proposals"].to_pylist()
        return told

    given = [None] * len(rows)
    if any(one["method"] == GIVEN for several in proposals(".method") for one in several):
        given = [
            next((one["mask_png"] for one in several if one["method"] == GIVEN), None)
            for several in proposals(".method", ".mask_png")
        ]
    return [{**row, "given_png": png} for row, png in zip(rows, given, strict=True)]


def _decoded(row: Mapping[str, Any], max_side_px: int) -> Found | RowError:
    png, given = row["image_png"], row["given_png"]
    try:
        image = within(np.ascontiguousarray(decode_png(png)), max_side_px)
        mask = None if given is None else within(np.ascontiguousarray(decode_png(given)), max_side_px)
    except ValueError:
        return RowError("unreadable")
    if (reason := defect(image) if mask is None else mask_defect(image, mask)) is not None:
        return RowError(reason)
    return Found(image, row["content_hash"] or hash_bytes(png), mask, row["model"])


def _objects(settings: AnnotatedSource, images: Backgrounds) -> Read:
    """Objects of a dataset, cut out by their boxes with a margin, their masks beside them."""

    def read(uri: str) -> Found:
        name, number = object_of(uri)
        row = images.row_of_id(name)
        (annotation,) = (one for one in images.annotations(row) if one.id == number)
        height, width = images.size_hw(row)
        top, bottom, left, right = with_margin(annotation.bbox_xywh, settings.margin, (height, width))
        try:
            whole = images.load(row)
        except ConfigError as error:  # gone, or another one than was indexed
            raise RowError("changed_file", str(error)) from None
        mask = coco_mask.decode(annotation.rle)[top:bottom, left:right] * np.uint8(255)
        image = within(np.ascontiguousarray(whole[top:bottom, left:right]), settings.max_side_px)
        mask = within(np.ascontiguousarray(mask), settings.max_side_px)
        if (reason := mask_defect(image, mask)) is not None:
            raise RowError(reason)
        return Found(image, images.checksum(row), mask)

    return _each(read)


def with_margin(box_xywh: BoxXYWH, margin: float, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of a box that is larger by `margin` of its longer side on each side, as far as
    the image reaches. In pixels; the ends are not inside."""
    left, top, width, height = box_xywh
    more = round(margin * max(width, height))
    bottom, right = min(size_hw[0], top + height + more), min(size_hw[1], left + width + more)
    return max(0, top - more), bottom, max(0, left - more), right


READERS: Mapping[str, Callable[[Any, Any], Read]] = {
    "folder": _files,
    "webdataset": _members,
    "candidates": _stored,
    "cutouts": _cutouts,
    "annotated": _objects,
    ImagesSettings.kind: _labelled,
}
