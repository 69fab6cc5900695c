"""The end of the pool pipeline: one Parquet file a unit."""

import pyarrow as pa

from xpaste_ray.errors import XPasteError
from xpaste_ray.pipelines.adapter import Attempts
from xpaste_ray.records import UNIT_IN_FLIGHT, candidate_from_dict, check_schema
from xpaste_ray.runs import RunDir
from xpaste_ray.unit_files import write_unit


def write(batch: pa.Table, run: RunDir, recipe: str, embedding_dim: int, attempts: Attempts) -> pa.Table:
    """Flatten each unit inside one call, so that a unit cannot be torn apart. Returns which were written."""
    try:
        check_schema(batch.schema, UNIT_IN_FLIGHT, "write")
        for row in batch.to_pylist():
            candidates = [candidate_from_dict(candidate) for candidate in row["candidates"]]
            write_unit(run, row["round"], row["unit"], candidates, recipe, embedding_dim)
    except XPasteError as error:
        attempts.fail(str(error))
        raise
    except Exception as error:
        attempts.fail(f"write: {type(error).__name__}: {error}")
        raise
    return batch.select(["round", "unit"])
