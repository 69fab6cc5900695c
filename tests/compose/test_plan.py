import pytest

from xpaste_ray.compose.plan import make_plan
from xpaste_ray.config import load_settings
from xpaste_ray.errors import ConfigError


def _options(**changes):
    options = {"side_px": 64, "instances": [1, 8], "size_fraction": [0.2, 0.5], "flip_probability": 0.5}
    return load_settings(
        "demo", [f"compose.{key}={value}" for key, value in (options | changes).items()]
    ).compose


OPTIONS = _options()


def _plans(pool, backgrounds, count=200, options=OPTIONS, seed=0):
    return [make_plan(pool, backgrounds, options, seed, sample) for sample in range(count)]


def test_sample_does_not_depend_on_any_other(make_pool, backgrounds):
    pool = make_pool({"banana": 2, "lion": 3})
    assert make_plan(pool, backgrounds, OPTIONS, 0, 17) == _plans(pool, backgrounds)[17]
    assert make_plan(pool, backgrounds, OPTIONS, 1, 17) != _plans(pool, backgrounds)[17]


def test_every_decision_stays_in_its_range(make_pool, backgrounds):
    plans = _plans(make_pool({"banana": 2, "lion": 3}), backgrounds)
    assert {len(plan.placements) for plan in plans} == set(range(1, 9))
    assert {plan.background_id for plan in plans} == {"0.png", "1.png"}
    for plan in plans:
        left, top, width, height = plan.crop_xywh
        assert width == height >= 16 and 0 <= left <= 48 - width and 0 <= top <= 32 - height
        for placement in plan.placements:
            assert 12 <= max(placement.size_hw) <= 32
            assert all(
                c >= 0 and c + s <= 64 for c, s in zip(placement.top_left_yx, placement.size_hw, strict=True)
            )


def test_categories_are_balanced_whatever_their_counts(make_pool, backgrounds):
    """One banana, nine lions: half and half. 4,000 draws, so 5 standard deviations are 160."""
    options = _options(instances=[20, 20])
    plans = _plans(make_pool({"banana": 1, "lion": 9}), backgrounds, options=options)
    drawn = [placement.category_id for plan in plans for placement in plan.placements]
    assert len(drawn) == 4000 and abs(drawn.count(45) - 2000) < 160


def test_flips_follow_their_probability(make_pool, backgrounds):
    pool = make_pool({"banana": 1})
    for probability in (0.0, 1.0):
        plans = _plans(pool, backgrounds, 20, _options(flip_probability=probability))
        assert {p.flip for plan in plans for p in plan.placements} == {bool(probability)}


def test_empty_pool_is_an_error(make_pool, backgrounds):
    with pytest.raises(ConfigError, match="the pool is empty"):
        make_plan(make_pool({}), backgrounds, OPTIONS, 0, 0)
