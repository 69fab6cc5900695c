"""How many instances of a pool are no good: a wrong mask, or another category.

    python benchmarks/pool_validity.py RUN [--out DIR] [--sheet FILE.png]

RUN was made by `xpaste pool build --preset benchmarks/mini_lvis/pool.yaml`. No mask was given for what the
embedded generator draws; but it was taught from one shipped object for each category, so the true mask is
that object, registered onto the image (see `registration.py`). An instance is invalid if its mask's IoU with
that is under 0.5, or if the object of another of the 32 categories fits the image better. CLIP, by which
instances are selected, has no part in it.

First the measure itself is judged, by rendered scenes whose masks are known. Then what the run's selection
keeps, at the bar of preset `demo` and at others. Exits with 1 if a gate is missed.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measuring import RESULTS, Gate, finish
from registration import coarse_fits, register
from threadpoolctl import threadpool_limits
from true_masks import iou

from xpaste_ray.config import PoolSettings
from xpaste_ray.embedded import DIFFUSION_CATEGORIES, SIDE_PX
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.masks import OBJECT_ABOVE
from xpaste_ray.pool.cutout import OBJECTS
from xpaste_ray.records import instance_id, instance_ids
from xpaste_ray.rng import rng_for
from xpaste_ray.runs import RunDir, open_parquet, read_json, write_whole
from xpaste_ray.selection import select
from xpaste_ray.unit_files import read_unit

SEED = 20_270_000  # no training draw and no preset uses it
SCENES_PER_CATEGORY = 6
PROCESSES = 2
PRESET_BAR = 55.0
BARS = (-100.0, 37.0, PRESET_BAR, 70.0, 80.0, 85.0)
"""Of `select.min_clip_logit`; the first keeps all."""
MIN_IOU = 0.5
MOST_OF_A_GAIN = 0.25
"""What a rival leaves unexplained is not brought below this part of it by refining its pose."""
MOST_INVALID = 0.07


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """An image that should show a category, and a mask of it. picture: (S, S, 3) uint8. mask: (S, S) bool."""

    name: str
    category: str
    picture: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, slots=True)
class Verdict:
    """iou: of the mask with the registered object of its category. unexplained, rival_unexplained: of that
    object, and of the best one of another category, `rival`: in its coarse pose, if it cannot win."""

    name: str
    category: str
    iou: float
    unexplained: float
    rival: str
    rival_unexplained: float

    @property
    def wrong_category(self) -> bool:
        return self.rival_unexplained < self.unexplained

    @property
    def invalid(self) -> bool:
        return self.wrong_category or self.iou < MIN_IOU


def judge(shown: Sequence[Shown]) -> list[Verdict]:
    pictures = np.stack([one.picture for one in shown])
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), one_thread) as pool:
        fits = list(pool.map(coarse_fits, [pictures] * len(DIFFUSION_CATEGORIES), DIFFUSION_CATEGORIES))
        best = np.stack([one.min(axis=1) for one in fits], axis=1)  # (N, categories)
        tasks = []
        for row, one in enumerate(shown):
            own = DIFFUSION_CATEGORIES.index(one.category)
            rival = int(np.argmin(np.where(np.arange(len(fits)) == own, np.inf, best[row])))
            tasks.append((one, fits[own][row], DIFFUSION_CATEGORIES[rival], fits[rival][row]))
        return list(pool.map(_verdict, *zip(*tasks, strict=True), chunksize=16))


def one_thread() -> None:
    """In each process: threads for matrices as small as these only wait for each other."""
    threadpool_limits(1)
    cv2.setNumThreads(1)


def _verdict(shown: Shown, fits: np.ndarray, rival: str, rival_fits: np.ndarray) -> Verdict:
    own = register(shown.picture, shown.category, fits)
    rival_left = float(rival_fits.min())
    if own.unexplained > rival_left * MOST_OF_A_GAIN:
        rival_left = register(shown.picture, rival, rival_fits).unexplained
    overlap = float(iou(shown.mask, own.alpha > 0.5))
    return Verdict(shown.name, shown.category, overlap, own.unexplained, rival, rival_left)


def rendered_scenes() -> list[Shown]:
    """As the generator was taught, with their own masks."""
    found = []
    for category in DIFFUSION_CATEGORIES:
        for i in range(SCENES_PER_CATEGORY):
            rng = rng_for(SEED, "pool validity", category, i)
            picture, alpha = compose_scene(rng, category, DIFFUSION_STYLE, SIDE_PX)
            found.append(Shown(f"{category} {i}", category, picture, alpha > 0.5))
    return found


def instances_of(run: RunDir, settings: PoolSettings) -> list[Shown]:
    """Of each usable proposal of the run what an instance would have of it, selected or not."""
    cut = OBJECTS[settings.cutout.object]
    return [
        Shown(
            instance_id(candidate.prompt.candidate_id, one.method, one.ordinal), candidate.prompt.category,
            candidate.image, cut(one.mask) > OBJECT_ABOVE,
        )
        for name in sorted(run.unit_sizes())
        for candidate in read_unit(run, name)
        for one in candidate.proposals
        if candidate.image is not None and one.status == "ok" and one.mask is not None
    ]  # fmt: skip


def kept_at(bar: float, run: RunDir, settings: PoolSettings) -> list[str]:
    """The instances that the run's selection keeps with this bar."""
    rule = settings.select.model_copy(update={"min_clip_logit": bar})
    kept = select(open_parquet(run.scores).read(), rule, settings.seed).kept
    ids: list[str] = instance_ids(kept["candidate_id"], kept["method"], kept["ordinal"]).to_pylist()
    return ids


