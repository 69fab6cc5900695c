"""What an open_clip folder's own description says, for those that must not load torch."""

import json
from pathlib import Path

from xpaste_ray.errors import ConfigError
from xpaste_ray.models.folders import OPEN_CLIP_FILE


def embedding_dim(folder: Path, option: str) -> int:
    """Numbers in an embedding of the folder's model. `option` is the setting's name. ConfigError."""
    file = folder / OPEN_CLIP_FILE
    try:
        dim = json.loads(file.read_text(encoding="utf-8"))["model_cfg"]["embed_dim"]
    except (ValueError, KeyError, TypeError):
        dim = None
    if not isinstance(dim, int) or dim < 1:
        raise ConfigError(
            f"{option}: {file} has no model_cfg.embed_dim, so it is no open_clip model: save the model with "
            "open_clip, or take its folder from the hub as it is"
        )
    return dim
