"""How a detector's training went: losses, and what validation found meanwhile."""

from xpaste_ray.html_report.blocks import Curves, Figure, Figures, Section, Series
from xpaste_ray.html_report.given import Given
from xpaste_ray.models.detector_record import TRAINING_FILE, DetectorRecord, record_of

_PRECISIONS = {
    "ap": "AP", "ap50": "AP50", "rare": "rare", "common": "common", "frequent": "frequent",
}  # fmt: skip


def trained(given: Given) -> Section | None:
    """None for other runs, and before a training has ended."""
    file = given.folder / "detector" / TRAINING_FILE
    record = record_of(file.read_text()) if file.is_file() else None
    if record is None or not record.windows:
        return None
    last = record.windows[-1]
    figures = Figures(
        (Figure("iterations", record.iterations), Figure("loss", last.loss, "of the last ones"))
    )
    curves = [one for one in (_losses(record), _precisions(record)) if one is not None]
    return Section("training", "Training", (figures, *curves))


def _losses(record: DetectorRecord) -> Curves:
    names = list(record.windows[0].losses)
    parts = [
        Series(
            name.removeprefix("loss_").replace("_", " "),
            tuple(one.losses.get(name) for one in record.windows),
        )
        for name in names
    ]
    together = Series("all", tuple(one.loss for one in record.windows))
    at = tuple(float(one.iteration) for one in record.windows)
    return Curves("Losses", "iteration", "loss", at, (together, *parts), "Means of twenty iterations.")


def _precisions(record: DetectorRecord) -> Curves | None:
    found = [
        Series(title, tuple(_percent(one.segm.get(name)) for one in record.validated))
        for name, title in _PRECISIONS.items()
    ]
    shown = tuple(one for one in found if any(value is not None for value in one.values))
    if not shown:
        return None
    at = tuple(float(one.iteration) for one in record.validated)
    return Curves("Mask AP of validation, %", "iteration", "%", at, shown)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
