import json

import pytest

from tests.formats.conftest import make_samples
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.shards import (
    Shard,
    find_shards,
    fragment_path,
    is_committed,
    plan_shards,
    read_fragment,
    write_fragment,
)

FIRST = Shard(0, 2)


@pytest.mark.parametrize(
    ("count", "per_shard", "shards"),
    [
        pytest.param(7, 3, [Shard(0, 2), Shard(3, 5), Shard(6, 6)], id="the-last-is-shorter"),
        pytest.param(6, 3, [Shard(0, 2), Shard(3, 5)], id="even"),
        pytest.param(2, 5, [Shard(0, 1)], id="fewer-than-one-shard"),
        pytest.param(0, 5, [], id="none"),
    ],
)
def test_shards_cover_all_samples_once(count, per_shard, shards):
    assert plan_shards(count, per_shard) == shards


def test_fragment_keeps_samples_counts_and_polygons(tmp_path):
    samples = make_samples()[:3]
    polygons = [[None] * len(sample.annotations) for sample in samples]
    write_fragment(tmp_path, FIRST, "r", {"hidden": 2}, samples, polygons)
    fragment = read_fragment(tmp_path, FIRST)
    assert (fragment.recipe, fragment.counts, fragment.samples) == ("r", {"hidden": 2}, tuple(samples))
    assert fragment.polygons == tuple(polygons)
    assert fragment_path(tmp_path, FIRST).name == "00000000-00000002.json"


def test_shards_are_found_by_range_and_other_files_are_not(tmp_path):
    for shard in (Shard(100_000_000, 100_000_001), Shard(3, 4), FIRST):
        write_fragment(tmp_path, shard, "r", {}, [])
    for name in ("notes.json", "0-1.json", ".00000000-00000002.json.1.aside"):
        (tmp_path / "fragments" / name).write_text("{}")
    assert find_shards(tmp_path) == [FIRST, Shard(3, 4), Shard(100_000_000, 100_000_001)]
    assert find_shards(tmp_path / "nowhere") == []


def test_only_a_whole_fragment_of_the_same_recipe_is_a_commit(tmp_path):
    assert not is_committed(tmp_path, FIRST, "r")
    write_fragment(tmp_path, FIRST, "r", {}, make_samples()[:3])
    assert is_committed(tmp_path, FIRST, "r") and not is_committed(tmp_path, FIRST, "other")


def _whole(tmp_path):
    write_fragment(tmp_path, FIRST, "r", {}, make_samples()[:3])
    return fragment_path(tmp_path, FIRST)


DAMAGES = {
    "cut-off": lambda data: data[:-20],
    "empty": lambda data: b"",
    "no-object": lambda data: b"[]",
    "no-keys": lambda data: b"{}",
    "not-utf8": lambda data: b"\xff" + data,
    "nested-too-deep": lambda data: b"[" * 100_000,
    "samples-no-list": lambda data: b'{"recipe":"r","counts":{},"samples":5}',
    "other-samples": lambda data: data.replace(b'"index":2', b'"index":9'),
    "unknown-field": lambda data: data.replace(b'"origin"', b'"orange"'),
    "counts-no-object": lambda data: data.replace(b'"counts":{}', b'"counts":7'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_reading_a_damaged_fragment_says_what_to_do(tmp_path, damage):
    path = _whole(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError, match="delete it and run the same command again"):
        read_fragment(tmp_path, FIRST)


@pytest.mark.parametrize(
    "name", [name for name in DAMAGES if name not in ("unknown-field", "counts-no-object")]
)
def test_a_damaged_fragment_is_no_commit(tmp_path, name):
    path = _whole(tmp_path)
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    assert not is_committed(tmp_path, FIRST, "r")


def test_reading_a_missing_fragment_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="write the shard again"):
        read_fragment(tmp_path, FIRST)


def test_polygons_must_go_with_the_annotations(tmp_path):
    path = _whole(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"polygons": [[], [], []]}))
    with pytest.raises(ConfigError, match="delete it"):
        read_fragment(tmp_path, FIRST)


def test_numbers_that_json_does_not_have_are_refused(tmp_path):
    with pytest.raises(ValueError):
        write_fragment(tmp_path, FIRST, "r", {"x": float("nan")}, make_samples()[:3])
    assert not (tmp_path / "fragments").exists()
