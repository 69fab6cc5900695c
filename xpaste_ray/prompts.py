"""From categories to prompts to units: the work list of a run."""

from collections.abc import Iterator, Sequence

from xpaste_ray.categories import Category, display_name
from xpaste_ray.errors import ConfigError
from xpaste_ray.records import Prompt, Unit
from xpaste_ray.rng import int_seed_for
from xpaste_ray.storage import locate


def expand_round(
    categories: Sequence[Category], template: str, index: int, seed: int, recipe: str
) -> list[Prompt]:
    """Prompt number `index` of every category, in the given order.

    `recipe` is the fingerprint of the source's settings; it enters the id, so that candidates of
    different recipes never share one.
    """
    return [
        Prompt(
            candidate_id=f"{category.id}-{index}-{recipe}",
            category_id=category.id,
            category=category.name,
            index=index,
            text=template.format(name=display_name(category.name)),
            seed=int_seed_for(seed, "source", recipe, category.id, index),
        )
        for category in categories
    ]


def plan_units(
    categories: Sequence[Category], template: str, per_category: int, unit_size: int, seed: int, recipe: str
) -> Iterator[Unit]:
    """The work list, index-major: one prompt of every category, then the next round.

    A unit never crosses a round, so asking for more prompts a category later only adds units.
    """
    for index in range(per_category):
        prompts = expand_round(categories, template, index, seed, recipe)
        for number, start in enumerate(range(0, len(prompts), unit_size)):
            yield Unit(index, number, tuple(prompts[start : start + unit_size]))


def read_names(path: str) -> tuple[str, ...]:
    """Category names from a text file, here or in an object store, one a line; what follows a # is a
    comment. ConfigError."""
    try:
        lines = locate(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--categories {path} cannot be read ({error}): give a text file, a name a line"
        ) from None
    names = tuple(name for line in lines if (name := line.partition("#")[0].strip()))
    if not names:
        raise ConfigError(f"--categories {path} holds no names: write one a line")
    return names
