"""What is made: categories, and the texts that describe them."""

from typing import Any, Literal

from pydantic import field_validator

from xpaste_ray.config.base import PositiveInt, Section, Template

TEMPLATE_SETS: dict[str, tuple[str, ...]] = {
    "xpaste": ("a photo of a single {name}",),  # X-Paste, stage A
    "empaste": (  # EM-Paste's code, foreground templates; its names have an article before them
        "a photo of {name}",
        "a realistic photo of {name}",
        "a photo of {name} in pure background",
        "{name} in a white background",
        "{name} without background",
        "{name} isolated on white background",
    ),
}
"""Short names for lists of templates."""


class CategorySettings(Section):
    """`vocabulary`: lvis, or a file that lists categories, see `categories.load_vocabulary`.
    `names`: those of its categories that are wanted."""

    vocabulary: str = "lvis"
    names: Literal["all"] | tuple[str, ...]

    @field_validator("names", mode="before")
    @classmethod
    def _one_name(cls, names: Any) -> Any:
        if not isinstance(names, str | list | tuple):
            raise ValueError("must be all, a name or a list of names, such as [banana, frog]")
        return (names,) if isinstance(names, str) and names != "all" else names


class PromptSettings(Section):
    """The texts of a category: every template with its name, and with its synonyms if `synonyms`. The texts
    are taken in turn, so prompt i has text i modulo their number.

    templates: one, a list, or the name of one of `TEMPLATE_SETS`. definitions: append the vocabulary's
    definition. file: a JSON or YAML file, category name -> list of whole texts, as a language model writes
    them; they come instead of the templates where the file has the category. negative: what no image should
    show, the same for all. per_category: images of each.
    """

    templates: tuple[Template, ...]
    synonyms: bool = False
    definitions: bool = False
    file: str | None = None
    negative: str = ""
    per_category: PositiveInt

    @field_validator("templates", mode="before")
    @classmethod
    def _one_template(cls, templates: Any) -> Any:
        if isinstance(templates, str):
            return TEMPLATE_SETS.get(templates, (templates,))
        return templates

    @field_validator("templates")
    @classmethod
    def _some_template(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not templates:
            raise ValueError("needs at least one template, such as a photo of a single {name}")
        return templates
