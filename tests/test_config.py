import re

import pytest
import yaml

from xpaste_ray.config import (
    DatasetSettings,
    Settings,
    dump_settings,
    kind_of,
    load,
    load_settings,
    preset_names,
)
from xpaste_ray.errors import ConfigError


@pytest.mark.parametrize("preset", preset_names())
def test_presets_are_valid_and_survive_a_round_trip(preset):
    settings = load(kind_of(preset), preset)
    assert kind_of(preset).model_validate(yaml.safe_load(dump_settings(settings))) == settings


@pytest.mark.parametrize("preset", preset_names())
def test_printed_settings_are_a_file_to_load(preset, tmp_path):
    """Also with the kind that they had: a dataset's settings do not become a run's."""
    file = tmp_path / "mine.yaml"
    file.write_text(dump_settings(load(kind_of(preset), preset)))
    assert kind_of(str(file)) is kind_of(preset)
    assert load(kind_of(preset), str(file)) == load(kind_of(preset), preset)


def test_relative_paths_in_a_file_start_at_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "settings").mkdir()
    changed = load(DatasetSettings, "xpaste", ["compose.backgrounds=photos"])
    (tmp_path / "settings" / "mine.yml").write_text(dump_settings(changed))
    monkeypatch.chdir(tmp_path)
    assert load(DatasetSettings, "settings/mine.yml").compose.backgrounds == "photos"