def told_of(bar: float, kept: Sequence[Verdict]) -> dict[str, Any]:
    return {
        "min_clip_logit": bar,
        "kept": len(kept),
        "invalid": _share([one.invalid for one in kept]),
        "low_iou": _share([one.iou < MIN_IOU for one in kept]),
        "wrong_category": _share([one.wrong_category for one in kept]),
        "mean_iou": float(np.mean([one.iou for one in kept])) if kept else None,
    }


def _share(told: Sequence[bool]) -> float:
    return float(np.mean(told)) if told else 0.0


def draw_sheet(shown: Sequence[Shown], verdicts: Sequence[Verdict], columns: int = 16) -> np.ndarray:
    """(H, W, 3) uint8 BGR: the instances that fit worst first; the mask's outline, IoU, and how much is left
    unexplained; the same of a rival that fits better."""
    order = sorted(range(len(shown)), key=lambda i: (not verdicts[i].invalid, verdicts[i].iou))
    tiles = []
    for i in order[: columns * 8]:
        tile = cv2.resize(shown[i].picture[..., ::-1], (128, 128), interpolation=cv2.INTER_NEAREST)
        mask = cv2.resize(shown[i].mask.astype(np.uint8), (128, 128), interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, contours, -1, (255, 255, 0), 1)
        one = verdicts[i]
        texts = [f"{one.category[:14]} {one.iou:.2f}", f"left {one.unexplained:.2f}"]
        texts += [f"{one.rival[:12]} {one.rival_unexplained:.2f}"] if one.wrong_category else []
        for line, text in enumerate(texts):
            cv2.putText(
                tile, text, (2, 12 + 12 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.32, (0, 0, 200), 1, cv2.LINE_AA
            )
        tiles.append(tile)
    tiles += [np.full((128, 128, 3), 255, np.uint8)] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for pool_validity.json")
    parser.add_argument("--sheet", type=Path, help="a picture of the worst instances")
    given = parser.parse_args()
    measured = judge(rendered_scenes())
    scenes = {
        "scenes": len(measured),
        "mean_iou": float(np.mean([one.iou for one in measured])),
        "lowest_iou": min(one.iou for one in measured),
        "iou_above_90": _share([one.iou > 0.9 for one in measured]),
        "right_category": _share([not one.wrong_category for one in measured]),
        "median_unexplained": float(np.median([one.unexplained for one in measured])),
    }
    print(scenes, flush=True)
    run = RunDir(given.run)
    settings = PoolSettings.model_validate(read_json(run.run_json)["settings"])
    shown = instances_of(run, settings)
    verdicts = {one.name: one for one in judge(shown)}
    rows, at_bar = [], {}
    for bar in BARS:
        at_bar[bar] = [verdicts[name] for name in kept_at(bar, run, settings)]
        rows.append(told_of(bar, at_bar[bar]))
        print(rows[-1])
    if given.sheet:
        write_whole(given.sheet, bytes(cv2.imencode(".png", draw_sheet(shown, list(verdicts.values())))[1]))
    (preset,) = (row for row in rows if row["min_clip_logit"] == PRESET_BAR)
    finish(
        "pool_validity",
        [
            Gate("registered IoU, rendered scenes", scenes["mean_iou"], ">=", 0.9),
            Gate("category right, rendered scenes", scenes["right_category"], ">=", 0.98),
            Gate("invalid instances at the preset's bar", preset["invalid"], "<=", MOST_INVALID),
        ],
        {
            "scenes": scenes,
            "instances": len(verdicts),
            "bars": rows,
            "invalid_at_the_bar": [asdict(one) for one in at_bar[PRESET_BAR] if one.invalid],
        },
        given.out,
    )


if __name__ == "__main__":
    main()
