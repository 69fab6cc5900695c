"""Speed of the compositor: on one core beside two others measured in the same run, then on two workers.

floor: what nothing can be faster than with these libraries: JPEG decode and encode, for each instance
one resize and one blend inside its rectangle, and the RLE of the final masks from their rectangles.
full canvas: the plain way: every patch padded to the canvas, blended there in float32, its mask
subtracted from all earlier ones, boxes and RLE from full masks.

python benchmarks/compose.py    about 8 minutes on 2 cores
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from material import object_pool, photo_folder
from measuring import Gate, finish
from pycocotools import mask as coco_mask
from scaling import measure_scaling

from xpaste_ray.backgrounds import Backgrounds, open_or_index, resolve_source
from xpaste_ray.compose.annotate import annotate
from xpaste_ray.compose.blend import prepare
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.patch import Patch, make_patch
from xpaste_ray.compose.plan import PastePlan
from xpaste_ray.compose.render import render
from xpaste_ray.compose.visibility import visible_masks
from xpaste_ray.config import ComposeSettings, DatasetSettings, load
from xpaste_ray.formats.images import ImageEncoding, encode_image
from xpaste_ray.masks import shape_of_part
from xpaste_ray.pool import Pool
from xpaste_ray.worker import prepare_worker

SAMPLES = 40
ROUNDS = 7
FLOOR_LIMIT = {(640, 10): 1.15, (1024, 10): 1.10}
ENCODING = ImageEncoding()


@dataclass(frozen=True, slots=True)
class Case:
    side_px: int
    pastes: int
    blend: str

    @property
    def name(self) -> str:
        return f"{self.side_px}/{self.pastes} {self.blend}"


@dataclass(frozen=True, slots=True)
class Given:
    """What all three compositors get for one sample, made before any clock runs.

    visible: (mask inside its rectangle, its corner) of each object of which anything is seen.
    """

    plan: PastePlan
    jpeg: bytes
    cutouts: list[np.ndarray]
    patches: list[Patch]
    visible: list[tuple[np.ndarray, tuple[int, int]]]


def options_of(case: Case) -> dict[str, str]:
    """Of `compose`, by path: sizes of 100 to 200 px, on backgrounds of the canvas' own size."""
    return {
        "canvas.fit": "keep",
        "canvas.flip_probability": "0",
        "instances": f"[{case.pastes}, {case.pastes}]",
        "size.rule": "pixels",
        "size.pixels": "[100, 200]",
        "place.rule": "inside",
        "blend": f"[{case.blend}]",
        "occlusion.rule": "visible-fraction",
    }


def settings_of(case: Case) -> ComposeSettings:
    """Preset xpaste with the case's options."""
    changes = [f"compose.{path}={value}" for path, value in options_of(case).items()]
    return load(DatasetSettings, "xpaste", changes).compose


def given(plan: PastePlan, pool: Pool, backgrounds: Backgrounds) -> Given:
    rendered = render(plan, pool, backgrounds)
    cutouts = [pool.instance(pool.row_of_id[p.instance_id]).rgba for p in plan.placements]
    patches = [
        prepare(make_patch(rgba, placement, 1.0), placement.blend, None)
        for rgba, placement in zip(cutouts, plan.placements, strict=True)
    ]
    layers = [painted.layer for painted in rendered.painted]
    seen = zip(visible_masks([], layers), layers, strict=True)
    visible = [(mask, layer.top_left_yx) for mask, layer in seen if mask.any()]
    path = backgrounds.source.root / plan.background_id
    return Given(plan, path.read_bytes(), cutouts, patches, visible)


def floor(sample: Given) -> None:
    """With an alpha blend also where ours blends hard."""
    canvas = cv2.imdecode(np.frombuffer(sample.jpeg, np.uint8), cv2.IMREAD_COLOR)
    for rgba, placement in zip(sample.cutouts, sample.plan.placements, strict=True):
        height, width = placement.size_hw
        resized = cv2.resize(rgba, (width, height), interpolation=cv2.INTER_LINEAR)
        y, x = placement.top_left_yx
        part = canvas[y : y + height, x : x + width]
        colour, alpha = cv2.cvtColor(resized, cv2.COLOR_RGBA2BGR), cv2.extractChannel(resized, 3)
        weight = cv2.merge((alpha, alpha, alpha))
        rest = cv2.multiply(part, cv2.bitwise_not(weight), scale=1 / 255)
        cv2.add(cv2.multiply(colour, weight, scale=1 / 255), rest, dst=part)
    for mask, corner in sample.visible:
        shape_of_part(mask, corner, canvas.shape[:2])
    cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, ENCODING.quality])


