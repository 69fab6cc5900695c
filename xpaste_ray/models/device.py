"""The device that a model runs on."""

import torch

from xpaste_ray.errors import ConfigError


def usable_device(device: str) -> str:
    """`device` ("cpu", "cuda", "cuda:1"), if torch can use it here. Raises ConfigError."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device {device!r}: torch finds no usable GPU in this process: check `nvidia-smi` and that its "
            "driver fits this torch, or give the stage no GPUs"
        )
    return device
