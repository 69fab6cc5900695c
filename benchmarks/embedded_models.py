"""How good the embedded miniature models are, on fresh random draws, against their gates.

    python benchmarks/embedded_models.py

writes `benchmarks/results/embedded_models.json` and the picture `embedded_models.png` (4 seeds of
every category), prints a table, and exits with 1 if a gate is missed.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, Gate, finish

from xpaste_ray.categories import display_name
from xpaste_ray.config import load_settings
from xpaste_ray.embedded import CLIP_CATEGORIES, CLIP_DIR, DIFFUSION_CATEGORIES, DIFFUSION_DIR, SIDE_PX
from xpaste_ray.embedded.scenes import CLIP_STYLE, DIFFUSION_STYLE, SceneStyle, compose_scene
from xpaste_ray.masks import encode_png
from xpaste_ray.models.clip import ClipModel
from xpaste_ray.models.grabcut import grabcut_mask
from xpaste_ray.pipelines.pools import select_and_seal
from xpaste_ray.pipelines.scores import compact_scores, scores_recipe
from xpaste_ray.pipelines.steps import plan_steps, resolve_inputs, units_recipe
from xpaste_ray.pipelines.units import write_units
from xpaste_ray.records import Candidate, unit_from_row
from xpaste_ray.report import ConsoleProgress
from xpaste_ray.rng import int_seed_for, rng_for
from xpaste_ray.runs import RunDir, open_parquet
from xpaste_ray.stages.generate import GenerateStage
from xpaste_ray.stages.score import ScoreStage
from xpaste_ray.stages.segment import SegmentStage
from xpaste_ray.unit_files import write_unit

SEED = 20_260_000  # no training draw and no preset uses it
THREADS = 2
SCENES_PER_CATEGORY = 20
IMAGES_PER_CATEGORY = 20
PICTURE_SEEDS = 4


def measure_clip(model: ClipModel) -> dict[str, Any]:
    """Fresh compositions of all CLIP categories over the photographs."""
    style = replace(CLIP_STYLE, backgrounds=("photo",))
    truth = np.repeat(np.arange(len(CLIP_CATEGORIES)), SCENES_PER_CATEGORY)
    scenes = [
        compose_scene(rng_for(SEED, "clip", name, i), name, style, SIDE_PX)[0]
        for name in CLIP_CATEGORIES
        for i in range(SCENES_PER_CATEGORY)
    ]
    logits = 100 * model.embed_images(scenes) @ _texts(model, CLIP_CATEGORIES).T
    matching = logits[np.arange(len(truth)), truth]
    other = logits[truth[:, None] != np.arange(len(CLIP_CATEGORIES))]
    return {
        "categories": len(CLIP_CATEGORIES),
        "scenes": len(scenes),
        "top1": _mean(logits.argmax(axis=1) == truth),
        "auc": auc(matching, other),
        "matching_logit_percentiles_5_50_95": _percentiles(matching),
        "other_logit_percentiles_5_50_95": _percentiles(other),
    }


def measure_grabcut() -> dict[str, Any]:
    """Mean IoU with the true alpha on plain and on softly shaded backgrounds."""
    method = load_settings("demo").segment.methods["grabcut"]
    result: dict[str, Any] = {}
    for kind, backgrounds in (("plain", ("white", "plain")), ("shaded", ("shaded",))):
        style: SceneStyle = replace(DIFFUSION_STYLE, backgrounds=backgrounds)
        overlaps = []
        for name in DIFFUSION_CATEGORIES:
            for i in range(10):
                image, alpha = compose_scene(rng_for(SEED, "grabcut", kind, name, i), name, style, SIDE_PX)
                seed = int_seed_for(SEED, "grabcut", kind, name, i, bits=31)
                found = grabcut_mask(image, method.border_px, method.iterations, seed) > 128
                true = alpha > 0.5
                overlaps.append((found & true).sum() / (found | true).sum())
        result[f"iou_{kind}"] = _mean(overlaps)
    return result


def measure_chain(clip: ClipModel, run: RunDir) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """Generate, segment, score and select as the demo does, with another seed and without Ray.

    Returns the figures of diffusion, those of the chain, and the picture.
    """
    overrides = (
        f"seed={SEED}",
        f"prompts.per_category={IMAGES_PER_CATEGORY}",
        f"sources.diffusion.threads={THREADS}",
    )
    inputs = resolve_inputs(load_settings("demo", overrides))
    settings, steps = inputs.settings, plan_steps(inputs)
    generate = GenerateStage(settings.sources["diffusion"], inputs.sources["diffusion"].recipe["model"])
    segment, score = SegmentStage(settings.segment), ScoreStage(settings.score)
    torch.set_num_threads(THREADS)
    write_units(run, inputs)
    units = open_parquet(run.units).read()
    made: list[Candidate] = []
    seconds = 0.0
    for number, unit in enumerate(map(unit_from_row, units.to_pylist())):
        wanted = [Candidate(prompt) for prompt in unit.prompts]
        if number == 0:
            generate(wanted)  # warm-up
        began = time.perf_counter()
        images = generate(wanted)
        seconds += time.perf_counter() - began
        made += images
        recipe = steps["score"].fingerprint
        write_unit(run, unit.round, unit.number, score(segment(images)), recipe, inputs.embedding_dim)
    compact_scores(run, scores_recipe(units_recipe(inputs), steps["score"].fingerprint))
    counts = select_and_seal(
        run, settings, inputs.categories, steps["select"], settings.resources, ConsoleProgress()
    )
    chain = {**counts, "min_clip_logit": settings.select.min_clip_logit}
    return _recognition(clip, made) | {"seconds_per_image": seconds / len(made)}, chain, picture(made)


def _recognition(clip: ClipModel, made: list[Candidate]) -> dict[str, Any]:
    """How many images CLIP takes for their category, among all categories that it knows."""
    logits = clip.embed_images([_shown(candidate) for candidate in made]) @ _texts(clip, CLIP_CATEGORIES).T
    found = [CLIP_CATEGORIES[best] for best in logits.argmax(axis=1)]
    hits: dict[str, list[bool]] = {}
    for candidate, name in zip(made, found, strict=True):
        hits.setdefault(candidate.prompt.category, []).append(name == candidate.prompt.category)
    by_category = {name: _mean(values) for name, values in hits.items()}
    return {
        "categories": len(by_category),
        "images": len(made),
        "recognised": _mean([hit for values in hits.values() for hit in values]),
        "worst": min(by_category.values()),
        "recognised_by_category": by_category,
        "threads": THREADS,
    }


def _shown(candidate: Candidate) -> np.ndarray:
    """The image, or a white one where none could be made."""
    blank = np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8)
    return blank if candidate.image is None else candidate.image


def picture(made: list[Candidate]) -> np.ndarray:
    """All categories in two bands, `PICTURE_SEEDS` images each, one below the other, twice as large."""
    by_category: dict[str, list[np.ndarray]] = {}
    for candidate in made:
        by_category.setdefault(candidate.prompt.category, []).append(_shown(candidate))
    columns = [np.concatenate(images[:PICTURE_SEEDS]) for images in by_category.values()]
    half = (len(columns) + 1) // 2
    bands = [np.concatenate(columns[i : i + half], axis=1) for i in (0, half)]
    return np.concatenate(bands).repeat(2, axis=0).repeat(2, axis=1)


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """The chance that a random positive lies above a random negative; ties count half."""
    below = np.searchsorted(np.sort(negative), positive, side="left")
    not_above = np.searchsorted(np.sort(negative), positive, side="right")
    return float((below + not_above).mean() / 2 / len(negative))


def folder_mb() -> float:
    files = [path for folder in (CLIP_DIR, DIFFUSION_DIR) for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e6


def _texts(model: ClipModel, names: tuple[str, ...]) -> np.ndarray:
    template = load_settings("demo").score.template
    return model.embed_texts([template.format(name=display_name(name)) for name in names])


def _mean(values: Any) -> float:
    return float(np.mean(values))


def _percentiles(values: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in np.percentile(values, (5, 50, 95))]


def main() -> None:
    torch.set_num_threads(THREADS)
    clip_model = ClipModel(CLIP_DIR)
    clip, grabcut = measure_clip(clip_model), measure_grabcut()
    with tempfile.TemporaryDirectory() as folder:
        diffusion, chain, grid = measure_chain(clip_model, RunDir(Path(folder)))
    kept = chain["candidates"]["kept"] / chain["candidates"]["made"]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "embedded_models.png").write_bytes(encode_png(grid))
    gates = [
        Gate("CLIP top-1", clip["top1"], ">=", 0.95),
        Gate("CLIP AUC", clip["auc"], ">=", 0.97),
        Gate("diffusion recognised", diffusion["recognised"], ">=", 0.75),
        Gate("GrabCut IoU, plain", grabcut["iou_plain"], ">=", 0.85),
        Gate("GrabCut IoU, shaded", grabcut["iou_shaded"], ">=", 0.85),
        Gate("chain kept", kept, ">=", 0.60),
        Gate("diffusion s/image", diffusion["seconds_per_image"], "<=", 0.6),
        Gate("models MB", folder_mb(), "<=", 48.0),
    ]
    details = {"clip": clip, "diffusion": diffusion, "grabcut": grabcut, "chain": chain}
    finish("embedded_models", gates, details)


if __name__ == "__main__":
    main()
