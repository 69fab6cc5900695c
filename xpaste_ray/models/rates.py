"""How fast a training learns, step by step."""

import math

from torch.optim import Optimizer


def learning_rate(step: int, steps: int, highest: float, warm_up: int) -> float:
    """Rises to `highest` in the first `warm_up` steps, then falls as a cosine, to nothing at the end."""
    if step < warm_up:
        return highest * (step + 1) / warm_up
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
