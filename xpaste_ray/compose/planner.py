"""Planning: every random choice of a composed image, made before a pixel is touched."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from itertools import chain

import numpy as np

from xpaste_ray.backgrounds import AnyBackgrounds
from xpaste_ray.compose.background_draw import draw_background
from xpaste_ray.compose.looks import Look, draw_looks
from xpaste_ray.compose.patch import make_patch, mask_reach_px, turned_point_yx, turned_size_hw
from xpaste_ray.compose.placement import (
    Circle,
    corner_or_problem,
    enclosing_circle,
    largest_free_circle,
    scale_to_fit,
)
from xpaste_ray.compose.plan import Copied, PastePlan, Placement, SizeHW, View
from xpaste_ray.compose.sampling import InstanceSampler
from xpaste_ray.compose.size_table import load_size_table
from xpaste_ray.compose.sizes import cutout_problem, draw_size_hw, size_problem
from xpaste_ray.compose.views import copied_annotations, draw_view, show_layers
from xpaste_ray.config import ComposeSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.pool import Pool
from xpaste_ray.rng import rng_for

_LAYOUT_SCALE = (0.8, 1.0)  # X-Paste, `reference`
_MOST_COPIED = 99  # X-Paste, `self_copy`


class Planner:
    """Makes plans. Plan number i depends on the arguments and i alone, not on any other plan.

    `sizes`: the settings' size table, for the pool's categories.
    """

    def __init__(
        self, pool: Pool | None, backgrounds: AnyBackgrounds, settings: ComposeSettings, seed: int
    ) -> None:
        """pool: None will do where `copy_rule` pastes nothing of it. ConfigError if it is empty, or a rule
        needs other annotated backgrounds than the sample's own and there may be none."""
        self._backgrounds, self._settings, self._seed = backgrounds, settings, seed
        if settings.needs_pool:
            if pool is None:
                raise ConfigError(
                    f"copy_rule={settings.copy_rule} pastes instances of a pool: give one, or set copy_rule "
                    "to none or self"
                )
            self._pool = pool
            self._sampler = InstanceSampler(pool, settings.category, settings.draw, settings.categories)
        self.sizes = load_size_table(settings.size.table, pool.categories if pool else ())
        annotated = len(backgrounds.annotated_rows)
        copies = settings.copy_rule not in ("none", "pool")
        if annotated < 2 and (copies or settings.layout == "reference"):
            raise ConfigError(
                f"copy_rule={settings.copy_rule}, layout={settings.layout} take objects and layouts from "
                f"another annotated background than the sample's own, and {annotated} of these have "
                "annotations: give a COCO or LVIS file as backgrounds with at least two such images"
            )
        if settings.category.rule == "present" and not backgrounds.category_ids:
            raise ConfigError(
                "category.rule=present pastes categories that the background shows, and these backgrounds "
                "have no annotations: give a COCO or LVIS file, or choose another rule"
            )
        self._circles: dict[int, Circle | None] = {}

    def with_seed(self, seed: int) -> "Planner":
        """Another planner, which shares all that does not depend on the seed."""
        other = copy(self)
        other._seed = seed
        return other

    def plan(self, sample: int, row: int | None = None) -> PastePlan:
        """row: of the background, instead of one that is drawn."""
        rng = rng_for(self._seed, "plan", sample)
        settings, backgrounds = self._settings, self._backgrounds
        if row is None:
            row = draw_background(rng, sample, backgrounds, settings)
        view = draw_view(rng, backgrounds.size_hw(row), settings.canvas)
        from_pool, copies = self._what_to_paste(rng)
        copied = self._copied(rng_for(self._seed, "copied", sample), row) if copies else None
        canvas_hw = view.size_hw
        if settings.canvas.fit == "lsj" and settings.canvas.pad:
            canvas_hw = settings.canvas.size_hw
        elif copied:  # as in X-Paste's self_copy, the canvas holds both views
            (height, width), (other_height, other_width) = view.size_hw, copied.view.size_hw
            canvas_hw = (max(height, other_height), max(width, other_width))
        placements: list[Placement] = []
        skipped: list[str] = []
        if from_pool:
            for outcome in self._placements(rng, row, view, copied):
                if isinstance(outcome, str):
                    skipped.append(outcome)
                else:
                    placements.append(outcome)
        return PastePlan(
            sample=sample,
            background_id=backgrounds.id(row),
            view=view,
            canvas_hw=canvas_hw,
            placements=tuple(placements),
            copied=copied,
            match=settings.colour.match,
            mask_rate=settings.mask_rate,
            occlusion=settings.occlusion,
            skipped=tuple(skipped),
        )

    def _what_to_paste(self, rng: np.random.Generator) -> tuple[bool, bool]:
        """Whether pool instances, and whether objects of another background are pasted."""
        rule = self._settings.copy_rule
        if rule.startswith("p:"):
            copies = bool(rng.random() < float(rule.removeprefix("p:")))
            return not copies, copies
        return rule in ("pool", "both"), rule in ("self", "both")

    def _another(self, rng: np.random.Generator, row: int) -> int:
        """A uniform annotated background that is not `row`."""
        annotated = self._backgrounds.annotated_rows  # ascending
        own = int(np.searchsorted(annotated, row))
        is_annotated = own < len(annotated) and int(annotated[own]) == row
        drawn = int(rng.integers(len(annotated) - is_annotated))
        return int(annotated[drawn + (is_annotated and drawn >= own)])

    def _copied(self, rng: np.random.Generator, row: int) -> Copied | None:
        """k objects of one annotated background other than `row`, k uniform in 0 .. all, at most 99.

        Source: X-Paste, `self_copy`.
        """
        other = self._another(rng, row)
        view = draw_view(rng, self._backgrounds.size_hw(other), self._settings.canvas)
        ids = [a.id for a in self._backgrounds.annotations(other) if not a.iscrowd]
        count = rng.integers(min(len(ids), _MOST_COPIED) + 1)
        chosen = rng.permutation(len(ids))[:count]
        if not len(chosen):
            return None
        return Copied(self._backgrounds.id(other), view, tuple(ids[i] for i in sorted(chosen)))

    def _placements(
        self, rng: np.random.Generator, row: int, view: View, copied: Copied | None
    ) -> Iterator[Placement | str]:
        """A placement for every drawn instance, or the reason why it cannot be placed.

        Sizes and places are relative to the background's own view: what is copied comes after the pool's
        instances, and only then the canvas may grow (X-Paste, `both`).
        """
        if self._settings.layout == "reference":
            yield from self._like_reference(rng, row, view.size_hw)
            return
        low, high = self._settings.instances
        count = int(rng.integers(low, high + 1))
        by_present = self._settings.category.rule == "present"
        present = self._backgrounds.present_category_ids(row).tolist() if by_present else ()
        rows = self._sampler.draw(rng, count, present)
        looks = draw_looks(rng, len(rows), self._settings)
        if self._settings.place.rule == "space-maximize":
            yield from self._in_free_circles(rng, rows, looks, self._occupied(row, view, copied))
        else:
            yield from self._one_by_one(rng, rows, looks, view.size_hw)

    def _one_by_one(
        self, rng: np.random.Generator, rows: Sequence[int], looks: Sequence[Look], canvas_hw: SizeHW
    ) -> Iterator[Placement | str]:
        """Each sized and placed by the rules, whatever else is there."""
        draws = rng.random((len(rows), 3)).tolist()
        normals = rng.standard_normal(len(rows)).tolist()
        for instance, look, (uniform, y, x), normal in zip(rows, looks, draws, normals, strict=True):
            category_id = self._pool.category_id(instance)
            own_hw = self._pool.size_hw(instance)
            usual = self.sizes.of(category_id)
            size_hw = draw_size_hw(own_hw, canvas_hw, self._settings.size, usual, normal, uniform)
            if problem := self._problem(instance, size_hw, canvas_hw):
                yield problem
                continue
            outer_hw = turned_size_hw(size_hw, look.angle_deg)
            reach_px = mask_reach_px(outer_hw, self._settings.mask_rate)
            corner = corner_or_problem((y, x), outer_hw, canvas_hw, self._settings.place, reach_px)
            yield corner if isinstance(corner, str) else self._placement(instance, size_hw, corner, look)

    def _problem(self, row: int, size_hw: SizeHW, canvas_hw: SizeHW) -> str | None:
        """Why an instance is not pasted with this size, if it is not."""
        settings = self._settings.size
        return cutout_problem(self._pool.size_hw(row), settings) or size_problem(size_hw, canvas_hw, settings)

    def _placement(self, row: int, size_hw: SizeHW, corner: tuple[int, int], look: Look) -> Placement:
        return Placement(
            instance_id=self._pool.instance_ids[row],
            category_id=self._pool.category_id(row),
            size_hw=size_hw,
            top_left_yx=corner,
            flip=look.flip,
            angle_deg=look.angle_deg,
            blend=look.blend,
            motion=look.motion,
            colour=look.colour,
        )

    def _like_reference(
        self, rng: np.random.Generator, row: int, canvas_hw: SizeHW
    ) -> Iterator[Placement | str]:
        """The boxes of an annotated background other than `row`, filled with instances of their categories.

        The whole layout is scaled to fit times U(0.8, 1.0), and lies anywhere inside. Source: X-Paste,
        `reference`.
        """
        backgrounds = self._backgrounds
        other = self._another(rng, row)
        size_hw = backgrounds.size_hw(other)
        scale = min(c / s for c, s in zip(canvas_hw, size_hw, strict=True)) * rng.uniform(*_LAYOUT_SCALE)
        shift = [u * (c - s * scale) for u, c, s in zip(rng.random(2), canvas_hw, size_hw, strict=True)]
        boxes = [a for a in backgrounds.annotations(other) if not a.iscrowd]
        for annotation, look in zip(boxes, draw_looks(rng, len(boxes), self._settings), strict=True):
            instance = self._sampler.draw_of(rng, annotation.category_id)
            if instance is None:
                yield "no_instance_of_category"
                continue
            x, y, width, height = annotation.bbox_xywh
            target_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
            if problem := self._problem(instance, target_hw, canvas_hw):
                yield problem
                continue
            outer_hw = turned_size_hw(target_hw, look.angle_deg)
            centre = (shift[0] + (y + height / 2) * scale, shift[1] + (x + width / 2) * scale)
            corner = (round(centre[0] - outer_hw[0] / 2), round(centre[1] - outer_hw[1] / 2))
            yield self._placement(instance, target_hw, corner, look)

    def _occupied(self, row: int, view: View, copied: Copied | None) -> np.ndarray:
        """(H, W) uint8, 1 where the background's own or copied objects are; the view's size."""
        occupied = np.zeros(view.size_hw, np.uint8)
        shown = [show_layers(self._backgrounds.annotations(row), view)]
        if copied:
            shown.append(show_layers(copied_annotations(copied, self._backgrounds), copied.view))
        for _, (mask, (top, left)) in chain.from_iterable(shown):
            seen = occupied[top : top + mask.shape[0], left : left + mask.shape[1]]
            seen |= mask[: seen.shape[0], : seen.shape[1]]
        return occupied

    def _in_free_circles(
        self, rng: np.random.Generator, rows: Sequence[int], looks: Sequence[Look], occupied: np.ndarray
    ) -> Iterator[Placement | str]:
        """Space Maximize Paste (EM-Paste, Algorithm 2): nothing overlaps.

        The object's enclosing circle, turned with it, is centred on the largest free circle and fits
        inside it, its dilated mask too. What is occupied afterwards is the object itself.
        """
        canvas_hw = (occupied.shape[0], occupied.shape[1])
        factors = rng.uniform(*self._settings.size.circle_factor, size=len(rows)).tolist()
        for instance, look, factor in zip(rows, looks, factors, strict=True):
            free, own = largest_free_circle(occupied), self._circle(instance)
            if own is None:
                yield "empty_mask"
                continue
            own_hw = self._pool.size_hw(instance)
            turned_hw = turned_size_hw(own_hw, look.angle_deg)
            scale = factor * scale_to_fit(free, own, turned_hw, self._settings.mask_rate)
            size_hw = (round(own_hw[0] * scale), round(own_hw[1] * scale))
            if problem := self._problem(instance, size_hw, canvas_hw):
                yield "no_room" if problem == "too_small" else problem
                continue
            placement = self._placement(instance, size_hw, (0, 0), look)
            placement = _centred(placement, own, own_hw, free)
            _occupy(occupied, self._pool.instance(instance).rgba, placement, self._settings.mask_rate)
            yield placement

    def _circle(self, row: int) -> Circle | None:
        """The enclosing circle of an instance, found once."""
        if row not in self._circles:
            self._circles[row] = enclosing_circle(self._pool.instance(row).rgba[..., 3])
        return self._circles[row]


def _centred(placement: Placement, own: Circle, own_hw: SizeHW, free: Circle) -> Placement:
    """Moved so that the cut-out's circle is concentric with the free one, to the pixel."""
    y, x = (c * s / o for c, s, o in zip(own.centre_yx, placement.size_hw, own_hw, strict=True))
    if placement.flip:
        x = placement.size_hw[1] - x
    turned = turned_point_yx((y, x), placement.size_hw, placement.angle_deg)
    corner = (round(free.centre_yx[0] - turned[0]), round(free.centre_yx[1] - turned[1]))
    return replace(placement, top_left_yx=corner)


def _occupy(occupied: np.ndarray, rgba: np.ndarray, placement: Placement, mask_rate: float) -> None:
    """Mark every pixel that shows anything of the placement; of its rectangle corners may lie outside."""
    patch = make_patch(rgba, placement, mask_rate)
    top, left = patch.top_left_yx
    y, x = max(0, -top), max(0, -left)
    target = occupied[max(0, top) : top + patch.mask.shape[0], max(0, left) : left + patch.mask.shape[1]]
    shown = patch.alpha[y : y + target.shape[0], x : x + target.shape[1]] > 0
    target |= shown.view(np.uint8)
