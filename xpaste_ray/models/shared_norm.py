"""Batch normalisation over all processes that train together."""

from typing import Any

import torch
from torch import distributed, nn

from xpaste_ray.models.processes import world_size


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Mean and variance are those of the whole batch, however it is divided: the number of processes changes
    rounding only. torch's SyncBatchNorm does the same, on GPUs only. A process's part may be empty."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        count = pixels.numel() // pixels.shape[1]
        if not self.training or (world_size() == 1 and count > 1):  # torch refuses a single value
            return super().forward(pixels)
        return self._shared(pixels.float(), count).to(pixels.dtype)  # sums in half precision are none

    def _shared(self, pixels: torch.Tensor, count: int) -> torch.Tensor:
        """pixels: float32."""
        sums = _sum_of_all(torch.cat([pixels.sum((0, 2, 3)), pixels.new_tensor([count])]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = pixels - _wide(mean)
        variance = _sum_of_all((centred * centred).sum((0, 2, 3))) / total
        self._note(mean.detach(), variance.detach() * (total / (total - 1).clamp(min=1)))
        return centred * _wide(self.weight * torch.rsqrt(variance + self.eps)) + _wide(self.bias)

    @torch.no_grad()
    def _note(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """As torch's own: a moving average of the means and the unbiased variances."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def _wide(channels: torch.Tensor) -> torch.Tensor:
    return channels.view(1, -1, 1, 1)


def _sum_of_all(values: torch.Tensor) -> torch.Tensor:
    summed: torch.Tensor = values if world_size() == 1 else _SumOfAll.apply(values)
    return summed


class _SumOfAll(torch.autograd.Function):
    """Every process's loss depends on every process's values, so its gradient is a sum, too."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return _reduced(values)

    @staticmethod
    def backward(ctx: Any, gradients: torch.Tensor) -> torch.Tensor:
        return _reduced(gradients)


def _reduced(values: torch.Tensor) -> torch.Tensor:
    values = values.contiguous().clone()
    distributed.all_reduce(values)
    return values
