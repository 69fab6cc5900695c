"""The loop on features that are drawn: some segments are planted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from xpaste_ray.config.em import EmSettings
from xpaste_ray.foregrounds.em import refine
from xpaste_ray.foregrounds.likeness import BLOCK
from xpaste_ray.rng import rng_for

BOTH = pytest.mark.parametrize("distance", ["mahalanobis", "cosine"])


def planted(name, images=60, segments=8, width=16, wrong=0.4):
    """Features (S, D) float16, image_of, the planted row of each image, and step 1's choice, of which a part
    is wrong: there it is any segment. The planted ones are around one mean; the others, each around one of
    ten other means."""
    rng = rng_for(0, "planted", name)
    kinds = rng.integers(1, 11, (images, segments))
    place = rng.integers(0, segments, images)
    kinds[np.arange(images), place] = 0
    means = 2 * rng.standard_normal((11, width))
    features = means[kinds.ravel()] + 0.5 * rng.standard_normal((images * segments, width))
    guess = np.where(rng.random(images) < wrong, rng.integers(0, segments, images), place)
    starts = np.arange(images) * segments
    image_of = np.repeat(np.arange(images), segments)
    return features.astype(np.float16), image_of, starts + place, starts + guess


def same(one, other):
    return (
        np.array_equal(one.choices, other.choices)
        and one.log == other.log
        and one.distances.tobytes() == other.distances.tobytes()
        and (one.reach, one.fallback) == (other.reach, other.fallback)
    )


@BOTH
@pytest.mark.parametrize("width", [4, 16, 200], ids=["narrow", "usual", "more-dimensions-than-images"])
def test_planted_segments_are_found(distance, width):
    features, image_of, true, initial = planted(f"found {width}", width=width)
    assert 0.5 < (initial == true).mean() < 0.8
    refined = refine(features, image_of, initial, EmSettings(distance=distance))
    assert (refined.choices[0] == initial).all() and refined.fallback is None
    assert (refined.choices[-1] == true).mean() >= (0.97 if width > 4 else 0.9)


def test_log_tells_what_changed():
    features, image_of, true, initial = planted("log")
    refined = refine(features, image_of, initial, EmSettings(iterations=10))
    steps = zip(refined.choices, refined.choices[1:], strict=False)
    assert [one.changed for one in refined.log] == [int((a != b).sum()) for a, b in steps]
    assert refined.log[-1].changed == 0 and len(refined.log) < 10, "it ends where nothing changes"
    assert refined.log[0].log_determinant > refined.log[-1].log_determinant, "what is chosen is more alike"
    last = refined.distances[refined.choices[-1]]
    assert refined.log[-1].mean_distance == pytest.approx(last.mean(), rel=1e-6)
    assert 0 < refined.reach < np.delete(refined.distances, true).min()


def test_cosine_has_no_determinant():
    features, image_of, _, initial = planted("cosine")
    assert refine(features, image_of, initial, EmSettings(distance="cosine")).log[0].log_determinant is None


@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_it_iterates_as_often_as_asked(iterations):
    features, image_of, _, initial = planted("often", wrong=0.6)
    refined = refine(features, image_of, initial, EmSettings(iterations=iterations))
    assert len(refined.log) == iterations and len(refined.choices) == iterations + 1
    if not iterations:
        assert np.isinf(refined.distances).all() and refined.reach == 0


def test_choices_are_the_nearest_of_all_of_their_image():
    features, image_of, _, initial = planted("nearest", images=20, segments=5)
    refined = refine(features, image_of, initial, EmSettings())
    expected = refined.distances.reshape(20, 5).argmin(axis=1) + 5 * np.arange(20)
    assert refined.choices[-1].tolist() == expected.tolist()


@BOTH
@pytest.mark.parametrize("images", [0, 1])
def test_too_few_to_learn_of_leave_step_1_as_it_is(images, distance):
    features = np.arange(12, dtype=np.float16).reshape(6, 2)[: 3 * images]
    initial = np.arange(images) + 1
    refined = refine(features, np.repeat(np.arange(images), 3), initial, EmSettings(distance=distance))
    assert refined.fallback == "too_few_images" and refined.log == ()
    assert refined.choices.tolist() == [initial.tolist()]


@BOTH
def test_two_images_choose_what_is_alike_in_both(distance):
    """Step 1: (10, 0) and (9, 1). Of the second image (10.5, 0) is as near to their mean as any, along the
    line between them; the others are far."""
    features = np.array([[10, 0], [0, 9], [9, 1], [-8, 1], [0, -7]], np.float16)
    refined = refine(features, np.array([0, 0, 1, 1, 1]), np.array([0, 2]), EmSettings(distance=distance))
    assert refined.fallback is None and refined.choices[-1].tolist() == [0, 2]
    assert refined.log[0].changed == 0


@BOTH
def test_identical_segments_go_to_the_first_of_each_image(distance):
    """All are the same, so the covariance is singular; step 1 had chosen the last."""
    features = np.full((BLOCK + 40, 5), 2.5, np.float16)
    image_of = np.arange(len(features)) // 6
    initial = np.append(np.flatnonzero(np.diff(image_of)), len(features) - 1)
    refined = refine(features, image_of, initial, EmSettings(distance=distance))
    assert refined.choices[-1].tolist() == np.flatnonzero(np.diff(image_of, prepend=-1)).tolist()
    assert np.isfinite([refined.log[-1].mean_distance, refined.reach]).all()


def test_copies_of_a_segment_are_a_tie_also_where_an_image_is_read_in_two_parts():
    """An image of 2 * BLOCK segments: the planted one stands three times, in both parts."""
    features, image_of, true, initial = planted("copies")
    more = np.full((2 * BLOCK, features.shape[1]), 40, np.float16)
    more[[BLOCK - 3, BLOCK - 2, BLOCK + 9]] = features[true[0]]
    features = np.concatenate([features, more])
    image_of = np.concatenate([image_of, np.full(2 * BLOCK, 60)])
    refined = refine(features, image_of, np.append(initial, -1), EmSettings())
    assert refined.choices[0][-1] == -1 and refined.choices[-1][-1] == 480 + BLOCK - 3


def test_image_without_a_first_choice_gets_one():
    features, image_of, true, initial = planted("late", wrong=0.2)
    initial[[0, 7]] = -1
    refined = refine(features, image_of, initial, EmSettings())
    assert refined.choices[-1][[0, 7]].tolist() == true[[0, 7]].tolist()


def test_features_that_are_not_finite_are_never_chosen():
    features, image_of, true, initial = planted("finite", wrong=0.2)
    initial[:2] = true[:2]
    features[true[0], 3], features[true[1]] = np.nan, np.inf
    features[16:24] = np.nan  # all of the third image
    refined = refine(features, image_of, initial, EmSettings())
    assert refined.choices[-1][0] not in (-1, true[0]) and refined.choices[-1][1] not in (-1, true[1])
    assert refined.choices[-1][2] == -1
    assert (refined.choices[-1][3:] == true[3:]).mean() > 0.97


def test_principal_components_find_them_too():
    features, image_of, true, initial = planted("components", width=80)
    refined = refine(features, image_of, initial, EmSettings(feature_dims=10))
    assert (refined.choices[-1] == true).mean() > 0.97
    assert not same(refined, refine(features, image_of, initial, EmSettings()))


@pytest.mark.parametrize("options", [{}, {"distance": "cosine"}, {"feature_dims": 6}], ids=str)
def test_rows_read_at_a_time_change_no_byte(options):
    features, image_of, _, initial = planted("chunks", images=150, segments=11, width=24)
    one, *others = (
        refine(features, image_of, initial, EmSettings(**options), chunk_rows)
        for chunk_rows in (BLOCK, 2 * BLOCK, 100 * BLOCK)
    )
    assert len(one.log) and all(same(one, other) for other in others)
    with pytest.raises(ValueError, match="multiple of"):
        refine(features, image_of, initial, EmSettings(), BLOCK + 1)


def test_number_of_threads_changes_no_byte():
    features, image_of, _, initial = planted("threads", images=700, segments=3, width=256)
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            results.append(refine(features, image_of, initial, EmSettings(feature_dims=200)))
    assert same(*results)


class Counted:
    """Features that know which of their rows were read."""

    def __init__(self, features):
        self.features, self.read = features, []

    def __len__(self):
        return len(self.features)

    def __getitem__(self, rows):
        part = self.features[rows]
        if len(part):
            self.read.append(len(part))
        return part


def test_features_stream_by_once_an_iteration():
    """And once before, for step 1's; never more than a chunk of them at once."""
    features, image_of, _, initial = planted("stream", images=400)
    counted = Counted(features)
    refined = refine(counted, image_of, initial, EmSettings(), BLOCK)
    assert max(counted.read) == BLOCK
    assert sum(counted.read) == (len(refined.log) + 1) * len(features)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    width=st.integers(1, 5),
    values=st.sampled_from([(0,), (1, 1.001), (0, 1), (-2, 0, 3), (1e-7, 6e4)]),
    distance=st.sampled_from(["mahalanobis", "cosine"]),
    shrinkage=st.sampled_from(["ledoit-wolf", 0.0, 0.3]),
    dims=st.sampled_from([None, 1, 2]),
    seed=st.integers(0, 9),
)
def test_any_features_give_each_image_one_of_its_own_segments(
    sizes, width, values, distance, shrinkage, dims, seed
):
    """Few distinct numbers: ties, singular covariances, classes of one or two images."""
    rng = rng_for(seed, "any")
    image_of = np.repeat(np.arange(len(sizes)), sizes)
    features = rng.choice(values, (len(image_of), width)).astype(np.float16)
    starts = np.cumsum(sizes) - sizes
    initial = np.where(
        np.array(sizes) > 0, starts + rng.integers(0, 4, len(sizes)) % np.maximum(sizes, 1), -1
    )
    how = EmSettings(distance=distance, shrinkage=shrinkage, feature_dims=dims)
    refined = refine(features, image_of, initial, how)
    assert (refined.fallback is None) == (np.count_nonzero(sizes) >= 2)
    for choice in refined.choices:
        assert ((choice >= 0) == (np.array(sizes) > 0)).all()
        assert (image_of[choice[choice >= 0]] == np.flatnonzero(sizes)).all()
    assert all(np.isfinite(one.mean_distance) for one in refined.log)
