"""One resumable training loop for all the miniature models."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    steps: int
    learning_rate: float
    ema_decay: float
    weight_decay: float = 0.01
    warmup_steps: int = 100
    checkpoint_every: int = 200


def train(
    name: str,
    model: nn.Module,
    loss_of_step: Callable[[int], torch.Tensor],
    options: TrainOptions,
    work_dir: Path,
) -> nn.Module:
    """Minimise `loss_of_step(step)` over the model's parameters; returns the averaged model.

    The state is kept in `work_dir/<name>.pt`: a killed training goes on from there. Every draw of
    a step must be keyed by its number, so that a resumed training sees the same data.
    """
    path = work_dir / f"{name}.pt"
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.99)
    )
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.ema_decay), use_buffers=True)
    start = 0
    if path.exists():
        state = torch.load(path, weights_only=True, map_location=device())
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    losses: list[float] = []
    began = time.perf_counter()
    for step in range(start, options.steps):
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * _schedule(step, options)
        loss = loss_of_step(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        losses.append(loss.item())
        done = step + 1
        if done % 50 == 0:
            rate = (done - start) / (time.perf_counter() - began)
            print(
                f"{name}  step {done}/{options.steps}  loss {_mean(losses[-50:]):.4f}  {rate:.2f} steps/s",
                flush=True,
            )
        if done % options.checkpoint_every == 0 or done == options.steps:
            _save(path, model, average, optimizer, done)
    return average.module


def _schedule(step: int, options: TrainOptions) -> float:
    """Linear warm-up, constant, then a linear fall to a twentieth over the last 30 % of the steps."""
    warm = min(1.0, (step + 1) / options.warmup_steps)
    left = (options.steps - step) / (0.3 * options.steps)
    return warm * max(0.05, min(1.0, left))


def _save(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, step: int
) -> None:
    state = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    save_whole(state, path)


def save_whole(value: object, path: Path) -> None:
    """`torch.save` so that the file is either absent or complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    torch.save(value, aside)
    aside.replace(path)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def autocast() -> torch.autocast:
    """bfloat16 on either device: half the time on processors that have it, and no loss scaling."""
    return torch.autocast(device().type, torch.bfloat16)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
