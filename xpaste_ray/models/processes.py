"""Processes that train together: which of them this is, and what all of them have."""

from typing import Any, TypeVar

from torch import distributed

T = TypeVar("T")


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
