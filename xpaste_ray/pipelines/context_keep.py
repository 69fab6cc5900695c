"""What a selection keeps of generated contexts, as a folder of images to paste on.

kept/<fingerprint>/images/<id>.png      an image each
kept/<fingerprint>/contexts.parquet     what each is made from, and its scores
kept/<fingerprint>/rejects.parquet      what became of all the others
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config.contexts import Contexts
from xpaste_ray.contexts.choice import KEPT, Columns, choose
from xpaste_ray.contexts.texts import text_of
from xpaste_ray.errors import SchemaError
from xpaste_ray.fingerprints import fingerprint, hash_stream
from xpaste_ray.formats.images import ImageEncoding, encode_image
from xpaste_ray.masks import decode_png
from xpaste_ray.pipelines.scores import read_scores
from xpaste_ray.records import REJECTS, unit_id
from xpaste_ray.runs import RunDir, made_by, open_parquet, write_parquet, write_whole
from xpaste_ray.storage import Location

_FILE = "contexts.parquet"
_COLUMNS = (
    "round", "unit", "candidate_id", "category", "candidate_status", "candidate_reason", "status", "reason",
    "caption_logit", "class_logit",
)  # fmt: skip
_STORED = ["candidate_id", "text", "seed", "uri", "model", "height", "width", "image_png"]

CONTEXTS = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("image", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("text", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("model", pa.string()),
        pa.field("caption_logit", pa.float32()),
        pa.field("class_logit", pa.float32()),
    ]
)
"""`contexts.parquet`: a row a kept image. file: in the folder. image, caption: what its text comes from."""


def kept_folder(folder: Location, images: RunDir, selection: str) -> Location:
    """Where what this selection keeps of the scores as they are is. FileNotFoundError if there are none."""
    with images.scores.open() as data:
        return folder / fingerprint({"select": selection, "scores": hash_stream(data)})


def pointer(root: Location, folder: Location) -> dict[str, str]:
    """What `contexts.json` holds. FileNotFoundError if the folder is not sealed."""
    with (folder / _FILE).open() as data:
        return {
            "current": folder.relative_to(root).as_posix(),
            "checksum": hash_stream(data),
        }


@dataclass(frozen=True, slots=True)
class KeptContexts:
    """A selection of the scores of `images`, in its folder."""

    folder: Location
    images: RunDir
    settings: Contexts

    def is_sealed(self) -> bool:
        return made_by(self.folder / _FILE) == self.folder.name

    def seal(self, texts: pa.Table) -> None:
        """Choose, and write the images that are kept; last of all what they are. texts: rows of `TEXTS`."""
        scores = read_scores(self.images, _COLUMNS)
        outcomes = self._outcomes(scores)
        told = {row["text_id"]: row for row in texts.to_pylist()}
        kept = scores.filter(pa.array([outcome == KEPT for outcome in outcomes]))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            units = pool.map(self._write_images, *zip(*_by_unit(kept), strict=True)) if len(kept) else ()
            rows = [self._row(row, told) for unit in units for row in unit]
        write_parquet(self.folder / "rejects.parquet", _rejects(scores, outcomes), self.folder.name)
        write_parquet(self.folder / _FILE, pa.Table.from_pylist(rows, schema=CONTEXTS), self.folder.name)

    def counts(self) -> dict[str, dict[str, Any]]:
        """Of generated images: made, kept and rejected by reason. SchemaError if they do not balance."""
        kept = open_parquet(self.folder / _FILE).metadata.num_rows
        rejects = open_parquet(self.folder / "rejects.parquet").read()
        made = open_parquet(self.images.scores).metadata.num_rows
        if kept + len(rejects) != made:
            raise SchemaError(f"contexts: {kept} kept + {len(rejects)} rejected is not {made} made")
        reasons = pc.value_counts(rejects["reason"]).to_pylist()
        rejected = {one["values"]: one["counts"] for one in sorted(reasons, key=lambda one: one["values"])}
        return {"contexts": {"made": made, "kept": kept, "rejected": rejected}}

    def _outcomes(self, scores: pa.Table) -> list[str]:
        """`kept`, or the reason why not, of each image."""
        logits, classes = (
            scores[name].to_numpy(zero_copy_only=False).astype(np.float32)
            for name in ("caption_logit", "class_logit")
        )
        own = pc.coalesce(scores["candidate_reason"], scores["reason"]).to_pylist()
        usable = np.isfinite(logits) & np.array([reason is None for reason in own], bool)
        ids = [text_of(name) for name in scores["candidate_id"].to_pylist()]
        groups = np.unique(ids, return_inverse=True)[1] if ids else np.array([], int)
        chosen = choose(Columns(groups, logits, classes, usable), self.settings.select)
        return [reason or outcome or "no_score" for reason, outcome in zip(own, chosen, strict=True)]

    def _write_images(self, unit: str, kept: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Of one unit's file; returns what is told of each, without what its text comes from."""
        encoding = ImageEncoding(format=self.settings.image_format)
        rows = open_parquet(self.images.unit_file(unit)).read(_STORED).to_pylist()
        told = []
        for row in rows:
            if (scores := kept.get(row["candidate_id"])) is None:
                continue
            file = f"images/{row['candidate_id']}{encoding.suffix}"
            write_whole(self.folder / file, encode_image(decode_png(row["image_png"]), encoding))
            del row["image_png"]
            told.append({**row, **scores, "file": file, "id": row["candidate_id"]})
        return told

    def _row(self, row: Mapping[str, Any], texts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        text = texts[text_of(row["id"])]
        whole = {**row, "image": text["image"], "caption": text["caption"]}
        return {name: whole[name] for name in CONTEXTS.names}


def _by_unit(kept: pa.Table) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Each unit with the scores of those of its images that are kept."""
    units: dict[str, dict[str, dict[str, Any]]] = {}
    for row in kept.to_pylist():
        scores = {name: row[name] for name in ("caption_logit", "class_logit")}
        units.setdefault(unit_id(row["round"], row["unit"]), {})[row["candidate_id"]] = scores
    yield from units.items()


def _rejects(scores: pa.Table, outcomes: list[str]) -> pa.Table:
    """Rows of `REJECTS`."""
    lost = pa.array([outcome != KEPT for outcome in outcomes], pa.bool_())
    reasons = pa.array(outcomes, pa.string()).filter(lost)
    table = scores.filter(lost)
    kinds = pa.array(["context"] * len(table), pa.string())
    columns = [kinds, table["candidate_id"], table["category"], reasons]
    return pa.table(columns, schema=REJECTS)
