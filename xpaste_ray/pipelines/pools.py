"""The pools of a run: a selection is sealed beside the earlier ones, then `pool.json` points at it.

A pool's folder is named after what it is made from, the selection and the scores, and is never sealed over by
another. It keeps the rejects of its selection, so that going back to it is only pointing at it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from xpaste_ray.categories import Category
from xpaste_ray.config import CutoutSettings, PoolSettings, ResourceSettings
from xpaste_ray.errors import RunError, SchemaError
from xpaste_ray.fingerprints import fingerprint, hash_bytes, hash_stream
from xpaste_ray.pipelines.job import Progress, start_ray
from xpaste_ray.pipelines.outcomes import count_outcomes, empty_categories, kept_candidates, kept_in, made_in
from xpaste_ray.pipelines.scores import read_scores, stored_embeddings
from xpaste_ray.pipelines.steps import Step
from xpaste_ray.pool import SealedShard, ShardMap, ShardSealer, is_sealed, seal_pool, seal_serially
from xpaste_ray.pool.layout import MANIFEST, REJECTS_FILE
from xpaste_ray.records import REJECTS
from xpaste_ray.runs import (
    RunDir,
    json_bytes,
    made_by,
    open_parquet,
    read_json,
    write_json,
    write_parquet,
)
from xpaste_ray.selection import Selection, columns_of, select
from xpaste_ray.storage import Location

_SHARDS_FOR_RAY = 2  # one is sealed sooner than Ray starts


@contextmanager
def explained(run: RunDir) -> Iterator[None]:
    """A damaged file of the run becomes a RunError that says how to mend it."""
    try:
        yield
    except (OSError, pa.ArrowInvalid, SchemaError) as error:
        raise RunError(
            f"a file of the run is damaged ({error}): `xpaste pool verify {run.root} --repair` finds and "
            "removes it, and its build, run again, makes it again"
        ) from None


def select_and_seal(
    run: RunDir,
    settings: PoolSettings,
    categories: Sequence[Category],
    step: Step,
    resources: ResourceSettings,
    progress: Progress,
) -> dict[str, Any]:
    """Apply the selection rule, seal the kept proposals and point `pool.json` at the new pool, see
    `seal_selected`."""
    return seal_selected(
        run,
        lambda: _selected(run, settings, progress),
        settings.cutout,
        categories,
        step,
        resources,
        progress,
    )


def seal_selected(
    run: RunDir,
    selected: Callable[[], Selection],
    cutout: CutoutSettings,
    categories: Sequence[Category],
    step: Step,
    resources: ResourceSettings,
    progress: Progress,
) -> dict[str, Any]:
    """Seal what `selected` keeps and point `pool.json` at the new pool. One that was sealed already from the
    same scores is only pointed at.

    Returns the counts, which balance: made = kept + rejected, for candidates and for proposals.
    """
    folder = pool_folder(run, step.fingerprint)
    rejects = _sealed_rejects(folder)
    if rejects is None:
        selection = selected()
        shards = shard_map(run, resources, progress)
        unusable = seal_pool(selection.kept, run.unit_file, categories, cutout, folder.name, folder, shards)
        rejects = pa.concat_tables([selection.rejects, _unusable(unusable, folder)])
        write_parquet(folder / REJECTS_FILE, rejects, folder.name)
    write_parquet(run.rejects, rejects, step.fingerprint)
    write_json(run.pool_json, pointer(run, folder))
    counts = count_outcomes(rejects, made_in(run), kept_in(folder))
    return {**counts, "empty_categories": empty_categories(rejects, read_json(folder / MANIFEST))}


def pool_folder(run: RunDir, selection: str) -> Location:
    """Where the pool of the run's scores is, named by the pool's fingerprint: that of the selection alone is
    not enough, as --retry-failed changes scores under the same settings. selection: the fingerprint of the
    select step. FileNotFoundError if there are no scores."""
    with run.scores.open() as data:
        return run.pools / fingerprint({"select": selection, "scores": hash_stream(data)})


def _sealed_rejects(folder: Location) -> pa.Table | None:
    """The rejects of a pool that is sealed already; None if it must be sealed."""
    file = folder / REJECTS_FILE
    if not (is_sealed(folder) and made_by(file) == folder.name):
        return None
    try:
        return open_parquet(file).read().replace_schema_metadata()
    except (OSError, pa.ArrowInvalid):  # damaged
        return None


def _selected(run: RunDir, settings: PoolSettings, progress: Progress) -> Selection:
    rule = settings.select
    scores = read_scores(run, columns_of(rule))
    progress.say(f"selecting from {scores.num_rows:,} proposals")
    if rule.max_duplicate_cosine is not None:
        progress.say("comparing the embeddings of what passes")
    with stored_embeddings(run, scores) as embeddings:
        return select(scores, rule, settings.seed, embeddings)


def _unusable(rejections: Sequence[tuple[str, str, str, str]], folder: Location) -> pa.Table:
    """Rows of `REJECTS` for what turned out unusable when it was cut out. A candidate, which each of its
    proposals names, is one of them once, and if no other instance of it is in the pool."""
    kept = set(kept_candidates(folder).to_pylist()) if rejections else set()
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for rejection in rejections:
        kind, name, *_ = rejection
        if kind == "proposal" or name not in kept:
            rows.setdefault((kind, name), dict(zip(REJECTS.names, rejection, strict=True)))
    return pa.Table.from_pylist(list(rows.values()), schema=REJECTS)


def pointer(run: RunDir, folder: Location) -> dict[str, str]:
    """What `pool.json` holds."""
    return {
        "current": folder.relative_to(run.root).as_posix(),
        "manifest_checksum": hash_bytes((folder / MANIFEST).read_bytes()),
    }


def is_current(run: RunDir, folder: Location) -> bool:
    """Whether that pool is sealed, and the run's current one."""
    return is_sealed(folder) and run.pool_json.read_bytes() == json_bytes(pointer(run, folder))


def shard_map(run: RunDir, resources: ResourceSettings, progress: Progress) -> ShardMap:
    """Few in this process, many on Ray, with the same bytes."""

    def seal(sealer: ShardSealer, shards: Sequence[pa.Table]) -> Iterable[SealedShard]:
        if len(shards) < _SHARDS_FOR_RAY:
            return seal_serially(sealer, shards)
        from xpaste_ray.pipelines.nodes import check_shared
        from xpaste_ray.pipelines.sealing import seal_on_ray

        start_ray(resources, progress)
        check_shared(run.root, "the run")
        progress.say(f"sealing {len(shards)} shards")
        return seal_on_ray(sealer, shards)

    return seal
