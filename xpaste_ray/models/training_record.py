"""What is known of a training: its epochs, their figures, and the files that tell of them."""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TRAINING_FILE = "training.json"
PLOT_FILE = "loss.png"


@dataclass(frozen=True, slots=True)
class Epoch:
    """loss: mean of the training images. mean_average_precision, held_out_loss: of the held-out images; None
    without any."""

    number: int
    loss: float
    mean_average_precision: float | None = None
    held_out_loss: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """recipe: everything that the result follows from. skipped: images that could not be used, by reason.
    judged: categories that held-out images show."""

    recipe: str
    epochs: tuple[Epoch, ...] = ()
    training: int = 0
    held_out: int = 0
    judged: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def best(self) -> Epoch | None:
        """The highest mean average precision, of equals the lowest loss of held-out images, of equals the
        first; without any, the last one."""
        return best_of(self.epochs)

    def text(self) -> str:
        best = self.best
        told = {**asdict(self), "best_epoch": None if best is None else best.number}
        return json.dumps(told, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> "TrainingRecord | None":
        """None if it is not there, or is something else."""
        try:
            return record_of(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return None


def record_of(text: str) -> TrainingRecord | None:
    """The inverse of `TrainingRecord.text`; None for something else."""
    try:
        told: dict[str, Any] = json.loads(text)
        told.pop("best_epoch", None)
        epochs = tuple(Epoch(**one) for one in told.pop("epochs"))
        return TrainingRecord(epochs=epochs, **told)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def best_of(epochs: Sequence[Epoch]) -> Epoch | None:
    judged = [one for one in epochs if one.mean_average_precision is not None]
    if judged:
        return max(judged, key=lambda one: (one.mean_average_precision, -(one.held_out_loss or 0.0)))
    return epochs[-1] if epochs else None


def has_ended(epochs: Sequence[Epoch], most: int, patience: int) -> bool:
    """All epochs are done, or `patience` of them brought nothing better."""
    best = best_of(epochs)
    if best is None:
        return False
    return len(epochs) >= most or epochs[-1].number - best.number >= patience


def plot_png(record: TrainingRecord) -> bytes:
    """A picture of the losses, and of the mean average precision if there is any."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses = figure.add_subplot()
    numbers = [one.number for one in record.epochs]
    losses.plot(numbers, [one.loss for one in record.epochs], color="C0")
    losses.set(xlabel="epoch", ylabel="loss (training images)")
    losses.xaxis.set_major_locator(MaxNLocator(integer=True))
    if record.held_out:
        judged = losses.twinx()
        precisions = [one.mean_average_precision for one in record.epochs]
        judged.plot(numbers, [math.nan if one is None else one for one in precisions], color="C1")
        judged.set(ylabel="mAP (held-out images)", ylim=(0, 1.02))
        best = record.best
        if best is not None:
            judged.axvline(best.number, color="C1", linestyle=":")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100, metadata={"Software": None})
    return data.getvalue()
