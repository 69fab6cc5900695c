"""Planning: every random choice of a composed image, made before a pixel is touched."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.compose.looks import Look, draw_looks
from xpaste_ray.compose.patch import make_patch, turned_point_yx, turned_size_hw
from xpaste_ray.compose.placement import (
    Circle,
    anywhere,
    enclosing_circle,
    inside,
    inside_fraction,
    largest_free_circle,
)
from xpaste_ray.compose.plan import Copied, PastePlan, Placement, SizeHW, View
from xpaste_ray.compose.sampling import InstanceSampler
from xpaste_ray.compose.sizes import draw_size_hw, load_size_table, size_problem
from xpaste_ray.compose.views import copied_annotations, draw_view, show_masks
from xpaste_ray.config import ComposeSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.pool import Pool
from xpaste_ray.rng import rng_for

_MARGIN_PX = 2.0  # resampling spreads a cut-out's edge by a pixel, and its corner is rounded to one
_LAYOUT_SCALE = (0.8, 1.0)  # X-Paste, `reference`


class Planner:
    """Makes plans. Plan number i depends on the arguments and i alone, not on any other plan."""

    def __init__(self, pool: Pool, backgrounds: Backgrounds, settings: ComposeSettings, seed: int) -> None:
        """ConfigError if the pool is empty, or a rule needs annotated backgrounds and there are none."""
        self._pool, self._backgrounds, self._settings, self._seed = pool, backgrounds, settings, seed
        self._sampler = InstanceSampler(pool, settings.category, settings.draw)
        self._sizes = load_size_table(settings.size.table)
        annotated = settings.copy_rule != "pool" or settings.layout == "reference"
        if annotated and not len(backgrounds.annotated_rows):
            raise ConfigError(
                f"copy_rule={settings.copy_rule}, layout={settings.layout} take objects and layouts from "
                "annotated backgrounds and these have none: give a COCO or LVIS file as backgrounds"
            )
        self._circles: dict[int, Circle | None] = {}

    def plan(self, sample: int) -> PastePlan:
        rng = rng_for(self._seed, "plan", sample)
        settings, backgrounds = self._settings, self._backgrounds
        row = int(rng.integers(len(backgrounds)))
        view = draw_view(rng, backgrounds.size_hw(row), settings.canvas)
        from_pool, copies = self._what_to_paste(rng)
        copied = self._copied(rng_for(self._seed, "copied", sample)) if copies else None
        canvas_hw = view.size_hw
        if copied:  # as in X-Paste's self_copy, the canvas holds both views
            (height, width), (other_height, other_width) = view.size_hw, copied.view.size_hw
            canvas_hw = (max(height, other_height), max(width, other_width))
        placements: list[Placement] = []
        skipped: list[str] = []
        if from_pool:
            for outcome in self._placements(rng, row, view, copied, canvas_hw):
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
        return rule != "self", rule != "pool"

    def _copied(self, rng: np.random.Generator) -> Copied | None:
        """k objects of one annotated background, k uniform in 0 .. all (X-Paste, 1.11)."""
        rows = self._backgrounds.annotated_rows
        row = int(rows[rng.integers(len(rows))])
        view = draw_view(rng, self._backgrounds.size_hw(row), self._settings.canvas)
        ids = [a.id for a in self._backgrounds.annotations(row) if not a.iscrowd]
        chosen = rng.permutation(len(ids))[: rng.integers(len(ids) + 1)]
        if not len(chosen):
            return None
        return Copied(self._backgrounds.id(row), view, tuple(ids[i] for i in sorted(chosen)))

    def _placements(
        self, rng: np.random.Generator, row: int, view: View, copied: Copied | None, canvas_hw: SizeHW
    ) -> Iterator[Placement | str]:
        """A placement for every drawn instance, or the reason why it cannot be placed."""
        if self._settings.layout == "reference":
            yield from self._like_reference(rng, canvas_hw)
            return
        low, high = self._settings.instances
        count = int(rng.integers(low, high + 1))
        by_present = self._settings.category.rule == "present"
        present = self._backgrounds.present_category_ids(row).tolist() if by_present else ()
        rows = self._sampler.draw(rng, count, present)
        looks = draw_looks(rng, len(rows), self._settings)
        if self._settings.place.rule == "space-maximize":
            yield from self._in_free_circles(rows, looks, self._occupied(row, view, copied, canvas_hw))
            return
        draws = rng.random((len(rows), 3)).tolist()
        normals = rng.standard_normal(len(rows)).tolist()
        place = anywhere if self._settings.place.rule == "centre" else inside
        min_inside = self._settings.place.min_inside_fraction
        for instance, look, (uniform, y, x), normal in zip(rows, looks, draws, normals, strict=True):
            category_id = self._pool.category_id(instance)
            own_hw = self._pool.size_hw(instance)
            usual = self._sizes.of(category_id)
            size_hw = draw_size_hw(own_hw, canvas_hw, self._settings.size, usual, normal, uniform)
            if problem := size_problem(size_hw, canvas_hw, self._settings.size):
                yield problem
                continue
            outer_hw = turned_size_hw(size_hw, look.angle_deg)
            corner = place((y, x), outer_hw, canvas_hw)
            if min_inside and inside_fraction(corner, outer_hw, canvas_hw) < min_inside:
                yield "cut_by_border"
                continue
            yield self._placement(instance, size_hw, corner, look)

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

    def _like_reference(self, rng: np.random.Generator, canvas_hw: SizeHW) -> Iterator[Placement | str]:
        """The boxes of another annotated background, filled with instances of their categories.

        The whole layout is scaled to fit times U(0.8, 1.0), and lies anywhere inside. Source: X-Paste,
        `reference`.
        """
        backgrounds = self._backgrounds
        row = int(backgrounds.annotated_rows[rng.integers(len(backgrounds.annotated_rows))])
        size_hw = backgrounds.size_hw(row)
        scale = min(c / s for c, s in zip(canvas_hw, size_hw, strict=True)) * rng.uniform(*_LAYOUT_SCALE)
        shift = [u * (c - s * scale) for u, c, s in zip(rng.random(2), canvas_hw, size_hw, strict=True)]
        boxes = [a for a in backgrounds.annotations(row) if not a.iscrowd]
        for annotation, look in zip(boxes, draw_looks(rng, len(boxes), self._settings), strict=True):
            instance = self._sampler.draw_of(rng, annotation.category_id)
            if instance is None:
                yield "no_instance_of_category"
                continue
            x, y, width, height = annotation.bbox_xywh
            target_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
            if problem := size_problem(target_hw, canvas_hw, self._settings.size):
                yield problem
                continue
            outer_hw = turned_size_hw(target_hw, look.angle_deg)
            centre = (shift[0] + (y + height / 2) * scale, shift[1] + (x + width / 2) * scale)
            corner = (round(centre[0] - outer_hw[0] / 2), round(centre[1] - outer_hw[1] / 2))
            yield self._placement(instance, target_hw, corner, look)

    def _occupied(self, row: int, view: View, copied: Copied | None, canvas_hw: SizeHW) -> np.ndarray:
        """(H, W) uint8, 1 where the background's own or copied objects are."""
        occupied = np.zeros(canvas_hw, np.uint8)
        for _, mask in show_masks(self._backgrounds.annotations(row), view):
            occupied[: mask.shape[0], : mask.shape[1]] |= mask
        if copied:
            for _, mask in show_masks(copied_annotations(copied, self._backgrounds), copied.view):
                occupied[: mask.shape[0], : mask.shape[1]] |= mask
        return occupied

    def _in_free_circles(
        self, rows: Sequence[int], looks: Sequence[Look], occupied: np.ndarray
    ) -> Iterator[Placement | str]:
        """Space Maximize Paste (EM-Paste, Algorithm 2): nothing overlaps.

        The object's enclosing circle, turned with it, is centred on the largest free circle and fits
        inside it. What is occupied afterwards is the object itself.
        """
        canvas_hw = (occupied.shape[0], occupied.shape[1])
        for instance, look in zip(rows, looks, strict=True):
            free, own = largest_free_circle(occupied), self._circle(instance)
            if own is None:
                yield "empty_mask"
                continue
            own_hw = self._pool.size_hw(instance)
            scale = max(0.0, free.radius - _MARGIN_PX) / own.radius
            size_hw = (max(1, round(own_hw[0] * scale)), max(1, round(own_hw[1] * scale)))
            if problem := size_problem(size_hw, canvas_hw, self._settings.size):
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
    """Mark every pixel that shows anything of the placement; it lies inside, but for a dilated mask."""
    patch = make_patch(rgba, placement, mask_rate)
    top, left = patch.top_left_yx
    y, x = max(0, -top), max(0, -left)
    target = occupied[max(0, top) : top + patch.mask.shape[0], max(0, left) : left + patch.mask.shape[1]]
    shown = patch.alpha[y : y + target.shape[0], x : x + target.shape[1]] > 0
    target |= shown.view(np.uint8)
