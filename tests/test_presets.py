"""Presets hold the published numbers: each line is one of X-Paste's paper, its code, or its summary, or of
EM-Paste's paper or its code."""

from functools import reduce

import pytest

from xpaste_ray.config import PRESETS_DIR, DatasetSettings, Settings, load
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

EMPASTE = {  # section 3.3 and Algorithm 2, or where they say nothing, the authors' code
    "seed": 42,
    "compose.background_draw": "in-turn",
    "compose.contexts": None,  # the user's own
    "compose.mix": (2, 1),
    "compose.mix_by": "image",
    "compose.canvas.size_hw": (512, 512),
    "compose.canvas.fit": "resize",
    "compose.instances": (4, 4),
    "compose.category.rule": "uniform",
    "compose.draw": "source-image",
    "compose.copy_rule": "pool",
    "compose.size.rule": "object",
    "compose.size.factor": (0.3, 1.0),
    "compose.size.circle_factor": (1.0, 1.0),
    "compose.size.min_cutout_area_px": 700,
    "compose.place.rule": "inside",
    "compose.rotation_deg": 30,
    "compose.flip_probability": 0,
    "compose.blend": ("gaussian",),
    "compose.mask_rate": 1,
}
EMPASTE_PRESETS = ("empaste-voc", "empaste-coco")


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


@pytest.mark.parametrize("path", EMPASTE)
@pytest.mark.parametrize("preset", EMPASTE_PRESETS)
def test_empaste_composes_by_the_published_numbers(preset, path):
    assert _at(load(DatasetSettings, preset), path) == EMPASTE[path]


@pytest.mark.parametrize("preset", EMPASTE_PRESETS)
@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("size", "U(0.3, 1.0); its code: U(0.3, 0.7)"),
        ("mix_by", "each original twice, each context once (its code: every background twice)"),
        ("draw", "all foregrounds of each of 4 drawn images (its code: 4 foregrounds"),
        ("rotation_deg", "its code; Algorithm 2: a random angle below theta"),
        ("blend", "its code: 5x5, sigma 2, the default; the paper: as good as any mix"),
    ],
)
def test_where_paper_and_code_differ_the_preset_tells_both(preset, option, told):
    lines = (PRESETS_DIR / f"{preset}.yaml").read_text().split("\n")
    (place,) = (number for number, line in enumerate(lines) if line.startswith(f"  {option}:"))
    comments = " ".join(line.partition("#")[2].strip() for line in lines[place : place + 2])
    assert told in comments


@pytest.mark.parametrize("preset", EMPASTE_PRESETS)
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(("size.rule=circle", "place.rule=space-maximize"), id="space-maximize"),
        pytest.param(("category.rule=balanced",), id="balanced"),
        pytest.param(("size.factor=[0.3, 0.7]", "draw=instance"), id="its-code"),
        pytest.param(("instances=[1, 4]", "blend=[poisson, gaussian, hard]"), id="ablations"),
        pytest.param(("backgrounds=black",), id="black-backgrounds"),
    ],
)
def test_what_the_paper_compares_is_an_option_away(preset, changes):
    usual = load(DatasetSettings, preset)
    assert load(DatasetSettings, preset, [f"compose.{change}" for change in changes]) != usual


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
