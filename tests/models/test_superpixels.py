import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.models.segmenting import shown
from xpaste_ray.config.segment import MethodSettings
from xpaste_ray.embedded.scenes import SceneStyle, compose_scene
from xpaste_ray.models.segmenters import Shown, build_segmenter
from xpaste_ray.rng import rng_for

KINDS = ("slic", "felzenszwalb")


def _segmenter(kind, **options):
    return build_segmenter(TypeAdapter(MethodSettings).validate_python({"kind": kind, **options}))


def _proposals(kind, image, **options):
    ((*found,),) = _segmenter(kind, **options)([Shown("one", "frog", image)])
    return found


def _iou(one, other):
    return (one & other).sum() / (one | other).sum()


def _two_squares(side=96):
    """A blue and a green square on red: the image, and their masks."""
    image = np.full((side, side, 3), (200, 30, 30), np.uint8)
    masks = np.zeros((2, side, side), bool)
    masks[0, side // 8 : side // 3, side // 8 : side // 3] = True
    masks[1, side // 2 : 7 * side // 8, side // 2 : 7 * side // 8] = True
    image[masks[0]], image[masks[1]] = (30, 30, 200), (30, 200, 30)
    return image, masks


@pytest.mark.parametrize("kind", KINDS)
def test_plain_objects_are_among_the_first_proposals(kind):
    image, squares = _two_squares()
    found = [one.mask > 0.5 for one in _proposals(kind, image)[:10]]
    assert all(max(_iou(mask, square) for mask in found) > 0.8 for square in squares)


@pytest.mark.parametrize("kind", KINDS)
def test_most_objects_of_composed_scenes_are_found(kind):
    """Shipped objects on photographs; the benchmark has several an image."""
    style = SceneStyle(backgrounds=("photo",), object_scale=(0.3, 0.6), max_rotation_deg=20, max_light=0.1)
    best = []
    for number, name in enumerate(["banana", "frog", "teapot", "zebra", "guitar", "penguin"] * 2):
        image, alpha = compose_scene(rng_for(1, "test-proposals", number), name, style, 160)
        best.append(max(_iou(one.mask > 0.5, alpha > 0.5) for one in _proposals(kind, image)))
    assert np.mean(np.array(best) >= 0.5) >= 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_scores_fall_and_masks_are_no_more_than_allowed(kind):
    many = _proposals(kind, shown(3, (80, 90)).image, max_masks=30)
    few = _proposals(kind, shown(3, (80, 90)).image, max_masks=7)
    scores = [one.score for one in many]
    assert len(many) == 30 and len(few) == 7 and scores == sorted(scores, reverse=True)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(few, many, strict=False))


def _options(kind, scales):
    return {"segments": scales} if kind == "slic" else {"scales": scales}


@pytest.mark.parametrize(("kind", "coarse", "fine"), [("slic", 9, 60), ("felzenszwalb", 3000, 5)])
def test_several_scales_give_what_each_gives_without_repeats(kind, coarse, fine):
    """Without mergers and with room for all: every mask of the two scales is one of either."""
    image = compose_scene(rng_for(0, "scales"), "frog", _PHOTO, 96)[0]

    def found(*scales):
        told = _proposals(kind, image, max_merged=1, max_masks=1000, **_options(kind, scales))
        return {(one.mask > 0.5).tobytes() for one in told}

    one, other, both = found(coarse), found(fine), found(coarse, fine)
    assert both == found(fine, coarse)  # the order in the settings decides nothing
    assert both <= one | other and both & (one - other) and both & (other - one)


_PHOTO = SceneStyle(backgrounds=("photo",), object_scale=(0.5, 0.6), max_rotation_deg=0, max_light=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_iou", [0.3, 0.8])
def test_no_two_masks_overlap_by_more_than_the_bar(kind, max_iou):
    image = compose_scene(rng_for(0, "overlaps"), "frog", _PHOTO, 96)[0]
    masks = [one.mask > 0.5 for one in _proposals(kind, image, max_overlap_iou=max_iou)]
    assert len(masks) > 5
    assert max(_iou(a, b) for i, a in enumerate(masks) for b in masks[:i]) <= max_iou


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 1000), height=st.integers(2, 60), width=st.integers(2, 60), blocks=st.integers(1, 6)
)
@settings(max_examples=15, deadline=None)
def test_every_mask_is_one_connected_part_and_not_the_whole(kind, seed, height, width, blocks):
    """Of images no larger than they are computed at; by sides of pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (blocks, blocks, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    for one in _proposals(kind, image, **_options(kind, (6, 20))):
        assert one.mask.shape == (height, width) and one.mask.dtype == np.float32
        assert set(np.unique(one.mask)) == {0, 1}
        assert cv2.connectedComponents(one.mask.astype(np.uint8), connectivity=4)[0] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_large_images_are_computed_small_and_masks_are_in_their_frame(kind):
    image, squares = _two_squares(480)
    wide = np.pad(image, ((0, 0), (0, 160), (0, 0)), mode="edge")
    found = _proposals(kind, wide, side_px=128)
    assert all(one.mask.shape == (480, 640) and 0 <= one.mask.min() <= one.mask.max() <= 1 for one in found)
    for square in squares:
        square = np.pad(square, ((0, 0), (0, 160)))
        assert max(_iou(one.mask > 0.5, square) for one in found) > 0.8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (200, 3), (64, 64)])
def test_plain_image_has_no_proposal_that_is_all_of_it(kind, size_hw):
    found = _proposals(kind, np.full((*size_hw, 3), 90, np.uint8))
    assert all(0 < one.mask.mean() < 1 for one in found)


@pytest.mark.parametrize("kind", KINDS)
def test_same_image_same_masks_whatever_else_is_shown(kind):
    segmenter, one, other = _segmenter(kind), shown(1, (50, 70)), shown(2, (40, 30))
    alone, among = segmenter([one])[0], segmenter([other, one])[1]
    again = Shown("another", "zebra", one.image, "its/name.jpg")
    for masks in (among, segmenter([again])[0]):
        assert [soft.score for soft in masks] == [soft.score for soft in alone]
        assert all(np.array_equal(a.mask, b.mask) for a, b in zip(masks, alone, strict=True))


@pytest.mark.parametrize(
    ("kind", "option", "wrong"),
    [("slic", "segments", []), ("slic", "segments", [1]), ("felzenszwalb", "scales", []),
     ("felzenszwalb", "scales", [0]), ("slic", "compactness", 0), ("slic", "max_merged", 0)],
)  # fmt: skip
def test_scales_must_be_some_and_positive(kind, option, wrong):
    with pytest.raises(ValidationError, match=option):
        _segmenter(kind, **{option: wrong})
