"""What a replica is: what it serves now, its cores, and who may ask."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from xpaste_ray.backgrounds import AnyBackgrounds
from xpaste_ray.compose.compositor import Composed, Compositor, groups
from xpaste_ray.compose.plan import PastePlan
from xpaste_ray.config.serve import ServeLimits, ServeSettings
from xpaste_ray.errors import XPasteError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.serve.bodies import Body, body_for
from xpaste_ray.serve.cores import Cores
from xpaste_ray.serve.cost import compose_seconds, pieces, planned_at_a_time, planning_seconds
from xpaste_ray.serve.problems import refused
from xpaste_ray.serve.served import Rules, Served
from xpaste_ray.serve.tokens import Tokens

Update = Literal["none", "loading", "failed"]


class Service:
    """Answers by one version; `update` puts another in its place while requests go on.

    A request keeps the version that it began with to its end.
    """

    def __init__(self, settings: ServeSettings, log: logging.Logger) -> None:
        """ConfigError if anything is missing or cannot work."""
        self.tokens = Tokens(settings)
        self.served = Served(settings)
        self.cores = Cores(settings.threads, settings.limits.waiting)
        self.update_state: Update = "none"
        self._log = log
        self._updates = 0

    @property
    def limits(self) -> ServeLimits:
        return self.served.settings.limits

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.served.settings.hosts

    async def update(self, settings: ServeSettings) -> None:
        """Open what the settings name beside what is served, then serve that. Where that cannot be done, the
        old version stays, the log says why, and `update_state` is `failed`."""
        if settings == self.served.settings:
            return
        self._updates += 1
        number, self.update_state = self._updates, "loading"
        try:
            tokens, served = await asyncio.to_thread(lambda: (Tokens(settings), Served(settings)))
        except (XPasteError, OSError) as error:
            self._log.error("the old version is served on, the new one cannot be: %s", error)
            if number == self._updates:
                self.update_state = "failed"
            return
        if number == self._updates:  # none that is newer has come
            before = self.served.settings
            self.tokens, self.served, self.update_state = tokens, served, "none"
            if (before.threads, before.limits.waiting) != (settings.threads, settings.limits.waiting):
                self.cores = Cores(settings.threads, settings.limits.waiting)


@dataclass(frozen=True, slots=True)
class Order:
    """Samples to compose: `count` from number `first` on. served: the version that does it."""

    served: Served
    rules: Rules
    seed: int
    first: int
    count: int

    def check(self) -> None:
        """Problem 422 if that is more than one request may ask for, as far as can be told before planning."""
        limits, canvas = self.served.settings.limits, self.rules.settings.canvas
        if self.count > limits.count:
            raise refused("count", f"must not be above {limits.count}")
        if canvas.fit != "keep":
            check_pixels(self.count * canvas.size_hw[0] * canvas.size_hw[1], limits)
        _check_seconds([self._planning_seconds] * self.count, limits, "options.instances")

    def name(self, media_type: str) -> str:
        """The same for the same bytes."""
        versions = self.served.versions
        return fingerprint(
            {
                "recipe": self.rules.recipe, "seed": self.seed, "first": self.first, "count": self.count,
                "as": media_type, "pool": versions.pool, "backgrounds": versions.backgrounds,
                "package": versions.package,
            }
        )  # fmt: skip

    def plans(self) -> Iterator[list[PastePlan]]:
        """All plans so far, each time that about a second was spent on more, and at the end. Problem 422 if
        the canvases are too large together, or composing would take too long."""
        compositor, limits = self.compositor, self.served.settings.limits
        at_a_time = planned_at_a_time(self._planning_seconds)
        plans: list[PastePlan] = []
        seconds: list[float] = []
        while len(plans) < self.count:
            begin = self.first + len(plans)
            end = min(begin + at_a_time, self.first + self.count)
            plans += [compositor.plan(number) for number in range(begin, end)]
            check_pixels(sum(p.canvas_hw[0] * p.canvas_hw[1] for p in plans), limits)
            seconds += [compose_seconds(plan) for plan in plans[len(seconds) :]]
            _check_seconds(seconds, limits, "options")
            yield plans

    def parts(self, body: Body) -> Iterator[tuple[bytes, bool]]:
        """The body, in parts that take about a second or one image to compose, and whether it is the last.
        Parts are empty as long as it is planned."""
        plans: list[PastePlan] = []
        for plans in self.plans():
            if len(plans) < self.count:
                yield b"", False
        several = [piece for group in groups(plans) for piece in pieces(group)]
        for piece in several[:-1]:
            yield body.add(list(self.compositor.render_all(piece))), False
        yield body.add(list(self.compositor.render_all(several[-1]))) + body.end(), True

    @property
    def _planning_seconds(self) -> float:
        """Of one image, at most."""
        limits, settings = self.served.settings.limits, self.rules.settings
        largest = (
            (limits.side_px, limits.side_px) if settings.canvas.fit == "keep" else settings.canvas.size_hw
        )
        return planning_seconds(settings, largest, settings.instances[1])

    def body(self, media_type: str) -> Body:
        return body_for(media_type, self.served, self.rules.settings.output, self.name(media_type))

    @property
    def compositor(self) -> Compositor:
        return self.rules.compositor.with_seed(self.seed)


def check_pixels(pixels: int, limits: ServeLimits) -> None:
    if pixels > limits.megapixels * 1e6:
        raise refused(
            "count", f"all images together must not have more than {limits.megapixels:g} megapixels"
        )


def _check_seconds(each: Sequence[float], limits: ServeLimits, field: str) -> None:
    """each: what an image takes."""
    for what, takes, most in (
        ("an image", max(each), limits.image_seconds),
        ("all images together", sum(each), limits.seconds),
    ):
        if takes > most:
            raise refused(
                field,
                f"{what} would take about {takes:.0f} s, and may take {most:g}: ask for fewer images or "
                "instances, smaller ones, another blend than poisson, or mask_rate 1",
            )


def render_plan(served: Served, rules: Rules, plan: PastePlan) -> Composed:
    """A client's plan. Problem 422 if it names what is not there, or asks for more than any request may."""
    _check_plan(served, plan)
    return rules.compositor.render(plan)


