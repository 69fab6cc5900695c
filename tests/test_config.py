import pytest
import yaml

from xpaste_ray.config import Settings, dump_settings, load_settings, preset_names
from xpaste_ray.errors import ConfigError


@pytest.mark.parametrize("preset", preset_names())
def test_presets_are_valid_and_survive_a_round_trip(preset):
    settings = load_settings(preset)
    assert Settings.model_validate(yaml.safe_load(dump_settings(settings))) == settings


def test_overrides_are_yaml_values():
    settings = load_settings(
        "demo", ["source.steps=7", "compose.instances=[2, 3]", "categories.names=[frog]"]
    )
    assert settings.source.steps == 7
    assert settings.compose.instances == (2, 3)
    assert settings.categories.names == ("frog",)
    assert load_settings("demo", ["categories.names=frog"]).categories.names == ("frog",)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("source.step=7", r"unknown option 'source.step': source has no 'step'; did you mean 'steps'\?"),
        ("sauce.steps=7", r"the settings has no 'sauce'; did you mean 'source'\?"),
        ("source.steps.x=7", r"source.steps has no 'x'"),
        ("source.steps", "write it as path.to.option=value"),
        ("source.steps=0", "source.steps: .*greater than or equal to 1, got 0"),
        ("source.steps=many", "source.steps: .*integer.*, got 'many'"),
        ("source.dtype=float8", "source.dtype: .*'float32', 'float16' or 'bfloat16', got 'float8'"),
        ("select.min_area_fraction=0.99", "min_area_fraction must not exceed max_area_fraction"),
        ("compose.instances=[5, 2]", r"instances must be \[low, high\]"),
        ("compose.flip_probability=.nan", "compose.flip_probability"),
        ("prompts.template=a photo", "prompts.template: has no {name}, got 'a photo'"),
        ("prompts.template=a {name} {colour}", "prompts.template: has the unknown field {colour}"),
        ("resources.source_actors=100", "resources: 104 actors need local_cpus=12"),
        ("seed=[", "not a YAML value"),
    ],
)
def test_wrong_options_name_the_field_and_what_is_allowed(override, message):
    with pytest.raises(ConfigError, match=message.replace("{", r"\{")):
        load_settings("demo", [override])


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown preset 'demmo'; did you mean 'demo'\?"):
        load_settings("demmo")
