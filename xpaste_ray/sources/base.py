"""What a source is to the work list."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from xpaste_ray.categories import Category
from xpaste_ray.records import Prompt


class Source(Protocol):
    """A named source, opened and checked.

    recipe: everything that can change one of its images, as JSON, without paths: what is read is known by
    its contents. unit_size: prompts of it in a unit. notes: what a person should know of it before the work
    begins, a line each.
    """

    @property
    def name(self) -> str: ...

    @property
    def unit_size(self) -> int: ...

    @property
    def recipe(self) -> Mapping[str, Any]: ...

    @property
    def notes(self) -> Sequence[str]: ...

    def prompt(self, category: Category, index: int, number: int) -> Prompt | None:
        """Image `index` of the category, the `number`-th that this source is asked for; None if it has no
        more."""
        ...


def prompt_of(source: Source, made_by: str, category: Category, index: int, **told: Any) -> Prompt:
    """Image `index` of the category. made_by: 8 hex digits of all that the image follows from, so that what
    was made otherwise never has its id. told: other fields."""
    candidate_id = f"{category.id}-{index}-{made_by}"
    return Prompt(candidate_id, category.id, category.name, index, source.name, **told)
