import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from xpaste_ray.formats.rle import decode_in_box, rle_runs
from xpaste_ray.masks import encode_rle, tight_box_xywh

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_runs_are_read_from_coco_text(mask):
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, len(flat)]).tolist()
    rle = encode_rle(mask)
    assert rle_runs(rle["counts"]).tolist() == ([0, *runs] if flat[0] else runs)


def test_long_runs_are_read():
    runs = [5_000_000, 40_000_000, 1, 2, 3, 54_999_994]
    rle = coco_mask.frPyObjects({"size": [10_000, 10_000], "counts": runs}, 10_000, 10_000)
    assert rle_runs(rle["counts"].decode()).tolist() == runs


@pytest.mark.parametrize("counts", ["", "Q", "5ü", " ", "~~~", "ooooooooo0"])
def test_foreign_text_is_refused(counts):
    with pytest.raises(ValueError):
        rle_runs(counts)


@settings(max_examples=50, deadline=None)
@given(MASKS.filter(lambda mask: mask.any()))
def test_decoding_in_the_box_is_cutting_out_of_the_mask(mask):
    left, top, width, height = box = tight_box_xywh(mask)
    part = decode_in_box(encode_rle(mask), box)
    assert part.dtype == bool
    assert np.array_equal(part, mask[top : top + height, left : left + width])
