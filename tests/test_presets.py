"""Presets hold the published numbers: each line is one of X-Paste's paper, its code, or its summary."""

from functools import reduce

import pytest

from xpaste_ray.config import Settings, load
from xpaste_ray.models.hub import parse_hub
from xpaste_ray.pipelines.places import hub_models

XPASTE = {  # stage A to E of the published code; what a dataset is composed by is in test_config
    "categories.vocabulary": "lvis",
    "categories.names": "all",
    "prompts.templates": ("a photo of a single {name}",),
    "prompts.negative": "",
    "prompts.per_category": 100,
    "sources.diffusion.scheduler": "dpm-solver++",
    "sources.diffusion.steps": 50,
    "sources.diffusion.guidance_scale": 7.5,
    "sources.diffusion.size_hw": (512, 512),
    "sources.diffusion.dtype": "float16",
    "segment.methods.clipseg.template": "a photo of {name}",
    "segment.methods.clipseg.trimap": (85, 170),
    "segment.methods.clipseg.matting": True,
    "segment.methods.clipseg.renormalise": True,
    "segment.methods.clipseg.micro_batch": 5,
    "segment.methods.sam.prompt": "corners",  # DiverGen
    "score.template": "a photo of {name}",
    "score.views": ("white",),
    "score.resize": "tensor",
    "select.rule": "bar",
    "select.score": "clip_logit",
    "select.min_clip_logit": 21,
    "select.tolerance": 1,
    "select.min_area_fraction": 0.05,
    "select.max_area_fraction": 0.95,
    "select.proposals": "one-per-image",
    "cutout.object": "outer-contour",
    "sources.diffusion.safety_checker": False,
    # Where we leave it, and why the preset says: the code's are 4, and the source's own size.
    "sources.diffusion.unit_size": 16,
    "cutout.max_side_px": 256,
}

SUMMARY = {
    "prompts.templates": ("{name}",),
    "prompts.per_category": 1000,
    "sources.web.frequencies": ("f", "c"),
    "sources.diffusion.frequencies": ("r",),
    "score.template": "{name}",
    "score.views": ("image",),
    "select.rule": "threshold",
    "select.score": "clip_logit_image",
    "select.min_cosine": 0.5,
    "select.proposals": "many",
    "select.tolerance": 0,
    "select.min_area_fraction": 0,
    "select.max_area_fraction": 1,
    "segment.methods.sam.kind": "sam",  # for CenterNet2
    "select.max_overlap_iou": 0.5,
    "select.max_containment": 0.9,
    "compose.instances": (0, 10),
    "compose.size.pixels": (32, 256),
    "compose.size.aspect": (0.5, 2.0),
    "compose.colour.match": (0.2, 0.2),
    "compose.category.rule": "frequency",
    "compose.count": 100_000,
}


def _at(value, path):
    return reduce(
        lambda at, key: at[key] if isinstance(at, dict) else getattr(at, key), path.split("."), value
    )


@pytest.mark.parametrize(
    ("preset", "path", "value"),
    [
        pytest.param(preset, path, value, id=f"{preset}-{path}")
        for preset, table in (("xpaste", XPASTE), ("xpaste-summary", SUMMARY))
        for path, value in table.items()
    ],
)
def test_preset_has_the_published_number(preset, path, value):
    assert _at(load(Settings, preset), path) == value


@pytest.mark.parametrize(
    ("preset", "clip"),
    [
        ("xpaste", "timm/vit_large_patch14_clip_224.openai"),
        ("xpaste-summary", "timm/vit_base_patch32_clip_224.openai"),
    ],
)
def test_models_are_the_published_ones_and_pinned(preset, clip):
    found = {option: parse_hub(model, option) for option, model in hub_models(load(Settings, preset))}
    assert found["score.model"].repository == clip
    assert found["sources.diffusion.model"].repository == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert all(len(model.commit) == 40 for model in found.values())
