"""Originals and contexts as one set of backgrounds.

Contexts are images made to paste on (EM-Paste, section 3.2): nothing is annotated in them. Rows of originals
come first, and keep their numbers and ids, so a plan that names one means the same with contexts or without.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from xpaste_ray.backgrounds.reader import BackgroundAnnotation, Backgrounds
from xpaste_ray.categories import Category
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint

CONTEXT = "context:"
"""What the ids of contexts begin with."""


class MixedBackgrounds:
    """What `Backgrounds` tells, of two of them. A copy in another process opens the files of both again.

    ConfigError if the contexts have annotations, which would be lost, or an original's id begins as
    those of contexts do.
    """

    def __init__(self, originals: Backgrounds, contexts: Backgrounds) -> None:
        if contexts.categories:
            raise ConfigError(
                "contexts: they have annotations, which would be lost: give their folder of images alone, or "
                "give them as backgrounds"
            )
        mistaken = [name for name in originals.ids if name.startswith(CONTEXT)]
        if mistaken:
            raise ConfigError(
                f"backgrounds: the name of {mistaken[0]!r} begins as those of contexts do: call the image "
                "something else"
            )
        self.originals, self.contexts = originals, contexts

    def __reduce__(self) -> tuple[Any, ...]:
        return MixedBackgrounds, (self.originals, self.contexts)

    def __len__(self) -> int:
        return len(self.originals) + len(self.contexts)

    @property
    def context_count(self) -> int:
        """How many are contexts: the last rows."""
        return len(self.contexts)

    @property
    def fingerprint(self) -> str:
        """Of both."""
        return fingerprint({"originals": self.originals.fingerprint, "contexts": self.contexts.fingerprint})

    def without_categories(self, names_or_ids: Iterable[str | int]) -> "MixedBackgrounds":
        """Only the originals without any of these categories, see there, and all contexts."""
        return MixedBackgrounds(self.originals.without_categories(names_or_ids), self.contexts)

    # Labels are the originals'.

    @property
    def is_lvis(self) -> bool:
        return self.originals.is_lvis

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.originals.categories

    @property
    def category_ids(self) -> frozenset[int]:
        return self.originals.category_ids

    @property
    def annotated_rows(self) -> np.ndarray:
        return self.originals.annotated_rows

    @property
    def rejected_annotations(self) -> Mapping[str, int]:
        return self.originals.rejected_annotations

    @property
    def rejected(self) -> Mapping[str, int]:
        """Unusable originals by reason; those of the contexts are `contexts.rejected`."""
        return self.originals.rejected

    def rejected_images(self) -> Iterator[tuple[str, str]]:
        yield from self.originals.rejected_images()
        for name, reason in self.contexts.rejected_images():
            yield f"{CONTEXT}{name}", reason

    # What is known of a row.

    @cached_property
    def sizes_hw(self) -> np.ndarray:
        return np.concatenate([self.originals.sizes_hw, self.contexts.sizes_hw])

    @property
    def ids(self) -> list[str]:
        return [*self.originals.ids, *(f"{CONTEXT}{name}" for name in self.contexts.ids)]

    def id(self, row: int) -> str:
        part, own = self._place(row)
        return f"{CONTEXT}{part.id(own)}" if part is self.contexts else part.id(own)

    def row_of_id(self, background_id: str) -> int:
        if background_id.startswith(CONTEXT):
            return len(self.originals) + self.contexts.row_of_id(background_id.removeprefix(CONTEXT))
        return self.originals.row_of_id(background_id)

    def size_hw(self, row: int) -> tuple[int, int]:
        part, own = self._place(row)
        return part.size_hw(own)

    def annotations(self, row: int) -> tuple[BackgroundAnnotation, ...]:
        part, own = self._place(row)
        return part.annotations(own)

    def is_labelled(self, row: int) -> bool:
        part, own = self._place(row)
        return part.is_labelled(own)

    def is_blank(self, row: int) -> bool:
        part, own = self._place(row)
        return part.is_blank(own)

    def present_category_ids(self, row: int) -> np.ndarray:
        part, own = self._place(row)
        return part.present_category_ids(own)

    def rejected_category_ids(self, row: int) -> tuple[int, ...]:
        part, own = self._place(row)
        return part.rejected_category_ids(own)

    def neg_category_ids(self, row: int) -> tuple[int, ...] | None:
        part, own = self._place(row)
        return part.neg_category_ids(own)

    def not_exhaustive_category_ids(self, row: int) -> tuple[int, ...] | None:
        part, own = self._place(row)
        return part.not_exhaustive_category_ids(own)

    def load(self, row: int) -> np.ndarray:
        part, own = self._place(row)
        return part.load(own)

    def _place(self, row: int) -> tuple[Backgrounds, int]:
        """Whose the row is, and its number there."""
        own = row - len(self.originals)
        return (self.originals, row) if own < 0 else (self.contexts, own)
