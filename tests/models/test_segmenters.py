"""Which class each kind of method is, and that a run loads only the libraries of those it names."""

import subprocess
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter

from tests.models.sams import save_tiny_sam
from xpaste_ray.config.segment import MethodSettings
from xpaste_ray.models.segmenters import Shown, build_segmenter

METHOD = TypeAdapter(MethodSettings)


@pytest.mark.parametrize(
    ("kind", "name", "micro_batch"),
    [
        ("grabcut", "GrabCutSegmenter", 1),
        ("full", "FullSegmenter", 1),
        ("sam", "SamSegmenter", 1),
        ("slic", "SuperpixelSegmenter", 1),
        ("felzenszwalb", "SuperpixelSegmenter", 1),
    ],
)
def test_each_kind_keeps_the_contract(kind, name, micro_batch, tmp_path):
    """A list of masks an image, in its frame, float32 in [0, 1]; images of two sizes in one call. On a
    processor networks take one image at a time, whatever the settings say."""
    told = {"kind": kind}
    if kind == "sam":
        told |= {"model": str(save_tiny_sam(tmp_path)), "micro_batch": 3}
    segmenter = build_segmenter(METHOD.validate_python(told))
    assert type(segmenter).__name__ == name and segmenter.micro_batch == micro_batch
    rng = np.random.default_rng(0)
    shown = [Shown(str(i), "lion", rng.integers(0, 255, (20 + i, 40, 3), np.uint8)) for i in range(3)]
    found = segmenter(shown)
    assert len(found) == 3
    for one, masks in zip(shown, found, strict=True):
        for soft in masks:
            assert soft.mask.shape == one.image.shape[:2] and soft.mask.dtype == np.float32
            assert soft.mask.min() >= 0 and soft.mask.max() <= 1


def test_full_is_the_whole_image():
    ((soft,),) = build_segmenter(METHOD.validate_python({"kind": "full"}))(
        [Shown("a", "lion", np.zeros((3, 5, 3), np.uint8))]
    )
    assert soft.mask.shape == (3, 5) and soft.mask.min() == 1 and soft.score == 0


def test_methods_without_networks_load_no_torch():
    code = (
        "import sys; from xpaste_ray.config.segment import SegmentSettings;"
        "from xpaste_ray.stages.segment import SegmentStage;"
        "SegmentStage(SegmentSettings(methods={'a': {'kind': 'grabcut'}, 'b': {'kind': 'full'},"
        "'c': {'kind': 'slic'}}));"
        "print({'torch', 'ray', 'segment_anything', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
