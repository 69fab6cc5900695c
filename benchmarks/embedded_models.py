"""How good the embedded miniature models are, on fresh random draws, against their gates.

    python benchmarks/embedded_models.py

writes `benchmarks/results/embedded_models.json` and the picture `embedded_models.png` (4 seeds of
every category), prints a table, and exits with 1 if a gate is missed.
"""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, Gate, finish

from xpaste_ray.categories import display_name, lvis_categories, pick_categories
from xpaste_ray.config import Settings, load_settings
from xpaste_ray.embedded import CLIP_CATEGORIES, CLIP_DIR, DIFFUSION_CATEGORIES, DIFFUSION_DIR, SIDE_PX
from xpaste_ray.embedded.scenes import CLIP_STYLE, DIFFUSION_STYLE, SceneStyle, compose_scene
from xpaste_ray.masks import encode_png
from xpaste_ray.models.clip import ClipModel
from xpaste_ray.models.grabcut import grabcut_mask
from xpaste_ray.prompts import expand_round
from xpaste_ray.records import SCORES, Candidate
from xpaste_ray.rng import int_seed_for, rng_for
from xpaste_ray.selection import SelectionRule, select
from xpaste_ray.stages.generate import GenerateStage
from xpaste_ray.stages.score import ScoreStage
from xpaste_ray.stages.segment import SegmentStage

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
    settings = load_settings("demo").segment
    result: dict[str, Any] = {}
    for kind, backgrounds in (("plain", ("white", "plain")), ("shaded", ("shaded",))):
        style: SceneStyle = replace(DIFFUSION_STYLE, backgrounds=backgrounds)
        overlaps = []
        for name in DIFFUSION_CATEGORIES:
            for i in range(10):
                image, alpha = compose_scene(rng_for(SEED, "grabcut", kind, name, i), name, style, SIDE_PX)
                seed = int_seed_for(SEED, "grabcut", kind, name, i, bits=31)
                found = grabcut_mask(image, settings.border_px, settings.iterations, seed) > 128
                true = alpha > 0.5
                overlaps.append((found & true).sum() / (found | true).sum())
        result[f"iou_{kind}"] = _mean(overlaps)
    return result


def measure_chain(settings: Settings, clip: ClipModel) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """Generate, segment, score and select as the demo does, with another seed.

    Returns the figures of diffusion, those of the chain, and the picture.
    """
    settings = settings.model_copy(update={"source": settings.source.model_copy(update={"threads": THREADS})})
    categories = pick_categories(lvis_categories(), DIFFUSION_CATEGORIES)
    stage = GenerateStage(settings.source, "benchmark")
    rounds = [
        [Candidate(prompt, "diffusion") for prompt in
         expand_round(categories, settings.prompts.template, index, SEED, "benchmark")]
        for index in range(IMAGES_PER_CATEGORY)
    ]  # fmt: skip
    size = settings.source.unit_size
    stage(rounds[0][:size])  # warm-up
    made: list[Candidate] = []
    began = time.perf_counter()
    for row in rounds:
        for start in range(0, len(row), size):
            made += stage(row[start : start + size])
    seconds = time.perf_counter() - began
    names = [candidate.prompt.category for candidate in made]
    predicted = (clip.embed_images([c.image for c in made]) @ _texts(clip, CLIP_CATEGORIES).T).argmax(axis=1)
    right = np.array([CLIP_CATEGORIES[p] == name for p, name in zip(predicted, names, strict=True)])
    by_category = {
        name: _mean([r for r, n in zip(right, names, strict=True) if n == name])
        for name in sorted(set(names))
    }
    diffusion = {
        "categories": len(categories),
        "images": len(made),
        "recognised": _mean(right),
        "recognised_by_category": by_category,
        "worst_category": min(by_category, key=lambda name: by_category[name]),
        "seconds_per_image": seconds / len(made),
        "threads": THREADS,
    }
    scored = ScoreStage(settings.score)(SegmentStage(settings.segment)(made))
    return diffusion, _selection(scored, settings), picture(made)


def _selection(scored: list[Candidate], settings: Settings) -> dict[str, Any]:
    import pyarrow as pa

    rows = [
        {"round": c.prompt.index, "unit": 0, "candidate_id": c.prompt.candidate_id,
         "category_id": c.prompt.category_id, "category": c.prompt.category, "index": c.prompt.index,
         "candidate_status": c.status, "candidate_reason": c.reason, "method": p.method, "ordinal": p.ordinal,
         "status": p.status, "reason": p.reason, "area_fraction": p.area_fraction,
         "clip_logit": dict(p.scores).get("clip_logit")}
        for c in scored for p in c.proposals
    ]  # fmt: skip
    rule = settings.select.model_dump(exclude={"max_side_px"})
    selection = select(pa.Table.from_pylist(rows, schema=SCORES), SelectionRule(**rule))
    reasons = [r["reason"] for r in selection.rejects.to_pylist() if r["kind"] == "candidate"]
    logits = np.array([row["clip_logit"] for row in rows if row["clip_logit"] is not None])
    return {
        "candidates": len(scored),
        "kept_fraction": selection.kept.num_rows / len(scored),
        "rejected": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "min_clip_logit": settings.select.min_clip_logit,
        "clip_logit_percentiles_5_50_95": _percentiles(logits),
    }


def picture(made: list[Candidate]) -> np.ndarray:
    """All categories in two bands, `PICTURE_SEEDS` images each, one below the other, twice as large."""
    by_category: dict[str, list[np.ndarray]] = {}
    for candidate in made:
        by_category.setdefault(candidate.prompt.category, []).append(candidate.image)
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
    settings = load_settings("demo")
    clip_model = ClipModel(CLIP_DIR)
    clip, grabcut = measure_clip(clip_model), measure_grabcut()
    diffusion, chain, grid = measure_chain(settings, clip_model)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "embedded_models.png").write_bytes(encode_png(grid))
    gates = [
        Gate("CLIP top-1", clip["top1"], ">=", 0.95),
        Gate("CLIP AUC", clip["auc"], ">=", 0.97),
        Gate("diffusion recognised", diffusion["recognised"], ">=", 0.75),
        Gate("GrabCut IoU, plain", grabcut["iou_plain"], ">=", 0.85),
        Gate("GrabCut IoU, shaded", grabcut["iou_shaded"], ">=", 0.85),
        Gate("chain kept", chain["kept_fraction"], ">=", 0.60),
        Gate("diffusion s/image", diffusion["seconds_per_image"], "<=", 0.6),
        Gate("models MB", folder_mb(), "<=", 48.0),
    ]
    details = {"clip": clip, "diffusion": diffusion, "grabcut": grabcut, "chain": chain}
    finish("embedded_models", gates, details)


if __name__ == "__main__":
    main()
