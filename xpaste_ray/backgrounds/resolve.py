"""From what a user writes to a source of backgrounds."""

from pathlib import Path

from xpaste_ray.backgrounds.dataset import annotation_file, open_dataset
from xpaste_ray.backgrounds.parquet import has_parquet, open_parquet
from xpaste_ray.backgrounds.sources import FolderSource, Source, list_images, parse_colours
from xpaste_ray.backgrounds.unread import refuse_unread_labels
from xpaste_ray.errors import ConfigError

_EMBEDDED_PHOTOS = Path(__file__).resolve().parent.parent / "embedded" / "photos"


def resolve_source(text: str | Path, images: Path | None = None, column: str | None = None) -> Source:
    """The source that `text` means.

    - "embedded:photos": the few photographs that the package ships.
    - "black", "white", "grey" or "#rrggbb", several with commas, a size after ":" (640x480; 640x640 if
      not given). A folder of that name is written ./black.
    - a COCO or LVIS annotation file (.json), or a folder with `annotations.json` and `images/`, or with
      one instances_*.json or lvis_*.json in `annotations/`. `images` says where its images are.
    - a Parquet file, or a folder of them. `column` names the one with the images.
    - any other folder: its images, without annotations.

    ConfigError if there is no such thing, if it could be two, or if it is a dataset in another form,
    whose labels would be lost.
    """
    if text == "embedded:photos":
        return FolderSource(_EMBEDDED_PHOTOS)
    colours = parse_colours(text) if isinstance(text, str) else None
    if colours:
        return colours
    path = Path(text).absolute()  # workers may stand elsewhere
    if images is not None and not images.is_dir():
        raise ConfigError(f"--images {images} is not a folder")
    images = images and images.absolute()
    if path.suffix.lower() == ".json" and path.is_file():
        return open_dataset(path, images)
    if path.suffix.lower() == ".parquet" and path.is_file():
        return open_parquet(path, column)
    if not path.is_dir():
        raise ConfigError(
            f"backgrounds: {text} is not a folder, a COCO or LVIS file (.json), a Parquet file or a colour"
        )
    annotations = annotation_file(path)
    if annotations:
        return open_dataset(annotations, images)
    refuse_unread_labels(path)
    if images is not None:
        raise ConfigError(f"--images goes with an annotation file, and {path} has none")
    if not has_parquet(path):
        return FolderSource(path)
    if list_images(path):
        raise ConfigError(f"backgrounds: {path} holds both images and Parquet files: give one kind")
    return open_parquet(path, column)
