import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.sparse import csr_array

from xpaste_ray.errors import ConfigError
from xpaste_ray.longtail import choose_images, draw_long_tail, reference_counts


def _draw(counts, most=20, least=1, seed=0, ids=None, shape=6.0):
    counts = csr_array(counts)
    return draw_long_tail(counts, ids or list(range(counts.shape[0])), shape, most, least, seed)


def _crowded(images=3000, classes=20, seed=0):
    """Photographs with several objects of three classes on average: the first class is in 30 % of them."""
    rng = np.random.default_rng(seed)
    shown = rng.random((images, classes)) < np.linspace(0.3, 0.02, classes)
    return csr_array(shown * rng.geometric(0.5, (images, classes)))


# --- the reference -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "shape", "most", "least"), [(20, 6, 800, 1), (80, 6, 800, 1), (7, 2.5, 90, 4)]
)
def test_reference_is_the_pareto_density_between_the_two_numbers(classes, shape, most, least):
    reference = reference_counts(classes, shape, most, least)
    points = np.linspace(1, (most / least) ** (1 / (shape + 1)), classes)
    density = stats.pareto.pdf(points, shape)
    np.testing.assert_allclose(reference, most * density / density[0])
    assert reference[0] == most and reference[-1] == pytest.approx(least)


def test_paper_s_numbers_for_voc_can_be_checked_by_hand():
    """800, then points 0.0839 apart: 800 x 1.0839^-7 = 455."""
    assert np.rint(reference_counts(20, 6, 800, 1)).tolist() == [
        800, 454, 269, 166, 105, 68, 46, 31, 22, 15, 11, 8, 6, 5, 3, 3, 2, 2, 1, 1
    ]  # fmt: skip


@given(st.integers(1, 1300), st.floats(0.1, 20), st.integers(1, 50), st.integers(0, 5000))
def test_reference_descends(classes, shape, least, more):
    reference = reference_counts(classes, shape, least + more, least)
    assert len(reference) == classes and (np.diff(reference) <= 1e-9).all()
    assert reference[0] == least + more and reference[-1] >= least * (1 - 1e-9)


@pytest.mark.parametrize(
    ("shape", "most", "least", "option"),
    [(0, 8, 1, "--shape"), (float("nan"), 8, 1, "--shape"), (6, 8, 0, "--min"), (6, 1, 8, "--max")],
)
def test_numbers_that_make_no_curve_are_refused(shape, most, least, option):
    with pytest.raises(ConfigError, match=option):
        reference_counts(5, shape, most, least)


# --- the images ----------------------------------------------------------------------------------


def test_images_of_one_mask_each_fit_exactly():
    totals = [30, 90, 8, 1, 60]
    tail = _draw(np.repeat(np.eye(5, dtype=int), totals, axis=0), most=50)
    assert tail.classes.tolist() == [1, 4, 0, 2, 3]  # by their masks
    assert tail.totals.tolist() == [90, 60, 30, 8, 1]
    assert tail.reference.tolist() == [50, 15, 5, 2, 1] == tail.achieved.tolist()
    assert len(tail.images) == 73 and tail.misfit == 0


def test_class_with_less_than_its_reference_gives_all_that_it_has():
    tail = _draw(np.repeat(np.eye(2, dtype=int), [5, 4], axis=0), most=50, least=10)
    assert tail.reference.tolist() == [50, 10] and tail.achieved.tolist() == [5, 4] and tail.misfit == 0


def test_no_class_exceeds_its_target_where_another_image_would_do():
    counts = [[5, 0], [1, 1], [3, 0], [2, 1], [1, 0]]
    for first in range(5):
        order = np.roll(np.arange(5), -first)
        chosen = choose_images(csr_array(np.array(counts)), np.array([2, 1]), order)
        assert np.array(counts)[chosen].sum(0).tolist() == [2, 1]


def test_class_whose_every_image_harms_another_gets_the_one_that_harms_least():
    counts = np.array([[1, 0], [9, 1], [7, 1]])
    assert choose_images(csr_array(counts), np.array([1, 1]), [1, 2, 0]).tolist() == [True, False, True]


_SHAPES = st.tuples(st.integers(1, 25), st.integers(1, 6))


@settings(max_examples=60)
@given(
    hnp.arrays(int, _SHAPES, elements=st.sampled_from([0, 0, 0, 1, 2, 7])),
    st.integers(1, 30),
    st.integers(0, 3),
)
def test_what_is_achieved_is_what_the_images_show(counts, most, seed):
    if not counts.any():
        with pytest.raises(ConfigError, match="no mask"):
            _draw(counts)
        return
    tail = _draw(counts, most, seed=seed)
    assert tail.achieved.tolist() == counts[tail.images][:, tail.classes].sum(0).tolist()
    assert (tail.achieved >= 1).all() and (tail.achieved <= tail.totals).all()
    assert sorted(tail.classes.tolist()) == np.flatnonzero(counts.any(0)).tolist()
    assert (np.diff(tail.totals) <= 0).all() and (np.diff(tail.images) > 0).all()
    assert counts[tail.images].any(1).all()  # no image for nothing


@pytest.mark.parametrize("seed", range(3))
def test_drawn_images_fit_far_better_than_as_many_others(seed):
    counts = _crowded()
    tail = _draw(counts, most=200, seed=seed)
    targets = np.minimum(tail.reference, tail.totals)
    rng = np.random.default_rng(seed)
    others = [rng.choice(counts.shape[0], len(tail.images), replace=False) for _ in range(20)]
    misfits = [np.abs(counts[rows].sum(0)[tail.classes] - targets).sum() / targets.sum() for rows in others]
    assert tail.misfit < 0.02 and tail.misfit < min(misfits) / 5


def test_same_seed_draws_the_same_images_in_any_order_and_another_seed_others():
    counts = _crowded().toarray()
    ids = [f"image {row}" for row in range(len(counts))]
    turned = np.random.default_rng(1).permutation(len(counts))

    def drawn(order, seed):
        tail = _draw(counts[order], most=100, seed=seed, ids=[ids[row] for row in order])
        return {ids[order[row]] for row in tail.images}

    straight = drawn(np.arange(len(counts)), 7)
    assert straight == drawn(turned, 7)
    assert len(straight & drawn(np.arange(len(counts)), 8)) < len(straight) / 2
