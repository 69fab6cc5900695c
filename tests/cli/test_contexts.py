from pathlib import Path

import pytest
from typer.testing import CliRunner

from xpaste_ray import cli
from xpaste_ray.config.contexts import ContextSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.pipelines.job import Summary

PRESET = """
seed: 3
contexts:
  images: {path: somewhere, max_side_px: 512}
  captions: {kind: blip, model: blip/}
  source: {kind: diffusion, model: embedded:diffusion, dtype: float32, unit_size: 4, threads: 1}
  score: {model: embedded:clip, micro_batch: 4, threads: 1}
resources:
  source: {actors: 1}
  segment: {actors: 1}
  score: {actors: 1}
  compose: {actors: 1}
"""


@pytest.fixture
def preset(tmp_path):
    file = tmp_path / "contexts.yaml"
    file.write_text(PRESET)
    return str(file)


@pytest.fixture
def asked(monkeypatch):
    """What the command asks the pipeline for."""
    found = []
    counts = {"contexts": {"made": 10, "kept": 5, "rejected": {"low_caption_logit": 5}}}

    def made(settings, out, progress, retry_failed):
        found.append((settings, out, retry_failed))
        return Summary(counts=counts, already_done=True)

    monkeypatch.setattr("xpaste_ray.pipelines.contexts.make_contexts", made)
    return found


def run(*arguments):
    return CliRunner().invoke(cli.app, ["contexts", *arguments], catch_exceptions=False)


def test_options_change_what_the_preset_says_and_nothing_else(preset, asked):
    told = run("--preset", preset, "--out", "run", "--images", "voc/", "--captions", "c.csv",
               "--fraction", "0.1", "--set", "contexts.per_caption=4", "--retry-failed")  # fmt: skip
    assert told.exit_code == 0 and "5 images to paste on, in run" in told.stdout
    ((settings, out, retry_failed),) = asked
    contexts = settings.contexts
    assert (contexts.images.path, contexts.images.max_side_px) == ("voc/", 512)
    assert (contexts.captions.kind, contexts.captions.file, contexts.fraction) == ("given", "c.csv", 0.1)
    assert (contexts.per_caption, settings.seed, out, retry_failed) == (4, 3, "run", True)


def test_without_options_it_is_the_presets(preset, asked):
    run("--preset", preset, "--out", "run")
    ((settings, _, _),) = asked
    assert isinstance(settings, ContextSettings) and settings.contexts.captions.model == "blip/"
    assert settings.contexts.captions.per_image == 2 and settings.contexts.select.keep == 5


def test_run_needs_a_folder(preset):
    with pytest.raises(ConfigError, match="--out is missing"):
        run("--preset", preset)


@pytest.mark.parametrize("preset", ["empaste-voc", "empaste-coco"])
def test_papers_presets_ask_for_the_images(preset, asked):
    with pytest.raises(ConfigError, match="--images is missing"):
        run("--preset", preset, "--out", "run")
    assert run("--preset", preset, "--out", "run", "--images", "voc/").exit_code == 0
    ((settings, _, _),) = asked
    told = settings.contexts
    assert (told.captions.per_image, told.per_caption, told.select.keep) == (2, 10, 5)  # EM-Paste, 3.2


def test_kind_of_captions_is_explained(preset):
    with pytest.raises(ConfigError, match=r"contexts\.captions\.kind must be one of blip, given, templates"):
        run("--preset", preset, "--out", "run", "--set", "contexts.captions={kind: heard}")
    with pytest.raises(ConfigError, match=r"contexts\.captions\.per_image"):
        run("--preset", preset, "--out", "run", "--set", "contexts.captions.per_image=0")


def test_sheet_of_what_is_no_run_is_explained(tmp_path):
    with pytest.raises(ConfigError, match="no finished run of contexts"):
        run("show", str(tmp_path), "--out", str(tmp_path / "sheet.png"))
    with pytest.raises(ConfigError, match="ends in .png"):
        run("show", str(tmp_path), "--out", str(Path("sheet.jpg")))
