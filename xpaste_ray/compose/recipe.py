"""What a composed sample follows from, beside its pool."""

from typing import Any

from xpaste_ray.backgrounds import AnyBackgrounds
from xpaste_ray.compose.size_table import size_table_id
from xpaste_ray.config import ComposeSettings

_ALGORITHM = 3  # raised when the code makes other bytes of the same settings


def compose_recipe(settings: ComposeSettings, backgrounds: AnyBackgrounds, seed: int) -> dict[str, Any]:
    """Everything but the pool that can change a byte of a composed dataset. Files are known by what is in
    them, not by where they lie."""
    named_otherwise = {"exclude_categories", "background_images", "background_column", "contexts"}
    unused = set() if backgrounds.context_count else {"mix", "mix_by"}
    unused |= set() if settings.categories else {"categories"}
    dumped = settings.model_dump(mode="json", exclude=named_otherwise | unused)  # the fingerprint names those
    dumped["backgrounds"] = backgrounds.fingerprint
    dumped["size"]["table"] = size_table_id(settings.size.table)
    return {"algorithm": _ALGORITHM, "compose": dumped, "seed": seed}
