"""The loop of F-EM for one category (EM-Paste, Algorithm 1), over features alone.

M-step: what the chosen segments' inner part looks like. E-step: of each image the segment, among all it has,
that is nearest to that. Only the chosen segments' features are held; the others stream by.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from xpaste_ray.config.em import EmSettings
from xpaste_ray.foregrounds.components import reduced
from xpaste_ray.foregrounds.likeness import BLOCK, Likeness, distances_to, learn
from xpaste_ray.foregrounds.vectors import Features, chunks, gather

CHUNK_ROWS = 16 * BLOCK

_ROUNDING = np.float32(1e-6)
"""Of a distance, and of one: what is no nearer than that is as near."""


@dataclass(frozen=True, slots=True)
class Iteration:
    """changed: images whose segment is another one than before. log_determinant: of the covariance that it
    was chosen by; None for `cosine`. mean_distance: of the chosen segments to the mean."""

    changed: int
    log_determinant: float | None
    mean_distance: float


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """choices: (1 + iterations, images) int64, the row of each image's segment; -1 for none; the first are
    those of step 1.

    distances: (S,) float32 of every segment to the last likeness, infinite where there is none. reach: the
    largest of an inner segment. fallback: why step 1 decides alone, if it does.
    """

    choices: np.ndarray
    log: tuple[Iteration, ...]
    distances: np.ndarray
    reach: float
    fallback: str | None


def refine(
    features: Features,
    image_of: np.ndarray,
    initial: np.ndarray,
    settings: EmSettings,
    chunk_rows: int = CHUNK_ROWS,
) -> Refined:
    """features: (S, D). image_of: (S,) int64 ascending, which image each segment is of. initial: (images,)
    int64, the row of the segment that step 1 chose for each image, or -1.

    Ends after `settings.iterations`, or when nothing changes. With fewer than two segments to learn of, step
    1 decides. What is equally near goes to the first. chunk_rows: read at a time, a multiple of `BLOCK`;
    neither it nor the number of cores changes the result.
    """
    if chunk_rows % BLOCK:
        raise ValueError(f"chunk_rows must be a multiple of {BLOCK}, got {chunk_rows}")
    choices, log = [np.asarray(initial, np.int64)], []
    distances, reach = np.full(len(features), np.inf, np.float32), 0.0
    alone = Refined(np.stack(choices), (), distances, reach, "too_few_images")
    first = np.sort(initial[initial >= 0])
    if len(first) < 2:
        return alone
    with _one_thread(), _few_dimensions(features, settings, chunk_rows) as narrow:
        samples = _sound(gather(narrow, first, chunk_rows))
        if len(samples) < 2:
            return alone
        for _ in range(settings.iterations):
            likeness, reach = learn(samples, settings)
            nearest = _Nearest(narrow[:0], image_of, len(initial))
            for start, chunk in chunks(narrow, chunk_rows):
                distances[start : start + len(chunk)] = nearest.see(start, chunk, likeness)
            samples = nearest.features[nearest.rows >= 0]
            changed = int(np.count_nonzero(nearest.rows != choices[-1]))
            mean = float(nearest.distances[nearest.rows >= 0].mean(dtype=np.float64))
            choices.append(nearest.rows)
            log.append(Iteration(changed, likeness.log_determinant, mean))
            if not changed:
                break
    return Refined(np.stack(choices), tuple(log), distances, reach, None)


class _Nearest:
    """The nearest segment of each image so far, and its features. Segments come in order, some images' in
    two parts."""

    __slots__ = ("_image_of", "distances", "features", "rows")

    def __init__(self, like: np.ndarray, image_of: np.ndarray, images: int) -> None:
        self._image_of = image_of
        self.rows = np.full(images, -1, np.int64)
        self.distances = np.full(images, np.inf, np.float32)
        self.features = np.empty((images, like.shape[1]), like.dtype)

    def see(self, start: int, chunk: np.ndarray, likeness: Likeness) -> np.ndarray:
        """The distances of the chunk's segments."""
        found = distances_to(likeness, chunk)
        for at in range(0, len(chunk), BLOCK):  # an image that spans two is compared in the same way always
            part = slice(at, min(at + BLOCK, len(chunk)))
            images = self._image_of[start + part.start : start + part.stop]
            first = _first_nearest(images, found[part])
            image, row = images[first], part.start + first
            nearer = found[row] < _surely_below(self.distances[image])
            image, row = image[nearer], row[nearer]
            self.rows[image], self.distances[image] = start + row, found[row]
            self.features[image] = chunk[row]
        return found


def _first_nearest(images: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Of each image among ascending `images` (n,), the place of the first that is no farther than any."""
    starts = np.flatnonzero(np.diff(images, prepend=-1))
    least = np.minimum.reduceat(distances, starts)
    bar = np.repeat(least + _ROUNDING * (1 + least), np.diff(starts, append=len(images)))
    near = np.flatnonzero(distances <= bar)
    first: np.ndarray = near[np.diff(images[near], prepend=-1) != 0]
    return first


def _surely_below(distances: np.ndarray) -> np.ndarray:
    bar: np.ndarray = distances * (1 - _ROUNDING) - _ROUNDING
    return bar


def _sound(samples: np.ndarray) -> np.ndarray:
    """Without those that are not finite."""
    found: np.ndarray = samples[np.isfinite(samples).all(axis=1)]
    return found


@contextmanager
def _few_dimensions(features: Features, settings: EmSettings, chunk_rows: int) -> Iterator[Features]:
    """A direction needs no covariance, so nothing is left out for it."""
    dims = None if settings.distance == "cosine" else settings.feature_dims
    with reduced(features, dims, chunk_rows) as narrow:
        yield narrow


def _one_thread() -> threadpool_limits:
    """For sums: two threads add in another order than one."""
    return threadpool_limits(limits=1, user_api="blas")
