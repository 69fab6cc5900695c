"""What is known of a detector's training: its losses, what validation found, and the files that tell of
them."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TRAINING_FILE = "training.json"
CURVES_FILE = "curves.png"


@dataclass(frozen=True, slots=True)
class Window:
    """Means of twenty iterations, the last of which is `iteration`. losses: by torchvision's names."""

    iteration: int
    learning_rate: float
    losses: dict[str, float]

    @property
    def loss(self) -> float:
        """Of all together."""
        return sum(self.losses.values())


@dataclass(frozen=True, slots=True)
class Validated:
    """What the averaged weights were worth after an iteration. segm, bbox: average precisions by name, see
    `evaluation.Scores`."""

    iteration: int
    segm: dict[str, float | None]
    bbox: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class DetectorRecord:
    """recipe: everything that the weights follow from."""

    recipe: str
    iterations: int
    windows: tuple[Window, ...] = ()
    validated: tuple[Validated, ...] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Iterations."""
        return self.windows[-1].iteration if self.windows else 0

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> "DetectorRecord | None":
        """None if it is not there, or is something else."""
        try:
            return record_of(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            return None


def record_of(text: str) -> DetectorRecord | None:
    """The inverse of `DetectorRecord.text`; None for something else."""
    try:
        told: dict[str, Any] = json.loads(text)
        windows = tuple(Window(**one) for one in told.pop("windows"))
        validated = tuple(Validated(**one) for one in told.pop("validated"))
        return DetectorRecord(windows=windows, validated=validated, **told)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def curves_png(record: DetectorRecord) -> bytes:
    """A picture: the losses, and the average precisions if there are any, against the iterations."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4) if record.validated else (5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses = figure.add_subplot(1, 2 if record.validated else 1, 1)
    at = [one.iteration for one in record.windows]
    losses.plot(at, [one.loss for one in record.windows], color="black", label="all")
    for name in record.windows[0].losses if record.windows else ():
        told = name.removeprefix("loss_").replace("_", " ")
        losses.plot(at, [one.losses[name] for one in record.windows], linewidth=0.8, label=told)
    losses.set(xlabel="iteration", ylabel="loss", yscale="log")
    losses.legend(fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))  # the lines fill it
    if record.validated:
        _draw_precisions(figure.add_subplot(1, 2, 2), record)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100, metadata={"Software": None})
    return data.getvalue()


def _draw_precisions(axes: Any, record: DetectorRecord) -> None:
    at = [one.iteration for one in record.validated]
    for name in ("ap", "ap50", "rare", "common", "frequent"):
        found = [one.segm.get(name) for one in record.validated]
        if any(value is not None for value in found):
            percent = [float("nan") if value is None else 100 * value for value in found]
            axes.plot(
                at, percent, marker="o", markersize=3, label={"ap": "AP", "ap50": "AP50"}.get(name, name)
            )
    axes.set(xlabel="iteration", ylabel="mask AP of validation, %", ylim=(0, None))
    axes.legend(fontsize="small")
