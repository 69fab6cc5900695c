"""Features with fewer numbers: along the principal components of the category's own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.linalg import eigh

from xpaste_ray.foregrounds.likeness import by_blocks, moments
from xpaste_ray.foregrounds.vectors import Features, chunks, gather
from xpaste_ray.storage import local_errors

_MOST_SAMPLES = 20_000
_NOISE = 1e-9  # of the largest variance: less than float16 can tell


@dataclass(frozen=True, slots=True)
class OnDisk:
    """(n, D) float16 in a file."""

    path: Path
    rows: int
    width: int

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        start, stop, _ = rows.indices(self.rows)
        count = max(stop - start, 0)
        values = np.fromfile(self.path, np.float16, count * self.width, offset=start * self.width * 2)
        return values.reshape(count, self.width)


@contextmanager
def reduced(features: Features, dims: int | None, chunk_rows: int) -> Iterator[Features]:
    """The features along at most `dims` principal components, as float16 in a temporary file; themselves if
    they have no more numbers, or if dims is None.

    The components are those of at most 20,000 segments, evenly spaced; fewer than `dims` if those have fewer
    directions. StorageError if the disk is full.
    """
    if dims is None or features[:0].shape[1] <= dims:
        yield features
        return
    mean, axes = principal_axes(_samples(features, chunk_rows), dims)
    with tempfile.TemporaryDirectory(prefix="xpaste-") as folder:
        path = Path(folder) / "reduced"
        with local_errors(path), path.open("wb") as file, np.errstate(invalid="ignore", over="ignore"):
            for _, chunk in chunks(features, chunk_rows):
                for _, values in by_blocks(chunk, lambda block: (block - mean) @ axes):
                    values.astype(np.float16).tofile(file)
        yield OnDisk(path, len(features), axes.shape[1])


def principal_axes(samples: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and axes (D, k) float32 of samples (n >= 1, D), k at most `dims`. Along the first axis,
    `(samples - mean) @ axes` has unit variance; the others keep their proportion to it."""
    count, width = samples.shape
    if count >= width:
        told = moments(samples)
        mean, found, square = told.mean, None, told.covariance
    else:  # of n rows' products, which have the same eigenvalues
        mean = samples.mean(axis=0, dtype=np.float64)
        found = samples - mean
        square = found @ found.T / count
    size = len(square)
    variances, vectors = eigh(square, subset_by_index=[max(size - dims, 0), size - 1])
    variances, vectors = variances[::-1], vectors[:, ::-1]
    kept = variances > _NOISE * max(variances[0], 0)
    if not kept.any():  # all samples are the same one
        return mean.astype(np.float32), np.eye(width, 1, dtype=np.float32)
    variances, vectors = variances[kept], vectors[:, kept]
    axes = vectors if found is None else found.T @ vectors / np.sqrt(count * variances)
    return mean.astype(np.float32), np.ascontiguousarray(axes / np.sqrt(variances[0]), np.float32)


def _samples(features: Features, chunk_rows: int) -> np.ndarray:
    """(n, D), finite, evenly spaced; one row of zeros if none is finite."""
    count = min(len(features), _MOST_SAMPLES)
    found = gather(features, np.arange(count) * len(features) // count, chunk_rows)
    sound = np.isfinite(found).all(axis=1)
    return found[sound] if sound.any() else np.zeros_like(found[:1])
