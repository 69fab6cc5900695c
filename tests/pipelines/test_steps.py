"""Fingerprints chain by step: what a setting changes, and what it leaves alone."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from xpaste_ray.compose.recipe import compose_recipe
from xpaste_ray.config import load_settings
from xpaste_ray.embedded import CLIP_DIR
from xpaste_ray.errors import ConfigError
from xpaste_ray.pipelines.steps import (
    open_backgrounds,
    plan_steps,
    resolve_inputs,
    units_recipe,
)

NAMES = ("source", "segment", "score", "select", "compose")


def _fingerprints(*overrides):
    settings = load_settings("demo", overrides)
    compose = compose_recipe(settings.compose, open_backgrounds(settings), settings.seed)
    steps = plan_steps(resolve_inputs(settings), compose)
    return {name: step.fingerprint for name, step in steps.items()}


@pytest.mark.parametrize(
    ("override", "first_changed"),
    [
        ("sources.diffusion.steps=21", "source"),
        ("seed=1", "source"),
        ("prompts.templates=one {name}", "source"),
        ("categories.names=[frog]", "source"),
        ("segment.methods.grabcut.iterations=4", "segment"),
        ("segment.limits.max_box_span=0.98", "segment"),
        ("segment.limits.min_area_fraction=null", None),
        ("score.micro_batch=4", "score"),
        ("select.tolerance=2", "select"),
        ("cutout.max_side_px=128", "select"),
        ("prompts.per_category=9", "select"),
        ("compose.count=99", "compose"),
        ("resources.source.actors=1", None),
        ("resources.compose.actors=4", None),
    ],
)
def test_setting_changes_its_step_and_those_after_it(override, first_changed):
    before, after = _fingerprints(), _fingerprints(override)
    changed = [name for name in NAMES if before[name] != after[name]]
    assert changed == (list(NAMES[NAMES.index(first_changed) :]) if first_changed else [])


def test_contexts_are_a_part_of_the_dataset_and_how_they_are_mixed(tmp_path):
    """By what they hold, not by where they lie; without them the ratio means nothing."""
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        Image.new("RGB", (48, 32), (90, 80, 70)).save(tmp_path / place / "a.png")
    here, there = (f"compose.contexts={tmp_path / place}" for place in ("here", "there"))
    plain, mixed = _fingerprints(), _fingerprints(here)
    assert {name for name in NAMES if plain[name] != mixed[name]} == {"compose"}
    assert mixed == _fingerprints(there) and plain == _fingerprints("compose.mix=[1, 5]")
    others = [_fingerprints(here, f"compose.{change}") for change in ("mix=[1, 5]", "mix_by=image")]
    assert len({one["compose"] for one in (plain, mixed, *others)}) == 4


def test_model_is_known_by_its_content_not_by_its_place(tmp_path):
    for parent in ("here", "there"):
        shutil.copytree(CLIP_DIR, tmp_path / parent / "mini")
    here, there = (_fingerprints(f"score.model={tmp_path / parent / 'mini'}") for parent in ("here", "there"))
    assert here == there != _fingerprints()


def test_mask_files_are_known_by_names_and_sizes_not_by_their_place(tmp_path):
    told = {}
    for parent, pixels in (("here", 4), ("there", 4), ("other", 5)):
        (tmp_path / parent / "cob").mkdir(parents=True)
        np.save(tmp_path / parent / "cob" / "photo.npy", np.ones((pixels, pixels), bool))
        told[parent] = _fingerprints(
            f"segment.methods.cob={{kind: masks, path: {tmp_path / parent / 'cob'}}}"
        )
    assert told["here"] == told["there"] and told["here"]["segment"] != told["other"]["segment"]


def test_candidate_ids_do_not_depend_on_the_other_categories():
    all_names, one = (resolve_inputs(load_settings("demo", o)) for o in ([], ["categories.names=[frog]"]))
    (frog,) = one.categories
    ids = [inputs.sources["diffusion"].prompt(frog, 3, 3).candidate_id for inputs in (all_names, one)]
    assert ids[0] == ids[1]


def test_category_that_the_embedded_model_does_not_know_is_refused():
    with pytest.raises(ConfigError, match="cannot draw 'toaster'.*It knows 32 categories: banana"):
        resolve_inputs(load_settings("demo", ["categories.names=[toaster]"]))


def test_frequencies_count_where_they_decide_who_serves(tmp_path):
    def recipe(frequency, *overrides):
        file = tmp_path / "words.json"
        file.write_text(json.dumps([{"id": 1, "name": "banana", "frequency": frequency}]))
        return units_recipe(
            resolve_inputs(load_settings("demo", [f"categories.vocabulary={file}", *overrides]))
        )

    assert recipe("r") == recipe("f")
    split = "sources.diffusion.frequencies=[r, f]"
    assert recipe("r", split) != recipe("f", split)
