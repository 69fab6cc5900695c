"""What an open_clip folder's own description says, for those that must not load torch."""

import json
from pathlib import Path

from xpaste_ray.errors import ConfigError
from xpaste_ray.models.folders import OPEN_CLIP_FILE

# Options of open_clip's text towers: another model's configuration by its name, and whatever its tokenizer is
# told, `trust_remote_code` too.
_OF_THE_HUB = ("hf_model_name", "tokenizer_kwargs")


def embedding_dim(folder: Path, option: str) -> int:
    """Numbers in an embedding of the folder's model. `option` is the setting's name. ConfigError, also for a
    model that would ask the Hub."""
    file = folder / OPEN_CLIP_FILE
    try:
        told = json.loads(file.read_text(encoding="utf-8"))["model_cfg"]
        dim, text = told["embed_dim"], dict(told.get("text_cfg") or {})
    except (ValueError, KeyError, TypeError):
        dim, text = None, {}
    for name in _OF_THE_HUB:
        if text.get(name):
            raise ConfigError(
                f"{option}: {file} has text_cfg.{name}, which lets open_clip fetch or run code: "
                "take a model whose text tower is open_clip's own"
            )
    if not isinstance(dim, int) or dim < 1:
        raise ConfigError(
            f"{option}: {file} has no model_cfg.embed_dim, so it is no open_clip model: save the model with "
            "open_clip, or take its folder from the hub as it is"
        )
    return dim
