"""The texts that images of a category are generated from."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from xpaste_ray.categories import Category, display_name, name_key
from xpaste_ray.config import PromptSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.storage import locate
from xpaste_ray.yaml12 import load_yaml


class Texts:
    """The texts of every category, by the settings alone: no generator draws.

    recipe: what they follow from, beside the categories themselves.
    """

    def __init__(self, settings: PromptSettings) -> None:
        """ConfigError if the file of texts is none."""
        self._settings = settings
        self._given, file_hash = _read_texts(settings.file) if settings.file else ({}, None)
        told = settings.model_dump(mode="json", exclude={"per_category", "file"})
        self.recipe: dict[str, Any] = {**told, "file": file_hash}

    def of(self, category: Category) -> tuple[str, ...]:
        """At least one; the file's, where it has the category, else templates times names."""
        given = self._given.get(name_key(category.name))
        if given:
            return given
        settings = self._settings
        names = [category.name, *(category.synonyms if settings.synonyms else ())]
        shown = dict.fromkeys(map(display_name, names))
        texts = [template.format(name=name) for name in shown for template in settings.templates]
        if settings.definitions and category.definition:
            texts = [f"{text}, {category.definition}" for text in texts]
        return tuple(dict.fromkeys(texts))

    def unused(self, categories: Iterable[Category]) -> list[str]:
        """Categories of the file that are not among these: misspelled, perhaps."""
        known = {name_key(category.name) for category in categories}
        return [name for name in self._given if name not in known]


def _read_texts(path: str) -> tuple[dict[str, tuple[str, ...]], str]:
    """Category name key -> texts, and the hash of the file. ConfigError."""
    try:
        data = locate(path).read_bytes()
        values = load_yaml(data.decode()) if path.endswith((".yaml", ".yml")) else json.loads(data)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"prompts.file: {path} cannot be read ({error}): give a JSON or YAML file, category name -> texts"
        ) from None
    if not isinstance(values, Mapping):
        raise ConfigError(f"prompts.file: {path} must map category names to lists of texts")
    texts: dict[str, tuple[str, ...]] = {}
    for name, several in values.items():
        if name_key(str(name)) in texts:
            raise ConfigError(
                f"prompts.file: {path}: {name!r} is there more than once: put its texts together"
            )
        if not isinstance(several, list) or not several or not all(_is_text(text) for text in several):
            raise ConfigError(
                f"prompts.file: {path}: {name!r} must have a list of texts, such as [a red {name}]"
            )
        texts[name_key(str(name))] = tuple(several)
    return texts, hash_bytes(data)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