def full_canvas(sample: Given, canvas: np.ndarray) -> list[tuple[str, tuple[int, int, int, int], int]]:
    """RLE, box and area of what is visible of each patch. canvas: (H, W, 3) uint8, painted on."""
    image = canvas.astype(np.float32)
    masks: list[np.ndarray] = []
    for patch in sample.patches:
        y, x = patch.top_left_yx
        height, width = patch.mask.shape
        padded = np.zeros((*canvas.shape[:2], 4), np.float32)
        padded[y : y + height, x : x + width] = np.dstack((patch.rgb, patch.alpha))
        mask = np.zeros(canvas.shape[:2], bool)
        mask[y : y + height, x : x + width] = patch.mask
        alpha = padded[..., 3:] / 255
        image = padded[..., :3] * alpha + image * (1 - alpha)
        masks = [earlier & ~mask for earlier in masks] + [mask]
    canvas[:] = image.round().astype(np.uint8)
    found = []
    for mask in masks:
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if len(columns):
            box = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
            rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
            found.append((rle["counts"].decode(), tuple(map(int, box)), int(mask.sum())))
    return found


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(case: Case, pool: Pool, backgrounds: Backgrounds) -> dict[str, Any]:
    """Milliseconds a sample: the three whole, and the steps of ours. Medians over the rounds."""
    settings = settings_of(case)
    compositor = Compositor(pool, backgrounds, settings, seed=0)
    samples = [given(compositor.plan(number), pool, backgrounds) for number in range(SAMPLES)]
    check_against_full_canvas(compositor, samples, backgrounds)

    def ours() -> None:  # as `compose_shard` does a shard
        plans = [compositor.plan(number) for number in range(SAMPLES)]
        for composed in compositor.render_all(plans):
            encode_image(composed.image, ENCODING)

    def least() -> None:
        for sample in samples:
            floor(sample)

    def plain() -> None:
        for sample, canvas in zip(samples[:3], canvases, strict=True):
            full_canvas(sample, canvas)

    def steps(number: int) -> dict[str, float]:
        found: dict[str, float] = {}
        began = time.perf_counter()

        def lap(name: str) -> None:
            nonlocal began
            now = time.perf_counter()
            found[name], began = now - began, now

        plan = compositor.plan(number)
        lap("plan")
        backgrounds.load(backgrounds.row_of_id(plan.background_id))
        lap("jpeg in")
        rendered = render(plan, pool, backgrounds)
        lap("render")
        found["render"] -= found["jpeg in"]
        annotate(plan, rendered, pool, backgrounds, settings.output)
        lap("annotate")
        encode_image(rendered.image, ENCODING)
        lap("jpeg out")
        return found

    laps: list[dict[str, float]] = []
    wholes: dict[str, list[float]] = {"ours": [], "floor": [], "full canvas": []}
    ours()
    least()
    for number in range(ROUNDS):
        canvases = [backgrounds.load(backgrounds.row_of_id(s.plan.background_id)) for s in samples[:3]]
        parts = [("ours", ours, SAMPLES), ("floor", least, SAMPLES), ("full canvas", plain, 3)]
        for name, work, count in parts if number % 2 else parts[::-1]:  # the machine's moods hit all alike
            wholes[name].append(1000 * seconds(work) / count)
        laps += [steps(number) for number in range(SAMPLES)]
    ratios = [mine / least for mine, least in zip(wholes["ours"], wholes["floor"], strict=True)]
    step_ms = {name: 1000 * statistics.median(lap[name] for lap in laps) for name in laps[0]}
    alone = step_ms["render"] + step_ms["annotate"]
    return {
        "case": case.name,
        "ours_ms": wholes["ours"],
        "floor_ms": wholes["floor"],
        "full_canvas_compositing_ms": wholes["full canvas"],
        "steps_ms": step_ms,
        "ratio_to_floor": statistics.median(ratios),
        "full_canvas_to_ours_compositing_alone": statistics.median(wholes["full canvas"]) / alone,
    }


def check_against_full_canvas(compositor: Compositor, samples: list[Given], backgrounds: Backgrounds) -> None:
    """Same visible masks, boxes and areas; same pixels up to rounding."""
    for sample in samples[:5]:
        composed = compositor.compose(sample.plan.sample)
        canvas = backgrounds.load(backgrounds.row_of_id(sample.plan.background_id))
        plain = full_canvas(sample, canvas)
        annotations = [(a.segmentation["counts"], a.bbox, a.area) for a in composed.sample.annotations]
        assert annotations == plain
        assert np.abs(composed.image.astype(int) - canvas).max() <= len(sample.patches)


def main() -> None:
    prepare_worker()
    gates, results = [], []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        pool = object_pool(work / "pool")
        for side_px in (640, 1024):
            source = resolve_source(photo_folder(work / f"photos-{side_px}", side_px))
            backgrounds = open_or_index(source, work / "cache")
            for pastes in (10, 20):
                for blend in ("hard", "alpha"):
                    case = Case(side_px, pastes, blend)
                    result = measure(case, pool, backgrounds)
                    results.append(result)
                    print_result(result)
                    if limit := FLOOR_LIMIT.get((side_px, pastes)):
                        gates.append(Gate(f"{case.name}: x floor", result["ratio_to_floor"], "<=", limit))
        scaling_gates, scaling = measure_scaling(work, pool)
    finish("compose", gates + scaling_gates, {"cases": results, "scaling": scaling})


def print_result(result: dict[str, Any]) -> None:
    steps = "  ".join(f"{name} {value:.2f}" for name, value in result["steps_ms"].items())
    print(
        f"{result['case']:<16} ours {statistics.median(result['ours_ms']):6.2f} ms   "
        f"floor {statistics.median(result['floor_ms']):6.2f} ms   x{result['ratio_to_floor']:.3f}   "
        f"full canvas x{result['full_canvas_to_ours_compositing_alone']:.0f} of our compositing   ({steps})",
        flush=True,
    )


if __name__ == "__main__":
    main()
