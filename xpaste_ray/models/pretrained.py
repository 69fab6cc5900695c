"""Networks and image processors of transformers, from a local folder."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from xpaste_ray.errors import ConfigError
from xpaste_ray.models.folders import SEGMENTER_OPTION, TRANSFORMERS_FILE

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def load_network(kind: Any, folder: Path, option: str = SEGMENTER_OPTION) -> Any:
    """A model of the class `kind`, in float32 and ready to be used. Code that the folder brings is never
    imported: the class is ours to name. Raises ConfigError, which begins with `option`, if the folder's
    weights are not all of it."""
    transformers_logging.disable_progress_bar()
    _check_type(kind, folder, option)
    try:
        network, found = kind.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ConfigError(_message(kind, folder, str(error), option)) from error
    if missing := sorted(found["missing_keys"]):
        problem = f"{len(missing)} weights are missing, such as {missing[0]}"
        raise ConfigError(_message(kind, folder, problem, option))
    return network.eval()


def _check_type(kind: Any, folder: Path, option: str) -> None:
    """transformers would only warn of another one, and make a network of random numbers first."""
    try:
        given = json.loads((folder / TRANSFORMERS_FILE).read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError):
        problem = f"its {TRANSFORMERS_FILE} is not a JSON object"
        raise ConfigError(_message(kind, folder, problem, option)) from None
    if given != kind.config_class.model_type:
        problem = f"its {TRANSFORMERS_FILE} says model_type {given!r}"
        raise ConfigError(_message(kind, folder, problem, option))


def load_tokenizer(kind: Any, folder: Path, option: str = SEGMENTER_OPTION) -> Any:
    """Raises ConfigError without its files, of which transformers would make an empty one."""
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        problem = f"it holds no {' and no '.join(_TOKENIZER_FILES)}"
        raise ConfigError(_message(kind, folder, problem, option))
    return kind.from_pretrained(folder, local_files_only=True)


def image_processor(kind: Any, folder: Path, size: dict[str, int], **others: Any) -> Any:
    """The folder's own, if it has one, at our size; else one with `others`."""
    if any((folder / name).is_file() for name in _PROCESSOR_FILES):
        return kind.from_pretrained(folder, local_files_only=True, size=size)
    return kind(size=size, **others)


def _message(kind: Any, folder: Path, problem: str, option: str) -> str:
    return (
        f"{option}: {folder.name!r} is no {kind.__name__} that transformers can load ({problem}): "
        "give a folder that its `save_pretrained` wrote"
    )
