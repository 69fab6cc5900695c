import numpy as np
import pytest
from scipy.spatial.distance import pdist

from xpaste_ray.foregrounds import components
from xpaste_ray.foregrounds.components import principal_axes, reduced
from xpaste_ray.foregrounds.likeness import BLOCK
from xpaste_ray.rng import rng_for


def flat(name, count, width, rank):
    """(count, width) on a random plane of `rank` dimensions, away from the origin."""
    rng = rng_for(0, name)
    points = rng.standard_normal((count, rank)) * np.linspace(3, 1, rank)
    return (5 + points @ np.linalg.qr(rng.standard_normal((width, rank)))[0].T).astype(np.float32)


@pytest.mark.parametrize(("count", "width"), [(200, 12), (12, 200)], ids=["many-samples", "few-samples"])
def test_axes_keep_all_distances_of_what_lies_on_a_plane(count, width):
    """And the largest variance becomes 1."""
    samples = flat("plane", count, width, 3)
    mean, axes = principal_axes(samples, 8)
    assert axes.shape == (width, 3)
    found = (samples - mean) @ axes
    assert found.var(axis=0).max() == pytest.approx(1, rel=1e-3)
    ratio = pdist(samples) / pdist(found)
    assert ratio == pytest.approx(ratio[0], rel=1e-3)


@pytest.mark.parametrize(("count", "width"), [(200, 12), (12, 200)])
def test_axes_are_those_along_which_there_is_most(count, width):
    """Of the variances 9, 4 and 1, two dimensions keep the first two: their ratio is 4 / 9."""
    rng = rng_for(0, "most")
    samples = np.zeros((count, width))
    points = np.linalg.qr(rng.standard_normal((count, 4)) + np.array([1e6, 0, 0, 0]))[0][:, 1:]
    samples[:, [2, 5, 7]] = points * [2, 3, 1]
    _, axes = principal_axes(samples, 2)
    strongest = np.abs(axes).argmax(axis=0).tolist()
    assert strongest == [5, 2]
    assert ((samples @ axes).var(axis=0)) == pytest.approx([1, 4 / 9], rel=1e-3)


def test_samples_that_are_all_the_same_have_one_axis():
    mean, axes = principal_axes(np.full((4, 9), 2.5, np.float16), 3)
    assert mean.tolist() == [2.5] * 9 and axes.shape == (9, 1) and np.isfinite(axes).all()


def test_reduced_features_are_read_in_parts_and_do_not_depend_on_the_parts(tmp_path):
    features = flat("parts", 3 * BLOCK + 11, 20, 4).astype(np.float16)
    features[5, 2] = np.inf
    found = []
    for chunk_rows in (BLOCK, 4 * BLOCK):
        with reduced(features, 4, chunk_rows) as narrow:
            assert len(narrow) == len(features) and narrow[7:7].shape == (0, 4)
            found.append(np.concatenate([narrow[:100], narrow[100 : len(features) + 50]]))
            path = narrow.path
        assert not path.exists()
    assert found[0].dtype == np.float16 and np.array_equal(*found, equal_nan=True)
    assert np.flatnonzero(~np.isfinite(found[0]).all(axis=1)).tolist() == [5]


@pytest.mark.parametrize("dims", [None, 20, 99])
def test_features_that_have_no_more_numbers_stay_as_they_are(dims):
    features = flat("same", 30, 20, 4)
    with reduced(features, dims, BLOCK) as narrow:
        assert narrow is features


def test_axes_are_of_segments_from_everywhere(monkeypatch):
    """Of 1000 rows, ten are looked at: one of the last hundred, which alone differ, is among them."""
    monkeypatch.setattr(components, "_MOST_SAMPLES", 10)
    features = np.zeros((1000, 3), np.float32)
    features[900:, 1] = 1
    with reduced(features, 1, BLOCK) as narrow:
        assert narrow[899:901].ravel()[0] != narrow[899:901].ravel()[1]
