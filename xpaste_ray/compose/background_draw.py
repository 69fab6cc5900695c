"""Which background a sample has."""

import numpy as np

from xpaste_ray.backgrounds import AnyBackgrounds
from xpaste_ray.config import ComposeSettings


def draw_background(
    rng: np.random.Generator, sample: int, backgrounds: AnyBackgrounds, settings: ComposeSettings
) -> int:
    """A row of the backgrounds.

    `random` draws whether it is an original or a context, then uniformly among these. `in-turn` takes both
    in an order that repeats: of any first samples a share, to the sample, are contexts, and originals and
    contexts each come one after the other, beginning again after their last.
    """
    originals, contexts = len(backgrounds) - backgrounds.context_count, backgrounds.context_count
    if not contexts:
        drawn = int(rng.integers(originals))
        return sample % originals if settings.background_draw == "in-turn" else drawn
    of_originals, of_contexts = weights(originals, contexts, settings)
    every = of_originals + of_contexts
    if settings.background_draw == "in-turn":
        before, after = (number * of_contexts // every for number in (sample, sample + 1))
        return originals + before % contexts if after > before else (sample - before) % originals
    if int(rng.integers(every)) < of_contexts:
        return originals + int(rng.integers(contexts))
    return int(rng.integers(originals))


def weights(originals: int, contexts: int, settings: ComposeSettings) -> tuple[int, int]:
    """How many originals are taken for how many contexts, in the long run."""
    of_originals, of_contexts = settings.mix
    if settings.mix_by == "image":
        return of_originals * originals, of_contexts * contexts
    return of_originals, of_contexts
