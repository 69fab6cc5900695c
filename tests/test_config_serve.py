"""What a replica of the service is told."""

import pytest

from xpaste_ray.config import change, parse_settings
from xpaste_ray.config.compose import ComposeSettings
from xpaste_ray.config.serve import ALLOWED, NEVER, ServeLimits, ServeSettings
from xpaste_ray.errors import ConfigError


def _settings(**told):
    return parse_settings(ServeSettings, {"pool": "runs/demo"} | told, "user_config: ")


def test_a_pool_is_enough_and_everything_is_bounded():
    settings = _settings()
    assert settings.presets == ("xpaste",) and settings.backgrounds == "embedded:photos"
    assert not settings.insecure and settings.token_file is None
    assert settings.limits == ServeLimits() and settings.limits.count * settings.limits.megapixels < 1e4


def test_settings_survive_the_way_through_a_serve_config():
    told = _settings(recipes={"a": {"preset": "demo", "options": {"blend": ["hard"]}}}, limits={"count": 3})
    assert parse_settings(ServeSettings, told.model_dump(mode="json")) == told


def test_they_are_changed_by_path():
    changed = change(_settings(), ["limits.count=3", "threads=2"])
    assert (changed.limits.count, changed.threads) == (3, 2)


@pytest.mark.parametrize("path", sorted(NEVER))
def test_what_names_files_cannot_be_allowed(path):
    with pytest.raises(ConfigError, match=f"{path} is not for requests: leave it out"):
        _settings(allow=["blend", path])


def test_options_that_there_are_not_cannot_be_allowed():
    with pytest.raises(ConfigError, match="blending: there is no such option of compose"):
        _settings(allow=["blending"])


def test_what_is_allowed_by_default_is_there_and_names_no_file():
    assert not set(ALLOWED) & NEVER
    for path in {*ALLOWED, *NEVER}:
        head, _, rest = path.partition(".")
        field = ComposeSettings.model_fields[head]
        assert not rest or rest in field.annotation.model_fields, path


def test_every_option_of_compose_is_allowed_refused_or_left_to_the_operator():
    """A new one is thought about, not forgotten: these are for the operator to allow."""
    heads = {path.partition(".")[0] for path in {*ALLOWED, *NEVER}}
    assert set(ComposeSettings.model_fields) - heads == {"background_draw", "mix", "mix_by"}


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"pol": "x"}, "pol"), ({"presets": []}, "presets"), ({"threads": 0}, "threads"),
        ({"limits": {"count": 0}}, "limits.count"), ({"limits": {"count": 4097}}, "limits.count"),
        ({"limits": {"megapixels": 0}}, "limits.megapixels"), ({"limits": {"seconds": 0}}, "limits.seconds"),
        ({"limits": {"seconds": float("inf")}}, "limits.seconds"),
        ({"limits": {"body_bytes": 1}}, "body_bytes"),
        ({"limits": {"image_seconds": 0}}, "limits.image_seconds"),
        ({"limits": {"side_px": 9000}}, "side_px"),
        ({"recipes": {"../a": {"preset": "demo"}}}, "recipes"), ({"recipes": {"a": {}}}, "preset"),
    ],
)  # fmt: skip
def test_errors_say_where(told, message):
    with pytest.raises(ConfigError, match="user_config: .*" + message):
        _settings(**told)
