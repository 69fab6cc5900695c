"""What the score step's recipe knows of the files that its settings name."""

import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from xpaste_ray.config import StageResources, load_settings
from xpaste_ray.embedded import CLIP_DIR
from xpaste_ray.errors import ConfigError
from xpaste_ray.masks import encode_png
from xpaste_ray.models.real_crops import open_real_crops
from xpaste_ray.pipelines.stage_code import stage_code
from xpaste_ray.pipelines.steps import plan_steps, resolve_inputs
from xpaste_ray.runs import RunDir, write_json

NAMES = "categories.names=[banana, frog]"


def _steps(*overrides):
    return plan_steps(resolve_inputs(load_settings("demo", [NAMES, *overrides])))


def _fingerprints(*overrides):
    return {name: step.fingerprint for name, step in _steps(*overrides).items()}


def _crops(folder, level=0):
    for name in ("banana", "Frog", "lion"):
        (folder / name).mkdir(parents=True)
        (folder / name / "0.png").write_bytes(encode_png(np.full((4, 6, 3), level, np.uint8)))
    return folder


def _head(folder, bias=0.0, dim=128):
    folder.mkdir()
    save_file({"weight": np.ones((1, dim), np.float32), "bias": np.float32([bias])}, folder / "h.safetensors")
    (folder / "head.json").write_text(json.dumps({"activation": "none", "output": "none"}))
    return folder


OPTIONS = {"real": "score.real={{crops: {}}}", "nsfw": "score.nsfw={}", "aesthetic": "score.aesthetic={}"}
MAKERS = {"real": _crops, "nsfw": _head, "aesthetic": _head}


@pytest.mark.parametrize("kind", OPTIONS)
def test_files_are_known_by_what_is_in_them_not_by_where_they_lie(tmp_path, kind):
    option, make = OPTIONS[kind], MAKERS[kind]
    one, other = make(tmp_path / kind), make(tmp_path / "other", 1)
    was = _fingerprints(option.format(one))
    moved = shutil.copytree(one, tmp_path / "there" / kind)
    assert _fingerprints(option.format(moved)) == was
    changed = _fingerprints(option.format(other))
    assert [name for name in was if was[name] != changed[name]] == ["score", "select"]
    assert str(tmp_path) not in json.dumps(_steps(option.format(one))["score"].settings)


def test_crops_of_other_categories_are_not_in_the_recipe(tmp_path):
    folder = _crops(tmp_path / "crops")
    was = _fingerprints(f"score.real={{crops: {folder}}}")
    (folder / "lion" / "1.png").write_bytes(encode_png(np.zeros((4, 6, 3), np.uint8)))
    assert _fingerprints(f"score.real={{crops: {folder}}}") == was


@pytest.mark.parametrize(
    "option", ["resize=tensor", "dtype=bfloat16", "views=[white, crop]", "template='{name}'"]
)
def test_what_changes_a_score_changes_the_step(option):
    was, now = _fingerprints(), _fingerprints(f"score.{option}")
    assert [name for name in was if was[name] != now[name]] == ["score", "select"]


def test_actors_compare_with_the_pool_that_the_recipe_tells_whatever_its_run_points_at_later(
    make_pool, tmp_path
):
    """A restarted actor opens the crops anew; meanwhile `pool select` may have been at work in their run."""
    run = tmp_path / "run"
    one, other = (make_pool({"banana": n, "frog": 1}, f"{n}").folder for n in (1, 2))
    run.mkdir()
    write_json(run / "pool.json", {"current": os.path.relpath(one, run)})
    inputs = resolve_inputs(load_settings("demo", [NAMES, f"score.real={{crops: {run}}}"]))
    write_json(run / "pool.json", {"current": os.path.relpath(other, run)})
    plan = {"score": StageResources(actors=1)}
    told = stage_code(inputs, plan, None, RunDir(tmp_path / "out"))["score"].kwargs["settings"]
    crops = open_real_crops(told.real)
    assert len(crops.of("banana")) == 1
    assert crops.content(["banana", "frog"]) == inputs.score_files["real"]["crops"]


def test_crops_of_none_of_the_categories_are_a_mistake(tmp_path):
    folder = _crops(tmp_path / "crops")
    for name in ("banana", "Frog"):
        shutil.rmtree(folder / name)
    with pytest.raises(ConfigError, match=r"score.real.crops: .* of any of the categories.*such as 'banana'"):
        _steps(f"score.real={{crops: {folder}}}")


def test_head_for_another_model_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(
        ConfigError, match="score.nsfw: .*takes embeddings of 768 numbers and score.model makes 128"
    ):
        _steps(f"score.nsfw={_head(tmp_path / 'head', dim=768)}")


def test_length_of_embeddings_comes_from_the_models_folder(tmp_path):
    assert resolve_inputs(load_settings("demo", [NAMES])).embedding_dim == 128
    folder = shutil.copytree(CLIP_DIR, tmp_path / "clip")
    told = json.loads((folder / "open_clip_config.json").read_text())
    del told["model_cfg"]["embed_dim"]
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"score.model: .* has no model_cfg.embed_dim"):
        resolve_inputs(load_settings("demo", [NAMES, f"score.model={folder}"]))
