"""One composed sample from its number: plan, render, annotate."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np

from xpaste_ray.backgrounds import AnyBackgrounds
from xpaste_ray.backgrounds.mixed import CONTEXT
from xpaste_ray.compose.annotate import annotate
from xpaste_ray.compose.plan import PastePlan
from xpaste_ray.compose.planner import Planner
from xpaste_ray.compose.render import Rendered, render
from xpaste_ray.config import ComposeSettings
from xpaste_ray.pool import Pool
from xpaste_ray.samples import Sample

_GROUP_PIXELS = 8 * 1024 * 1024  # 25 MB of canvases; more brings nothing


@dataclass(frozen=True, slots=True)
class Composed:
    """image: (H, W, 3) uint8 RGB.

    counts: pasted objects (`placed`), those annotated (`pasted_annotations`), the background's own
    (`background_objects`), the reasons of all that was left out, and how many were `sized_by_overall`: by
    rule `prior`, in a category without statistics. `on_contexts`, where there are contexts: 1 on one.
    """

    plan: PastePlan
    image: np.ndarray
    sample: Sample
    counts: Counter[str]


class Compositor:
    """Sample i is the same in any process, in any order, whatever else is composed."""

    def __init__(
        self, pool: Pool | None, backgrounds: AnyBackgrounds, settings: ComposeSettings, seed: int
    ) -> None:
        """pool: None will do where `copy_rule` pastes nothing of it. ConfigError if nothing can be drawn by
        the settings' rules."""
        self._pool, self._backgrounds, self._settings = pool, backgrounds, settings
        self._planner = Planner(pool, backgrounds, settings, seed)
        self._by_prior = settings.size.rule == "prior" and settings.layout == "free" and settings.needs_pool

    def with_seed(self, seed: int) -> "Compositor":
        """Another compositor, which shares all that does not depend on the seed: made in no time."""
        other = copy(self)
        other._planner = self._planner.with_seed(seed)
        return other

    def plan(self, sample: int, row: int | None = None) -> PastePlan:
        """row: of the background, instead of one that is drawn."""
        return self._planner.plan(sample, row)

    def compose(self, sample: int, row: int | None = None) -> Composed:
        """row: as in `plan`."""
        return self.render(self.plan(sample, row))

    def render(self, plan: PastePlan) -> Composed:
        """A sample from its plan alone."""
        return next(self.render_all([plan]))

    def render_all(self, plans: Iterable[PastePlan]) -> Iterator[Composed]:
        """The samples of the plans, in order.

        They are painted and annotated in groups of a few: doing one thing several times is faster than
        several things in turn, which push each other's code out of the processor's caches.
        """
        for group in groups(plans):
            painted = [render(plan, self._pool, self._backgrounds) for plan in group]
            yield from [self._annotated(*pair) for pair in zip(group, painted, strict=True)]

    def _annotated(self, plan: PastePlan, rendered: Rendered) -> Composed:
        sample, left_out = annotate(plan, rendered, self._pool, self._backgrounds, self._settings.output)
        counts = _tally(sample, left_out)
        counts["placed"] = len(rendered.painted)
        for reason in plan.skipped:
            counts[f"skipped_{reason}"] += 1
        if self._backgrounds.context_count:
            counts["on_contexts"] = int(plan.background_id.startswith(CONTEXT))
        if by_overall := self._sized_by_overall(plan):
            counts["sized_by_overall"] = by_overall
        return Composed(plan, rendered.image, sample, counts)

    def _sized_by_overall(self, plan: PastePlan) -> int:
        """Placements whose category has no size of its own in the table."""
        if not self._by_prior:
            return 0
        return sum(self._planner.sizes.lacks(placement.category_id) for placement in plan.placements)


def _tally(sample: Sample, left_out: Counter[str]) -> Counter[str]:
    """What was left out, beside what was there: objects of the background, and pasted ones annotated."""
    pasted = sum(annotation.origin != "background" for annotation in sample.annotations)
    gone = sum(count for reason, count in left_out.items() if reason.startswith("background_"))
    own = len(sample.annotations) - pasted + gone
    return Counter({"pasted_annotations": pasted, **({"background_objects": own} if own else {}), **left_out})


def groups(plans: Iterable[PastePlan]) -> Iterator[list[PastePlan]]:
    """Consecutive plans whose canvases fit in memory together."""
    return consecutive(plans, lambda plan: plan.canvas_hw[0] * plan.canvas_hw[1], _GROUP_PIXELS)


def consecutive(
    plans: Iterable[PastePlan], weight: Callable[[PastePlan], float], most: float
) -> Iterator[list[PastePlan]]:
    """As many plans at a time as weigh no more than `most` together, or one that weighs more."""
    group: list[PastePlan] = []
    total = 0.0
    for plan in plans:
        own = weight(plan)
        if group and total + own > most:
            yield group
            group, total = [], 0.0
        group.append(plan)
        total += own
    if group:
        yield group
