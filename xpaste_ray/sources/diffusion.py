"""Generated images: texts and seeds."""

from collections.abc import Mapping
from typing import Any

from xpaste_ray.categories import Category
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.prompts import Texts
from xpaste_ray.records import Prompt
from xpaste_ray.rng import int_seed_for
from xpaste_ray.sources.base import prompt_of


class GeneratedImages:
    """As many images of any category as are asked for."""

    def __init__(self, name: str, unit_size: int, texts: Texts, seed: int, recipe: Mapping[str, Any]) -> None:
        self.name, self.unit_size = name, unit_size
        self.recipe = {**recipe, "seed": seed, "prompts": texts.recipe}
        self.notes: list[str] = []
        self._texts, self._seed, self._id = texts, seed, fingerprint(self.recipe)[:8]

    def prompt(self, category: Category, index: int, number: int) -> Prompt:
        """The recipe enters the id and the seed, so that images of different recipes never share one."""
        texts = self._texts.of(category)
        seed = int_seed_for(self._seed, "source", self._id, category.id, index)
        return prompt_of(self, self._id, category, index, text=texts[number % len(texts)], seed=seed)
