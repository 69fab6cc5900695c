"""Processes that train together: which of them this is, and what all of them have."""

from typing import Any, TypeVar

import torch
from torch import distributed

from xpaste_ray.models.device import usable_device

T = TypeVar("T")


def prepare_process(device: str, threads: int) -> None:
    """What a process does before it trains: its threads are a number, and kernels are chosen the same way
    each time. ConfigError if torch cannot use the device."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    if torch.device(usable_device(device)).type == "cuda":
        torch.cuda.set_device(device)  # what the group talks through, too


def world_size() -> int:
    """How many processes train together: 1 if there is no group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is; the first one, 0, writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def gathered(own: T) -> list[T]:
    """What each process has."""
    if world_size() == 1:
        return [own]
    parts: list[Any] = [None] * world_size()
    distributed.all_gather_object(parts, own)
    return parts


def wait_for_all() -> None:
    if world_size() > 1:
        distributed.barrier()
