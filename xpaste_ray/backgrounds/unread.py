"""Folders that are datasets with labels in a form that backgrounds are not read from.

Taken as plain folders they would give their images and lose their labels without a word; a PASCAL VOC
dataset would even give its label maps as photographs.
"""

from pathlib import Path
from typing import NoReturn

from xpaste_ray.errors import ConfigError
from xpaste_ray.runs import read_json

_READ = ("coco", "lvis")
_IMAGES = {"yolo": "images", "voc": "JPEGImages", "parquet": "data"}
"""Where a format of ours has its images, if backgrounds can be read from there."""


def refuse_unread_labels(folder: Path) -> None:
    """ConfigError that says what a folder is and what to give instead; nothing if it is of no such kind.

    `folder` has no annotation file that is read. Known are datasets of ours (in any format, finished or
    not, and the runs that hold one), PASCAL VOC and YOLO, in the folder or in those right below it.
    """
    try:
        for refuse in (_refuse_run, _refuse_ours, _refuse_part_of_ours, _refuse_voc, _refuse_yolo):
            refuse(folder)
    except OSError as error:
        raise ConfigError(f"backgrounds: {error.filename} cannot be read ({error.strerror})") from None


def _refuse_run(folder: Path) -> None:
    if _formats(folder / "dataset"):
        raise ConfigError(f"backgrounds: {folder} is a run: give its dataset, {folder / 'dataset'}")


def _refuse_ours(folder: Path) -> None:
    formats = _formats(folder)
    if not formats:
        if (folder / "fragments").is_dir():
            raise ConfigError(
                f"backgrounds: {folder} is a dataset that is not finished (it has no dataset.json): run the "
                "command that began it again"
            )
        return
    readable = [name for name in _READ if name in formats]
    if readable and len(formats) > 1:
        raise ConfigError(
            f"backgrounds: {folder} is a dataset in several formats: give {folder / readable[0]}, whose "
            "labels are read"
        )
    if readable:
        raise ConfigError(
            f"backgrounds: {folder} is a dataset without its annotations.json or its images: delete its "
            "dataset.json and run the command that wrote it again"
        )
    parts = [folder if len(formats) == 1 else folder / name for name in formats]
    places = [part / _IMAGES[name] for part, name in zip(parts, formats, strict=True) if name in _IMAGES]
    _refuse_labels_of_ours(folder, folder, formats, places)


def _refuse_part_of_ours(folder: Path) -> None:
    """One format's folder in a dataset of several."""
    formats = _formats(folder.parent)
    if len(formats) == 1 or folder.name not in formats:
        return
    places = [folder / _IMAGES[folder.name]] if folder.name in _IMAGES else []
    readable = [name for name in _READ if name in formats]
    if not readable:
        _refuse_labels_of_ours(folder, folder.parent, [folder.name], places)
    raise ConfigError(
        f"backgrounds: {folder} is a dataset in {folder.name}, whose labels are not read: give "
        f"{folder.parent / readable[0]}{_images_alone(places)}"
    )


def _refuse_labels_of_ours(folder: Path, dataset: Path, formats: list[str], places: list[Path]) -> NoReturn:
    raise ConfigError(
        f"backgrounds: {folder} is a dataset in {', '.join(formats)}, whose labels are not read: write it "
        f"again with `xpaste convert {dataset} --out DIR --format coco` and give DIR{_images_alone(places)}"
    )


def _images_alone(places: list[Path]) -> str:
    return f", or {places[0]} for its images without labels" if places else ""


def _refuse_voc(folder: Path) -> None:
    for place in (folder, *_folders_in(folder)):  # the development kit holds a folder a year
        if (place / "JPEGImages").is_dir() and (place / "Annotations").is_dir():
            _refuse_foreign(place, "PASCAL VOC", place / "JPEGImages")


def _refuse_yolo(folder: Path) -> None:
    for place in (folder, *_folders_in(folder)):  # some exporters make a folder a split
        labels = place / "labels"
        if (place / "images").is_dir() and labels.is_dir() and any(labels.rglob("*.txt")):
            _refuse_foreign(place, "YOLO", place / "images")


def _refuse_foreign(place: Path, kind: str, images: Path) -> NoReturn:
    raise ConfigError(
        f"backgrounds: {place} is a {kind} dataset, whose labels are not read: give a COCO file of it, or "
        f"{images} for its images without labels"
    )


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _formats(folder: Path) -> list[str]:
    """The formats of a finished dataset of ours; none if the folder is something else."""
    try:
        value = read_json(folder / "dataset.json")
    except (OSError, ConfigError):
        return []
    formats = value.get("formats")
    if not isinstance(formats, list) or "samples_per_shard" not in value:
        return []
    return [name for name in formats if isinstance(name, str)]
