"""What a run of `xpaste contexts` made: scores of the images, words that stand for others, samples."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from xpaste_ray.errors import RowError
from xpaste_ray.html_report.blocks import Block, Column, Gallery, Section, Shot, Table
from xpaste_ray.html_report.counting import histogram
from xpaste_ray.html_report.given import CONTEXTS_FILE, KEPT, Given, readable
from xpaste_ray.html_report.pictures import photo_picture
from xpaste_ray.pictures.files import file_at, read_file
from xpaste_ray.pictures.usable import read_picture
from xpaste_ray.rng import rng_for
from xpaste_ray.runs import RunDir, open_parquet, read_json
from xpaste_ray.storage import Location

_SHOWN = 10
_SIDE_PX = 256
_SCORES = {
    "caption_logit": "Likeness to the caption",
    "class_logit": "Likeness to a class that is to be absent",
}


def contexts(given: Given) -> Section | None:
    """None for other runs."""
    if not given.has_contexts:
        return None
    pointer = given.folder / CONTEXTS_FILE
    with readable(pointer):
        folder = given.folder / read_json(pointer)["current"]
    with readable(folder):
        kept = open_parquet(folder / "contexts.parquet").read()
        blocks: list[Block] = [*_histograms(given, kept), *_words(given), *_gallery(folder, kept)]
    return Section("contexts", "Contexts", tuple(blocks))


def _histograms(given: Given, kept: pa.Table) -> Iterator[Block]:
    scores = RunDir(given.folder / "images").scores
    if not scores.is_file():
        return
    table = open_parquet(scores).read(columns=["candidate_id", *_SCORES])
    is_kept = np.isin(table["candidate_id"].to_numpy().astype(str), kept["id"].to_numpy().astype(str))
    for name, title in _SCORES.items():
        values = table[name].to_numpy().astype(float)
        shown = histogram(title, name, {KEPT: values[is_kept], "rejected": values[~is_kept]})
        if shown:
            yield shown


def _words(given: Given) -> Iterator[Table]:
    """Which words stand for which classes, and how often."""
    texts = given.folder / "texts.parquet"
    if not texts.is_file():
        return
    told = open_parquet(texts).read(columns=["replaced"])["replaced"].to_pylist()
    found = Counter((one["category"], one["word"]) for row in told for one in row or ())
    rows = tuple((category, word, count) for (category, word), count in sorted(found.items()))
    columns = (Column("class", "text"), Column("stands for it", "text"), Column("captions"))
    if rows:
        yield Table("Words in place of classes", columns, rows, folded=True)


def _gallery(folder: Location, kept: pa.Table) -> Iterator[Gallery]:
    draw = rng_for(0, "report", "contexts").choice(len(kept), min(_SHOWN, len(kept)), replace=False)
    rows = kept.take(pa.array(np.sort(draw), pa.int64())).to_pylist()
    shots = [shot for row in rows for shot in _shot(folder, row)]
    if shots:
        note = f"{len(shots)} of {len(kept):,}, drawn by key."
        yield Gallery("Kept images", tuple(shots), note, size="large")


def _shot(folder: Location, row: Mapping[str, Any]) -> Iterator[Shot]:
    """Nothing if the image is gone, or damaged: it is a sample."""
    try:
        pixels = read_picture(read_file(file_at(folder, row["file"])), _SIDE_PX)
    except (RowError, FileNotFoundError):
        return
    told = {name: value for name, value in row.items() if value is not None}
    yield Shot(
        photo_picture(pixels, side_px=_SIDE_PX), row["text"] or row["caption"] or row["id"], told, "kept"
    )
