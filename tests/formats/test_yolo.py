import cv2
import numpy as np
import pytest
import supervision
import yaml
from pycocotools import mask as coco_mask

from tests.formats.conftest import CATEGORIES, make_annotation, make_samples, rectangle
from xpaste_ray.formats.images import ImageEncoding
from xpaste_ray.formats.yolo import label_line


def _load(dataset):
    return supervision.DetectionDataset.from_yolo(
        str(dataset / "images"), str(dataset / "labels"), str(dataset / "data.yaml"), force_masks=True
    )


@pytest.mark.parametrize("encoding", [ImageEncoding(), ImageEncoding(format="png")])
def test_dataset_loads_with_supervision(make_dataset, encoding):
    """Masks of one part are exact; the two parts of sample 0 come back with their bridge."""
    dataset = make_dataset("yolo", encoding=encoding)
    read = _load(dataset)
    class_of = {category.id: index for index, category in enumerate(CATEGORIES)}
    for sample in make_samples():
        detections = read.annotations[str(dataset / "images" / f"{sample.index:06d}{encoding.suffix}")]
        objects = [a for a in sample.annotations if not a.iscrowd]
        assert detections.class_id.tolist() == [class_of[a.category_id] for a in objects]
        for mask, annotation in zip(detections.mask if objects else [], objects, strict=True):
            expected = coco_mask.decode(annotation.segmentation).astype(bool)
            assert not (expected & ~mask).any()
            assert (mask & ~expected).sum() <= (9 if annotation.origin == "copied" else 0)


def test_names_are_kept_by_class_index(make_dataset):
    dataset = make_dataset("yolo")
    data = yaml.safe_load((dataset / "data.yaml").read_text(encoding="utf-8"))
    assert data == {
        "train": "images",
        "val": "images",
        "names": {i: c.name for i, c in enumerate(CATEGORIES)},
    }
    assert _load(dataset).classes == [category.name for category in CATEGORIES]


def test_an_image_without_objects_has_an_empty_file_and_crowds_are_left_out(make_dataset):
    labels = make_dataset("yolo") / "labels"
    lines = {path.name: len(path.read_text().splitlines()) for path in labels.iterdir()}
    assert lines == {"000000.txt": 3, "000001.txt": 1, "000002.txt": 0, "000003.txt": 2, "000004.txt": 2}


def _read(line, size_hw, to_index):
    """A line as trainers read it: fractions to pixel indices, filled by OpenCV."""
    values = np.array(line.split()[1:], dtype=float).reshape(-1, 2) * np.array(size_hw[::-1])
    filled = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(filled, [to_index(values).astype(np.int32)], 1)
    return filled.astype(bool)


@pytest.mark.parametrize("to_index", [np.round, np.trunc], ids=["rounding", "cutting-off"])
@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(rectangle(31, 23, 1, 1), id="one-pixel-in-the-corner"),
        pytest.param(rectangle(0, 0, 32, 24), id="the-whole-image"),
        pytest.param(rectangle(4, 5, 9, 1), id="a-row"),
        pytest.param(rectangle(4, 5, 1, 9), id="a-column"),
        pytest.param(rectangle(2, 2, 12, 10) & ~rectangle(5, 5, 4, 3), id="a-hole"),
    ],
)
def test_masks_are_the_same_however_readers_make_pixels_of_fractions(mask, to_index):
    line = label_line(make_annotation(mask), 0, mask.shape)
    assert len(line.split()) >= 7  # fewer would be read as a box
    assert np.array_equal(_read(line, mask.shape, to_index), mask)


def test_coordinates_are_fractions_of_the_image():
    line = label_line(make_annotation(rectangle(8, 12, 8, 6)), 2, (24, 32))
    index, *values = line.split()
    points = sorted(zip(map(float, values[::2]), map(float, values[1::2]), strict=True))
    low_x, high_x, low_y, high_y = 8.25 / 32, 15.25 / 32, 12.25 / 24, 17.25 / 24
    assert index == "2"
    expected = [(low_x, low_y), (low_x, high_y), (high_x, low_y), (high_x, high_y)]
    assert np.allclose(points, expected, atol=1e-6)
