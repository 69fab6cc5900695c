import pytest

from tests.compose.options import options
from tests.conftest import CATEGORIES
from xpaste_ray.categories import Category
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.shards import compose_shard, dataset_spec, merged_categories
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.dataset import finish
from xpaste_ray.formats.shards import read_fragment

COUNTS = {"banana": 2, "lion": 2}


def _compose(dataset, pool, backgrounds, samples_per_shard, backwards=False):
    settings = options("count=7", f"samples_per_shard={samples_per_shard}", "output.formats=[coco]")
    compositor = Compositor(pool, backgrounds, settings, seed=0)
    spec = dataset_spec(settings, pool, backgrounds, "recipe", {})
    for shard in spec.shards[:: -1 if backwards else 1]:
        compose_shard(dataset, shard, compositor, spec, None)
    return spec, finish(dataset, spec)


def test_images_and_annotations_do_not_depend_on_shards_or_their_order(tmp_path, make_pool, backgrounds):
    pool, results = make_pool(COUNTS), []
    for name, samples_per_shard, backwards in (("a", 3, False), ("b", 7, False), ("c", 2, True)):
        _compose(tmp_path / name, pool, backgrounds, samples_per_shard, backwards)
        images = sorted((tmp_path / name / "images").iterdir())
        results.append(
            ([path.read_bytes() for path in images], (tmp_path / name / "annotations.json").read_bytes())
        )
    assert len(results[0][0]) == 7 and results[0] == results[1] == results[2]


def test_everything_that_was_drawn_is_counted(tmp_path, make_pool, backgrounds):
    spec, counts = _compose(tmp_path, make_pool(COUNTS), backgrounds, 3)
    fragments = [read_fragment(tmp_path, shard) for shard in spec.shards]
    samples = [sample for fragment in fragments for sample in fragment.samples]
    assert counts["images"] == len(samples) == 7
    assert counts["annotations"] == sum(len(sample.annotations) for sample in samples)
    left_out = counts["hidden"] + counts["occluded"] + counts["empty_mask"]
    assert counts["placed"] == counts["pasted_annotations"] + left_out
    assert counts["annotations"] == counts["pasted_annotations"]


def test_sizes_of_unknown_categories_are_counted(tmp_path, make_pool, backgrounds):
    """A table that has bananas (45) only."""
    table = tmp_path / "sizes.json"
    table.write_text('{"45": [0.3, 0.0], "overall": [0.3, 0.0]}')
    settings = options("size.rule=prior", f"size.table={table}", "instances=[8, 8]")
    composed = Compositor(make_pool(COUNTS), backgrounds, settings, seed=0).compose(0)
    lions = [p for p in composed.plan.placements if p.category_id != 45]
    assert 0 < composed.counts["sized_by_overall"] == len(lions) < 8


def test_shard_from_plans_is_the_one_that_was_planned(tmp_path, make_pool, backgrounds):
    settings = options("count=4", "samples_per_shard=4")
    pool = make_pool(COUNTS)
    compositor = Compositor(pool, backgrounds, settings, seed=0)
    spec = dataset_spec(settings, pool, backgrounds, "recipe", {})
    plans = [compositor.plan(sample) for sample in range(4)]
    compose_shard(tmp_path / "planned", spec.shards[0], compositor, spec, None)
    other = Compositor(pool, backgrounds, settings, seed=99)
    compose_shard(tmp_path / "given", spec.shards[0], other, spec, plans)
    for name in ("images/000003.jpg", "fragments/00000000-00000003.json"):
        assert (tmp_path / "planned" / name).read_bytes() == (tmp_path / "given" / name).read_bytes()


def test_categories_of_pool_and_backgrounds_are_merged_by_id():
    assert merged_categories(CATEGORIES[1:], CATEGORIES[:2]) == CATEGORIES


def test_one_id_with_two_names_is_an_error():
    with pytest.raises(ConfigError, match="'banana' in the pool and 'apple' in the backgrounds"):
        merged_categories(CATEGORIES, [Category(CATEGORIES[0].id, "apple")])
