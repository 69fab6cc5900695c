"""Pictures of a study, as PNG: the same results, the same bytes."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from xpaste_ray.studies.results import StudyResults
from xpaste_ray.studies.statistics import Measure

_SEED = {"s": 14, "color": "black", "zorder": 3, "linewidths": 0}
_FREQUENCIES = ("rare", "common", "frequent")


def study_plots(results: StudyResults) -> dict[str, bytes]:
    """By file name. Only those that there is something to draw of."""
    found: dict[str, bytes] = {}
    measures = results.measures
    if ap := [one for one in measures if one.name in ("ap", "ap50")]:
        found["ap.png"] = _bars(results, ap)
    if buckets := [one for one in measures if one.kind == "segm" and one.name in _FREQUENCIES]:
        found["frequency.png"] = _bars(results, buckets)
    if any(one.validated for arm in results.arms for one in arm.trained.values()):
        found["validation.png"] = _curves(results)
    return found


def _bars(results: StudyResults, measures: list[Measure]) -> bytes:
    """A panel a measure, a bar an arm: the mean, the spread over seeds, and each seed as a dot."""

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        at = np.arange(len(results.arms))
        for axes, measure in zip(panels, measures, strict=True):
            for row, arm in zip(at, results.arms, strict=True):
                told = arm.summary(measure)
                if told.mean is None:
                    continue
                colour = "tab:gray" if arm.name == results.baseline else "tab:blue"
                axes.barh(row, 100 * told.mean, 0.7, color=colour, alpha=0.55)
                if told.std is not None:
                    axes.errorbar(100 * told.mean, row, xerr=100 * told.std, color="black", capsize=3)
                values = [100 * value for value in arm.values(measure).values()]
                axes.scatter(values, [row] * len(values), **_SEED)
            axes.set(xlabel=f"{measure.title}, %", xlim=(0, None))
        panels[0].set_yticks(at, [arm.name for arm in results.arms])
        panels[0].invert_yaxis()

    return _png(draw, (2.2 + 2.3 * len(measures), 1.2 + 0.36 * len(results.arms)))


def _curves(results: StudyResults) -> bytes:
    """Mask AP of validation by iteration: an arm a colour, a seed a line."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for number, arm in enumerate(results.arms):
            label: str | None = arm.name
            for _, one in sorted(arm.trained.items()):
                shown = [(at, 100 * ap) for at, ap in one.validated if ap is not None]
                if shown:
                    axes.plot(
                        *zip(*shown, strict=True), ".-", color=f"C{number % 10}", label=label, linewidth=1
                    )
                    label = None
        axes.set(xlabel="iteration", ylabel="mask AP of validation, %", ylim=(0, None))
        axes.legend(fontsize="small")

    return _png(draw, (7, 4))


def _png(draw: Callable[[Any], None], size: tuple[float, float]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100, metadata={"Software": None})
    return data.getvalue()
