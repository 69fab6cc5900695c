"""What a contact sheet of a run of contexts shows."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config import parse_settings
from xpaste_ray.config.contexts import ContextSettings
from xpaste_ray.contexts.sheet import ShownImage, ShownSource, ShownText
from xpaste_ray.contexts.texts import text_of
from xpaste_ray.errors import ConfigError, RowError, StorageError
from xpaste_ray.masks import decode_png
from xpaste_ray.pictures.files import file_at, read_file
from xpaste_ray.pictures.usable import read_picture
from xpaste_ray.pipelines.contexts import ContextRun
from xpaste_ray.pipelines.scores import read_scores
from xpaste_ray.records import unit_id
from xpaste_ray.runs import RunDir, open_parquet, read_json
from xpaste_ray.sources.labelled import open_labelled
from xpaste_ray.storage import Location

_SIDE_PX = 256  # of what is shown of the images
_SCORES = ["round", "unit", "candidate_id", "caption_logit", "class_logit"]


def shown_contexts(place: str | Path, first: int = 0, count: int = 8) -> Iterator[ShownSource]:
    """`count` of the images from number `first` on, with all that was made of them by the current selection;
    of texts without images, one each. ConfigError if the run is not finished."""
    run = ContextRun(place)
    if not run.contexts_json.exists():
        raise ConfigError(
            f"{run.root} is no finished run of contexts: contexts.json is missing. Give what was --out of "
            "`xpaste contexts`, or run that command again"
        )
    of_source: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in open_parquet(run.texts).read().to_pylist():
        of_source[row["image"] or row["text_id"]].append(row)
    names = list(of_source)[first : first + count]
    if not names:
        raise ConfigError(f"--first {first}: the run has {len(of_source)} images or texts, numbered from 0")
    wanted = {row["text_id"] for name in names for row in of_source[name]}
    made, root = _made(run, wanted), _root(run)
    for name in names:
        rows = of_source[name]
        uri = rows[0]["image"]
        texts = tuple(_text(row, made.get(row["text_id"], ())) for row in rows)
        yield ShownSource(uri or "a text of its own", _source_pixels(root, uri), texts)


def _text(row: Mapping[str, Any], images: Iterable[ShownImage]) -> ShownText:
    return ShownText(row["caption"] or "(no caption)", row["text"], row["reason"], tuple(images))


def _made(run: ContextRun, wanted: set[str]) -> dict[str, list[ShownImage]]:
    """The images of those texts: the kept ones, then the others, each part with the best captioned first."""
    scores = read_scores(run.images, _SCORES)
    own = scores.filter(pa.array([text_of(name) in wanted for name in scores["candidate_id"].to_pylist()]))
    folder = run.root / read_json(run.contexts_json)["current"]
    rejects = open_parquet(folder / "rejects.parquet").read(["id", "reason"]).to_pylist()
    reasons = {row["id"]: row["reason"] for row in rejects}
    rows = own.to_pylist()
    pixels = _pixels(run.images, rows)
    rows.sort(key=lambda row: (row["candidate_id"] in reasons, -(row["caption_logit"] or 0.0)))
    found: dict[str, list[ShownImage]] = defaultdict(list)
    for row in rows:
        name = row["candidate_id"]
        shown = ShownImage(pixels.get(name), _scores(row), reasons.get(name))
        found[text_of(name)].append(shown)
    return found


def _scores(row: Mapping[str, Any]) -> str:
    told = {"caption": row["caption_logit"], "class": row["class_logit"]}
    return "  ".join(f"{name} {value:.1f}" for name, value in told.items() if value is not None) or "no score"


def _pixels(images: RunDir, rows: Iterable[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Of those generated images that have any, by their ids."""
    found: dict[str, np.ndarray] = {}
    wanted = {row["candidate_id"] for row in rows}
    for unit in dict.fromkeys(unit_id(row["round"], row["unit"]) for row in rows):
        table = open_parquet(images.unit_file(unit)).read(["candidate_id", "image_png"])
        usable = table.filter(pc.is_valid(table["image_png"]))
        for row in usable.to_pylist():
            if row["candidate_id"] in wanted:
                found[row["candidate_id"]] = decode_png(row["image_png"])
    return found


def _root(run: ContextRun) -> Location | None:
    """Where the captioned images are; None if they are not there any more."""
    told = parse_settings(ContextSettings, read_json(run.run.run_json)["settings"], f"{run.run.run_json}: ")
    if told.contexts.images is None:
        return None
    with suppress(ConfigError):
        return open_labelled(told.contexts.images, "contexts.images").root
    return None


def _source_pixels(root: Location | None, uri: str | None) -> np.ndarray | None:
    if root is None or uri is None:
        return None
    try:
        return read_picture(read_file(file_at(root, uri)), _SIDE_PX)
    except (RowError, OSError, StorageError):
        return None
