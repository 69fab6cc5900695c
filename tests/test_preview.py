import cv2
import numpy as np
import pytest

from xpaste_ray.categories import Category
from xpaste_ray.formats.contract import DatasetSpec
from xpaste_ray.formats.dataset import finish, write_shard
from xpaste_ray.formats.images import ImageEncoding, encode_image
from xpaste_ray.masks import encode_rle
from xpaste_ray.preview import draw_preview
from xpaste_ray.samples import Annotation, Sample


def _dataset(folder, name):
    """Two grey images of 256 x 256 px, a banana on the first."""
    mask = np.zeros((256, 256), bool)
    mask[100:150, 60:160] = True
    banana = Annotation(
        category_id=45, segmentation=encode_rle(mask), bbox=(60, 100, 100, 50), area=5000, iscrowd=0,
        origin="pool", source_id="a", visible_fraction=1.0, z_order=1,
    )  # fmt: skip
    samples = [
        Sample(index=i, height=256, width=256, background_id="b", annotations=annotations)
        for i, annotations in enumerate([(banana,), ()])
    ]
    spec = DatasetSpec(
        recipe="r", formats=(name,), encoding=ImageEncoding(), categories=(Category(45, "banana"),),
        count=2, samples_per_shard=1,
    )  # fmt: skip
    image = encode_image(np.full((256, 256, 3), 128, np.uint8), spec.encoding)
    for shard, sample in zip(spec.shards, samples, strict=True):
        write_shard(folder, shard, [sample], [image], {}, spec)
    finish(folder, spec)


@pytest.mark.parametrize("name", ["coco", "webdataset", "voc"])
def test_preview_shows_mask_box_and_name(tmp_path, name):
    _dataset(tmp_path, name)
    draw_preview(tmp_path, tmp_path / "preview.jpg", columns=3, rows=1)
    preview = cv2.imread(str(tmp_path / "preview.jpg")).astype(int)
    assert preview.shape == (256, 768, 3)
    marked, plain, blank = np.split(preview, 3, axis=1)
    assert np.ptp(marked[125, 100]) > 20  # tinted inside the mask
    assert abs(marked[200, 200] - 128).max() < 8  # as it was outside
    assert abs(marked[94, 60:100] - 128).max() > 30  # the name's plate above the box
    assert abs(plain[20:-20, 20:-20] - 128).max() < 8 and blank.min() > 240
