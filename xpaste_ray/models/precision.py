"""How a network computes: in which numbers, and how many images at a time."""

import torch

from xpaste_ray.config.base import Dtype


def computing_in(dtype: Dtype, device: str | torch.device) -> torch.autocast:
    """A context in which torch computes what is safe there in `dtype`; float32 leaves all as it is.

    The weights stay float32: they are small beside what is computed from them, and no layer is met in a
    dtype that it cannot compute in.
    """
    return torch.autocast(torch.device(device).type, dtype=getattr(torch, dtype), enabled=dtype != "float32")


def images_at_once(micro_batch: int, device: str) -> int:
    """`micro_batch` on a GPU. On CPU one: batches gain nothing there, and the libraries that multiply
    matrices round an image by its place in the batch, as their threads share it."""
    return 1 if torch.device(device).type == "cpu" else micro_batch
