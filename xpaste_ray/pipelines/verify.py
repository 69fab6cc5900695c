"""`xpaste pool verify`: is everything in a run's pool there, whole, and what it should be?

Every file is read: work list, candidates with their images and masks, scores, rejects, the sealed pool.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from xpaste_ray.errors import ConfigError, SchemaError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pipelines.job import Progress
from xpaste_ray.pipelines.outcomes import count_outcomes, kept_in
from xpaste_ray.pipelines.pools import pool_folder
from xpaste_ray.pipelines.scores import score_tables, scores_recipe
from xpaste_ray.pipelines.select import current_selection
from xpaste_ray.pool.check import MISSING, check_pool
from xpaste_ray.pool.layout import MANIFEST
from xpaste_ray.records import SCORES, unit_id
from xpaste_ray.runs import RunDir, made_by, open_parquet, read_json
from xpaste_ray.storage import Location
from xpaste_ray.unit_files import read_unit

_READERS = 8  # threads: decoding lets go of the interpreter
_UNITS_AT_ONCE = 256

_REMADE = "build again, with the same command, and it is made again"
_REPAIR = "verify with --repair removes it; then build again, with the same command"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong in a run. `hidden`: a build would not notice, so the file must be removed first."""

    file: Location
    problem: str
    hidden: bool = False

    def line(self, run: RunDir) -> str:
        name = self.file.relative_to(run.root).as_posix()
        return f"{name}: {self.problem}: {_REPAIR if self.hidden else _REMADE}"


def verify_pool(run: RunDir, progress: Progress) -> list[Finding]:
    """Everything that is wrong with the run's units and its current pool. ConfigError if it is no run."""
    if not run.run_json.exists():
        raise ConfigError(f"{run.root} is not a run: run.json is missing. Give what was --out of a build")
    record = read_json(run.run_json)
    try:
        units = open_parquet(run.units).read()
    except FileNotFoundError:
        return [Finding(run.units, MISSING)]
    except (OSError, pa.ArrowInvalid) as error:
        return [Finding(run.units, f"damaged ({error})", hidden=made_by(run.units) is not None)]
    progress.begin({"verify": units.num_rows}, "units")
    findings = _check_units(run, units, record["steps"]["score"]["fingerprint"], progress)
    if not findings:
        asked = len(units["prompts"].combine_chunks().flatten())
        findings = _check_tables(run, asked, record)
    return findings + _check_sealed(run)


def repair(findings: Sequence[Finding]) -> int:
    """Remove the files whose damage a build would not notice; how many."""
    files = {finding.file.key: finding.file for finding in findings if finding.hidden}
    for file in files.values():
        file.remove()
    return len(files)


def _check_units(run: RunDir, units: pa.Table, recipe: str, progress: Progress) -> list[Finding]:
    findings: list[Finding] = []
    names: set[str] = set()
    with ThreadPoolExecutor(_READERS) as pool:
        for batch in units.to_batches(_UNITS_AT_ONCE):
            rows = batch.to_pylist()
            for row, found in zip(rows, pool.map(partial(_check_unit, run, recipe), rows), strict=True):
                findings += found
                names.add(unit_id(row["round"], row["unit"]))
                progress.advance("verify", len(names))
    return findings + [
        Finding(run.unit_file(name), "not a unit of the work list", hidden=True)
        for name in run.unit_sizes()
        if name not in names
    ]


def _check_unit(run: RunDir, recipe: str, unit: dict[str, Any]) -> list[Finding]:
    """Of one unit's file: present, whole, of this run's recipe, each candidate once, all pixels there."""
    name = unit_id(unit["round"], unit["unit"])
    file = run.unit_file(name)
    if not file.exists():
        return [Finding(file, MISSING)]
    made = made_by(file)
    if made is None:
        return [Finding(file, "not whole")]
    if made != recipe:
        return [Finding(file, "made with other settings, or not through all stages yet")]
    try:
        candidates = read_unit(run, name)
    except (SchemaError, ValueError) as error:
        return [Finding(file, f"damaged ({error})", hidden=True)]
    if [one.prompt.candidate_id for one in candidates] != [one["candidate_id"] for one in unit["prompts"]]:
        return [Finding(file, "does not hold the candidates of its unit once each", hidden=True)]
    return []


def _check_tables(run: RunDir, asked: int, record: dict[str, Any]) -> list[Finding]:
    """Scores as the unit files have them, which are right; rejects that balance with the sealed pool.

    asked: how many prompts the work list has. record: `run.json`.
    """
    scores_by = scores_recipe(made_by(run.units) or "", record["steps"]["score"]["fingerprint"])
    for file, recipe in ((run.scores, scores_by), (run.rejects, current_selection(record))):
        if made_by(file) != recipe:
            return [Finding(file, "missing, not whole or out of date")]
    file = run.scores
    try:
        scores = open_parquet(file).read()
        file = run.rejects
        rejects = open_parquet(file).read()
    except (OSError, pa.ArrowInvalid) as error:
        return [Finding(file, f"damaged ({error})", hidden=True)]
    expected = score_tables(run)
    if not pa.concat_tables([SCORES.empty_table(), *expected]).equals(scores):
        return [Finding(run.scores, "not what the unit files say", hidden=True)]
    made = {"candidate": asked, "proposal": scores.num_rows - scores["method"].null_count}
    try:
        pool = run.root / read_json(run.pool_json)["current"]
        if pool != pool_folder(run, current_selection(record)):
            return [Finding(run.pool_json, "not of the run's scores and selection")]
        count_outcomes(rejects, made, kept_in(pool))
    except SchemaError as error:
        return [Finding(run.rejects, str(error), hidden=True)]
    except (ConfigError, FileNotFoundError, KeyError, pa.ArrowInvalid):
        pass  # of the pool: `_check_sealed` tells
    return []


def _check_sealed(run: RunDir) -> list[Finding]:
    """The current pool: what points at it, and all that is in it."""
    if not run.pool_json.exists():
        return [Finding(run.pool_json, MISSING)]
    try:
        told = read_json(run.pool_json)
        manifest = run.root / told["current"] / MANIFEST
        if hash_bytes(manifest.read_bytes()) != told["manifest_checksum"]:
            return [Finding(manifest, "not the one that pool.json tells", hidden=True)]
    except FileNotFoundError:
        return [Finding(manifest, MISSING)]
    except (ConfigError, KeyError) as error:
        return [Finding(run.pool_json, f"damaged ({error})", hidden=True)]
    return [
        Finding(manifest.parent / name, problem, hidden=problem != MISSING)
        for name, problem in check_pool(manifest.parent)
    ]