def test_settings_of_a_part_of_the_pool_are_those_of_a_run(tmp_path):
    """So nobody's `prompts` are passed over in silence."""
    file = tmp_path / "mine.yaml"
    file.write_text(dump_settings(load(DatasetSettings, "xpaste")) + "prompts: {per_category: 3}\n")
    assert kind_of(str(file)) is Settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "mine.yaml: there is no such settings file"),
        ("seed: [", "mine.yaml is no YAML file: "),
        ("\xff", "mine.yaml is no YAML file: "),
        ("", "mine.yaml holds no settings: it needs sections, such as seed, compose"),
        ("sed: 3", "mine.yaml: there is no section 'sed'; did you mean 'seed'?"),
        ("seed: -1", "mine.yaml: seed: "),
        ("1: 2", "mine.yaml: there is no section 1"),
    ],
)
def test_errors_in_a_file_name_it(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(DatasetSettings, str(file))


def test_file_that_cannot_be_read_is_wrong_use(tmp_path):
    (tmp_path / "mine.yaml").mkdir()
    with pytest.raises(ConfigError, match="mine.yaml cannot be read: .*"):
        load(DatasetSettings, str(tmp_path / "mine.yaml"))


def test_presets_that_only_compose_say_so_when_asked_for_more():
    with pytest.raises(ConfigError, match="sources: the preset does not set it: choose one that does"):
        load_settings("empaste-voc")


def test_sources_and_methods_have_names_of_the_users_own():
    options = ["sources.photos={kind: folder, path: /photos, weight: 2}", "segment.methods.all={kind: full}"]
    settings = load_settings("demo", [*options, "sources.photos.weight=3"])
    assert list(settings.sources) == ["diffusion", "photos"] and settings.sources["photos"].weight == 3
    assert list(settings.segment.methods) == ["grabcut", "all"]
    assert load_settings("demo", ["sources={photos: {kind: folder, path: /photos}}"]).sources.keys() == {
        "photos"
    }


def test_options_that_the_preset_leaves_out_can_be_set():
    compose = load(DatasetSettings, "empaste-voc", ["compose.colour.match=[0.2, 0.2]"]).compose
    assert compose.colour.match == (0.2, 0.2)


# What the papers and their code say, see each preset's comments.
EMPASTE = {
    "instances": (4, 4),
    "canvas.size_hw": (512, 512),
    "canvas.fit": "resize",
    "background_draw": "in-turn",
    "draw": "source-image",
    "size.rule": "object",
    "size.factor": (0.3, 1.0),
    "size.min_side_px": 1,
    "size.min_cutout_area_px": 700,
    "place.rule": "inside",
    "flip_probability": 0,
    "rotation_deg": 30,
    "blend": ("gaussian",),
    "category.rule": "uniform",
}
PUBLISHED = {
    "xpaste": {
        "instances": (0, 19),
        "category.rule": "balanced",
        "size.rule": "prior",
        "size.min_px": 10,
        "size.max_fraction": 0.5,
        "size.aspect_jitter": (0.8, 1.2),
        "place.rule": "centre",
        "flip_probability": 0.5,
        "blend": ("hard",),
        "occlusion.rule": "xpaste",
        "canvas.fit": "lsj",
        "canvas.scale": (0.1, 2.0),
        "canvas.size_hw": (640, 640),
        "size.min_side_px": 5,
        "size.min_cutout_area_px": 0,
        "mask_rate": 1.0,
    },
    "xpaste-summary": {
        "instances": (0, 10),
        "size.pixels": (32, 256),
        "size.aspect": (0.5, 2.0),
        "colour.match": (0.2, 0.2),
        "size.rule": "pixels",
        "size.min_side_px": 5,
        "category.rule": "frequency",
        "category.weights": {"r": 1, "c": 10, "f": 100},
        "count": 100_000,
    },
    "empaste-voc": EMPASTE,
    "empaste-coco": EMPASTE,
    "empaste-demo": {"rotation_deg": 30, "blend": ("gaussian",), "draw": "source-image", "mix": (2, 1)},
    "demo": {"category.rule": "balanced", "flip_probability": 0.5, "size.min_side_px": 5},
}


@pytest.mark.parametrize("preset", preset_names())
def test_presets_hold_the_published_numbers(preset):
    compose = load(DatasetSettings, preset).compose
    for path, value in PUBLISHED[preset].items():
        found = compose
        for name in path.split("."):
            found = getattr(found, name)
        assert found == value, path


def test_overrides_are_yaml_values():
    settings = load_settings(
        "demo", ["sources.diffusion.steps=7", "compose.instances=[2, 3]", "categories.names=[frog]"]
    )
    assert settings.sources["diffusion"].steps == 7
    assert settings.compose.instances == (2, 3)
    assert settings.categories.names == ("frog",)
    assert load_settings("demo", ["categories.names=frog"]).categories.names == ("frog",)


def test_values_are_taken_as_they_are_and_last():
    """Not as YAML: a folder may have any name."""
    settings = load(
        DatasetSettings, "demo", ["compose.count=5"], {"compose.count": 6, "compose.backgrounds": "[😀"}
    )
    assert (settings.compose.count, settings.compose.backgrounds) == (6, "[😀")


@pytest.mark.parametrize(
    ("given", "kept"), [("p:.5", "p:0.5"), ("p:0.50", "p:0.50"), ("p:1", "p:1"), ("both", "both")]
)
def test_copy_rules_keep_their_spelling_but_for_a_zero(given, kept):
    """A preset's fingerprint stays what it was."""
    assert load_settings("demo", [f"compose.copy_rule={given}"]).compose.copy_rule == kept


def test_overrides_are_yaml_of_version_1_2():
    """4:2:0 is 14520 in YAML 1.1, base 60, and 1e-4 a string."""
    settings = load_settings(
        "demo",
        [
            "compose.output.subsampling=4:2:0",
            "select.min_area_fraction=1e-4",
            "compose.backgrounds=2026-11-21",
        ],
    )
    assert settings.compose.output.subsampling == "4:2:0"
    assert settings.select.min_area_fraction == 0.0001
    assert settings.compose.backgrounds == "2026-11-21"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "sources.diffusion.step=7",
            r"unknown option 'sources.diffusion.step': sources.diffusion has no 'step'; did you mean",
        ),
        ("sauces.steps=7", r"the settings have no 'sauces'; did you mean 'sources'\?"),
        ("sources.diffusion.steps.x=7", r"sources.diffusion.steps has no 'x'"),
        ("sources.diffusion.steps", "write it as path.to.option=value"),
        ("sources.diffusion.steps=0", "sources.diffusion.steps: .*greater than or equal to 1, got 0"),
        ("sources.diffusion.steps=many", "sources.diffusion.steps: .*integer.*, got 'many'"),
        (
            "sources.diffusion.dtype=float8",
            "sources.diffusion.dtype: .*'float32', 'float16' or 'bfloat16', got 'float8'",
        ),
        ("select.min_area_fraction=0.99", "min_area_fraction must not exceed max_area_fraction"),
        ("compose.instances=[5, 2]", r"instances: must be \[low, high\] with low <= high, got \[5, 2\]"),
        ("compose.flip_probability=.nan", "compose.flip_probability"),
        ("compose.size.rule=circle", "size.rule=circle and place.rule=space-maximize need each other"),
        ("compose.size.circle_factor=[0.5, 1.5]", "compose.size.circle_factor"),
        (
            "compose.size={rule: pixels, pixels: [100, 120], aspect: [1.5, 2]}",
            r"compose.size: no rectangle with both sides in pixels=\[100.0, 120.0\] has an aspect ratio",
        ),
        ("compose.category.rule=weights", "compose.category: rule=weights needs weights"),
        ("compose.category.weights={banana: 2}", "compose.category: rule=balanced takes no weights"),
        ("compose.category={rule: frequency, weights: {x: 1}}", "are for r, c and f, got \\['x'\\]"),
        ("compose.canvas.scale=[0.5, 2.0]", "compose.canvas: scale must not exceed 1 with fit=crop"),
        ("compose.copy_rule=p:2", "compose.copy_rule: .* from 0 to 1, such as p:0.5, got 'p:2'"),
        (
            "compose.copy_rule=p",
            "compose.copy_rule: must be none, pool, self, both or p:x with x .*, got 'p'",
        ),
        (
            "compose.canvas.size_hw=[640]",
            r"^compose.canvas.size_hw: needs 2 values, such as \[256, 256\], got \[640\]$",
        ),
        (
            "compose.canvas.size_hw=[]",
            r"^compose.canvas.size_hw: needs 2 values, such as \[256, 256\], got \[\]$",
        ),
        ("compose.canvas.size_hw=[1, 2, 3]", r"compose.canvas.size_hw: takes 2 values, .*, got \[1, 2, 3\]"),
        (
            "compose.canvas.size_hw=640",
            r"compose.canvas.size_hw: must be a list, such as \[256, 256\], got 640",
        ),
        ("compose.output.formats=3", r"compose.output.formats: must be a list, such as \['coco'\], got 3"),
        ("compose.place={}", "compose.place.rule is missing: set it, such as rule: inside$"),
        ("compose={output: {}}", r"\ncompose.canvas is missing: set it\n"),
        ("categories.names=3", r"^categories.names: must be all, .*, such as \[banana, frog\], got 3$"),
        ("compose.place=inside", "compose.place: is a section: .*, got 'inside'"),
        ("compose.place={rul: inside}", "compose.place.rul: there is no such option; did you mean 'rule'"),
        ("compose.output.formats=[coco, cocoo]", "compose.output.formats"),
        ("compose.output.formats=[coco, coco]", "compose.output.formats: must name each format once"),
        ("compose.blend=[]", "compose: blend needs at least one method"),
        ("prompts.templates=a photo", "prompts.templates.0: has no {name}, got 'a photo'"),
        ("prompts.templates=a {name} {colour}", "prompts.templates.0: has the unknown field {colour}"),
        ("resources.source.actors=0", "resources.source.actors: .*greater than or equal to 1, got 0"),
        ("resources.source=many", "resources.source: .*'auto', got 'many'"),
        ("resources.source.gpus=0.3", "resources.source.gpus: must be eighths of a GPU .*, got 0.3"),
        ("sources={}", "sources: needs at least one source"),
        (
            "sources.diffusion.kind=dall-e",
            "sources.diffusion.kind must be one of diffusion, folder, .*'dall-e'",
        ),
        ("sources.photos={path: x}", "sources.photos: needs a kind, one of diffusion, folder, web"),
        ("sources.photos={kind: folder}", "sources.photos.path is missing: set it$"),
        ("sources.photos={kind: folder, path: x, size: 3}", "sources.photos.size: there is no such option"),
        ("sources.My Photos={kind: folder, path: x}", "names are lower-case letters"),
        ("sources.diffusion.frequencies=[x]", "sources.diffusion.frequencies.0"),
        ("segment.methods={}", "segment.methods: needs at least one method"),
        ("segment.methods.sam={kind: sam}", "segment.methods.sam.model is missing: set it$"),
        ("score.views=[white, white]", "score.views: must name one view at least, and each once"),
        ("select.rule=best", "select.rule: "),
        ("seed=[", "not a YAML value"),
    ],
)
def test_wrong_options_name_the_field_and_what_is_allowed(override, message):
    with pytest.raises(ConfigError, match=message.replace("{", r"\{")):
        load_settings("demo", [override])


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown preset 'demmo'; did you mean 'demo'\?"):
        load_settings("demmo")
