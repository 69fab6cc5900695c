"""The real source stage with a model whose half precision breaks down at some images."""

from collections.abc import Mapping, Sequence

import numpy as np

from tests.standins import Source, place
from xpaste_ray.models.diffusion import Picture
from xpaste_ray.records import Candidate
from xpaste_ray.stages.generate import GenerateStage

_SHAPE = (32, 32, 3)
_BROKEN = {
    "nan": Picture(np.zeros(_SHAPE, np.uint8), finite=False, flagged=False),
    "black": Picture(np.full(_SHAPE, 7, np.uint8), finite=True, flagged=False),
    "constant": Picture(np.full(_SHAPE, 128, np.uint8), finite=True, flagged=False),
}


class BrokenPictures(GenerateStage):
    """What the stand-in `Source` makes, but for `broken`, by image: what comes out instead, and whether
    float32 cures it."""

    def __init__(self, broken: Mapping[str, tuple[str, bool]], size: int) -> None:
        self._model_name = "stand-in"
        self._model = _Model(broken)
        self._usual = self._batches(self._model.generate, size)
        self._precise = self._batches(self._model.generate_in_float32, size)

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        self._model.asked = {candidate.prompt.seed: candidate for candidate in candidates}
        return super().__call__(candidates)


class _Model:
    lower_precision = True

    def __init__(self, broken: Mapping[str, tuple[str, bool]]) -> None:
        self._broken, self._source = broken, Source()
        self.asked: dict[int, Candidate] = {}

    def generate(self, texts: Sequence[str], seeds: Sequence[int]) -> list[Picture]:
        return [self._picture(self.asked[seed], precise=False) for seed in seeds]

    def generate_in_float32(self, texts: Sequence[str], seeds: Sequence[int]) -> list[Picture]:
        return [self._picture(self.asked[seed], precise=True) for seed in seeds]

    def _picture(self, candidate: Candidate, precise: bool) -> Picture:
        kind, cured = self._broken.get(place(candidate), (None, False))
        if kind is None or (precise and cured):
            (made,) = self._source([candidate])
            return Picture(made.image, finite=True, flagged=False)
        return _BROKEN[kind]