def _check_plan(served: Served, plan: PastePlan) -> None:
    limits = served.settings.limits
    if max(plan.canvas_hw) > limits.side_px:
        raise refused("plan.canvas_hw", f"must not be above {limits.side_px} px")
    check_pixels(plan.canvas_hw[0] * plan.canvas_hw[1], limits)
    if len(plan.placements) > limits.instances:
        raise refused("plan.placements", f"must not be more than {limits.instances}")
    for number, placement in enumerate(plan.placements):
        where = f"plan.placements.{number}"
        row = served.pool.row_of_id.get(placement.instance_id)
        if row is None:
            raise refused(f"{where}.instance_id", "the pool has no such instance")
        if served.pool.category_id(row) != placement.category_id:
            raise refused(f"{where}.category_id", "is not the instance's")
        if any(side > most for side, most in zip(placement.size_hw, plan.canvas_hw, strict=True)):
            raise refused(f"{where}.size_hw", "must not be larger than canvas_hw")
    _check_seconds([compose_seconds(plan)], limits, "plan.placements")
    views = [("plan", plan.background_id, plan.view)]
    if plan.copied:
        views.append(("plan.copied", plan.copied.background_id, plan.copied.view))
    for where, background_id, view in views:
        _check_view(served.backgrounds, where, background_id, view.crop_xywh)
    if plan.copied:
        row = served.backgrounds.row_of_id(plan.copied.background_id)
        known = {annotation.id for annotation in served.backgrounds.annotations(row)}
        if not set(plan.copied.annotation_ids) <= known:
            raise refused("plan.copied.annotation_ids", "the background has not all of them")


def _check_view(
    backgrounds: AnyBackgrounds, where: str, background_id: str, crop_xywh: tuple[int, int, int, int]
) -> None:
    try:
        row = backgrounds.row_of_id(background_id)
    except KeyError:
        raise refused(f"{where}.background_id", "there is no such background") from None
    height, width = backgrounds.size_hw(row)
    left, top, crop_width, crop_height = crop_xywh
    if left + crop_width > width or top + crop_height > height:
        raise refused(f"{where}.view.crop_xywh", f"is outside of the background, {width} x {height} px")
