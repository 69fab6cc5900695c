"""The numbers that a network computes with."""

import torch

from xpaste_ray.config.base import Dtype


def computing_in(dtype: Dtype, device: str) -> torch.autocast:
    """A context in which torch computes what is safe there in `dtype`; float32 leaves all as it is.

    The weights stay float32: they are small beside what is computed from them, and no layer is met in a
    dtype that it cannot compute in.
    """
    return torch.autocast(torch.device(device).type, dtype=getattr(torch, dtype), enabled=dtype != "float32")
