"""Files of an unfinished training: whole or not there, tensors with a record beside them."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer

from xpaste_ray.storage import aside_of

_RECORD = "record"


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path, record: str = "") -> None:
    aside = aside_of(path)
    told = {name: value.contiguous() for name, value in tensors.items()}
    save_file(told, aside, {_RECORD: record} if record else {})
    aside.replace(path)


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], str] | None:
    """The tensors and the record; None if the file is not there, or not whole."""
    try:
        with safe_open(path, framework="pt") as file:
            record = (file.metadata() or {}).get(_RECORD, "")
        return load_file(path), record
    except (OSError, SafetensorError):
        return None


def write_file(path: Path, data: bytes) -> None:
    aside = aside_of(path)
    aside.write_bytes(data)
    aside.replace(path)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` when all of it is there."""
    aside = aside_of(folder)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def named(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On a processor, under a prefix."""
    return {f"{prefix}.{name}": value.cpu() for name, value in tensors.items()}


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of `named`."""
    start = f"{prefix}."
    return {name.removeprefix(start): one for name, one in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """What an optimizer remembers of each parameter, as "number.what"."""
    state: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value
        for number, told in state.items()
        for name, value in told.items()
        if value is not None
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        number, _, what = name.partition(".")
        state.setdefault(int(number), {})[what] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
