"""The images of an earlier run, for another segmenter or score."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import ConfigError
from xpaste_ray.runs import RunDir, open_parquet, read_json
from xpaste_ray.sources.found import LISTING, hash_lines
from xpaste_ray.storage import Location

# Columns of a unit's file that tell what its images are, without the images.
_TOLD = ["candidate_id", "category", "text", "seed", "uri", "licence", "page", "status", "reason", "height"]
_NOT_THE_SOURCES = ("segment_failed", "score_failed", "killed_worker")  # reasons that spoil no image
_URL = "^(?:[^#]*#[^#]*#)?(?P<url>(?i:https?)://.*)$"  # of the web, or of a run that took it from another
_FILES_AT_ONCE = 16


class Candidates:
    """What an earlier run has stored. root: its folder.

    Left out is what its source rejected. What was fetched from the web keeps its URL, see `candidate_uri`.
    """

    def __init__(self, place: Location, option: str) -> None:
        """ConfigError if it is no run, or a file of it is damaged."""
        self.root = place
        run = RunDir(place)
        if not run.run_json.exists():
            raise ConfigError(f"{option}: {place} is no run: it has no run.json")
        source = read_json(run.run_json).get("steps", {}).get("source")
        units = sorted(run.unit_sizes())
        if source is None or not units:
            raise ConfigError(f"{option}: {place} has no candidates: give the run of a `pool build`")
        with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
            tables = list(threads.map(lambda unit: _images(run, unit, option), units))
        self.listing = pa.concat_tables(tables)
        self.notes: list[str] = []
        self.contents = hash_lines([source["fingerprint"], *self.listing["uri"].to_pylist()])


def candidate_uri(unit: str, candidate_id: str, url: str | None = None) -> str:
    """Where it is stored, and the URL that it was once fetched from, if it was. Neither a unit nor an id has
    a # in it."""
    return f"{unit}#{candidate_id}" + (f"#{url}" if url else "")


def candidate_of(uri: str) -> tuple[str, str]:
    """Unit, candidate id: the inverse of `candidate_uri`, but for the URL."""
    unit, candidate_id, *_ = uri.split("#", 2)
    return unit, candidate_id


def _images(run: RunDir, unit: str, option: str) -> pa.Table:
    """Of `LISTING`: the images of a unit."""
    path = run.unit_file(unit)
    try:
        table = open_parquet(path).read(_TOLD)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{option}: {path} is damaged ({error}): `xpaste pool verify {run.root} --repair` finds and "
            "removes such files"
        ) from None
    spoilt = pc.and_(
        pc.equal(table["status"], "rejected"),
        pc.invert(pc.is_in(table["reason"], pa.array(_NOT_THE_SOURCES))),
    )
    table = table.filter(pc.and_(pc.is_valid(table["height"]), pc.invert(spoilt)))
    urls = pc.struct_field(pc.extract_regex(table["uri"], _URL), "url").to_pylist()
    ids = table["candidate_id"].to_pylist()
    uris = [candidate_uri(unit, one, url) for one, url in zip(ids, urls, strict=True)]
    columns = {
        "category": table["category"], "uri": pa.array(uris, pa.string()), "text": table["text"],
        "seed": table["seed"], "licence": table["licence"], "page": table["page"],
    }  # fmt: skip
    return pa.table(columns, schema=LISTING)
