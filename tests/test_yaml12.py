import pytest
import yaml

from xpaste_ray.yaml12 import dump_yaml, load_yaml

CORE_SCHEMA = [
    ("4:2:0", "4:2:0"),
    ("190:20:30.15", "190:20:30.15"),
    ("1_000", "1_000"),
    ("no", "no"),
    ("2026-11-21", "2026-11-21"),
    ("010", 10),
    ("0o10", 8),
    ("0x1F", 31),
    ("-7", -7),
    ("1e-4", 0.0001),
    (".5", 0.5),
    ("5.", 5.0),
    ("true", True),
    ("~", None),
    ("", None),
    ("[1, a]", [1, "a"]),
]


@pytest.mark.parametrize(("text", "value"), CORE_SCHEMA)
def test_scalars_follow_the_core_schema(text, value):
    found = load_yaml(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "value", [value for _, value in CORE_SCHEMA] + [text for text, _ in CORE_SCHEMA] + [1e-5, 1e20]
)
def test_what_is_written_means_the_same_in_either_version(value):
    assert load_yaml(dump_yaml([value])) == yaml.safe_load(dump_yaml([value])) == [value]


@pytest.mark.parametrize("text", ["[", "a: b: c", "!!int x", "!!python/object:os.system {}", "\x00"])
def test_what_is_no_yaml_is_an_error(text):
    with pytest.raises(ValueError):
        load_yaml(text)
