"""Files that sizes are fitted from: what cannot be used is counted, by reason."""

import numpy as np
import pytest

from xpaste_ray.compose.size_fit import fit_size_table, size_table_bytes, write_size_table
from xpaste_ray.compose.size_table import load_size_table
from xpaste_ray.errors import ConfigError

IMAGES = [{"id": 1, "height": 100, "width": 100}, {"id": "b", "height": 100, "width": 400}]
GOOD = {"image_id": 1, "category_id": 3, "bbox": [0, 0, 20, 20]}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"iscrowd": 1}, "crowd"),
        ({"category_id": None}, "no_category"),
        ({"category_id": "cup"}, "no_category"),
        ({"category_id": True}, "no_category"),
        ({"bbox": None}, "no_box"),
        ({"bbox": [0, 0, 20]}, "no_box"),
        ({"bbox": [0, 0, "20", 20]}, "no_box"),
        ({"bbox": [0, 0, float("nan"), 20]}, "no_box"),
        ({"bbox": [0, 0, float("inf"), 20]}, "no_box"),
        ({"bbox": [0, 0, 10**400, 20]}, "no_box"),
        ({"bbox": [0, 0, 0, 20]}, "empty_box"),
        ({"bbox": [0, 0, 20, -1]}, "empty_box"),
        ({"image_id": 9}, "unknown_image"),
        ({"image_id": [1]}, "unknown_image"),
        ({"image_id": None}, "unknown_image"),
        ({"image_id": 5}, "image_without_size"),
        ({"image_id": 6}, "image_without_size"),
        ({"image_id": 7}, "image_without_size"),
    ],
)
def test_an_unusable_annotation_is_left_out_by_reason(fields, reason):
    """The good one is 20 of 100 px: share 0.2."""
    images = [*IMAGES, {"id": 5, "width": 9}, {"id": 6, "height": 0, "width": 9}, {"id": 7}, {}, {"id": [1]}]
    table, left_out = fit_size_table({"images": images, "annotations": [GOOD, GOOD | fields]})
    assert table == {"3": [pytest.approx(0.2), 0.0], "overall": [pytest.approx(0.2), 0.0]}
    assert left_out == {reason: 1}


def test_missing_keys_are_left_out_too():
    bad = [{key: value for key, value in GOOD.items() if key != missing} for missing in GOOD]
    _, left_out = fit_size_table({"images": IMAGES, "annotations": [GOOD, *bad]})
    assert left_out == {"unknown_image": 1, "no_category": 1, "no_box": 1}


def test_image_ids_may_be_text():
    """20 x 20 px of 100 x 400: share 0.1."""
    table, _ = fit_size_table({"images": IMAGES, "annotations": [GOOD | {"image_id": "b"}]})
    assert table["3"] == [pytest.approx(0.1), 0.0]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({}, "images"),
        ({"images": IMAGES}, "annotations"),
        ({"images": {}, "annotations": []}, "images"),
        ({"images": [1], "annotations": []}, "images"),
        ({"images": IMAGES, "annotations": "none"}, "annotations"),
    ],
)
def test_what_is_no_coco_file_is_refused_with_what_it_lacks(value, key):
    with pytest.raises(ConfigError, match=f"no COCO or LVIS file: it has no list of objects '{key}'"):
        fit_size_table(value)


def test_a_file_with_nothing_usable_says_why():
    with pytest.raises(ConfigError, match="no boxes to fit sizes from: .* crowd 2, no_box 1"):
        crowd = GOOD | {"iscrowd": 1}
        fit_size_table({"images": IMAGES, "annotations": [crowd, crowd, GOOD | {"bbox": []}]})


def test_a_table_is_written_again_but_never_over_something_else(tmp_path):
    path = tmp_path / "new" / "sizes.json"
    for _ in range(2):
        write_size_table(path, {"3": [0.2, 0.1]})
    with pytest.raises(ConfigError, match="give another --out, or delete it"):
        write_size_table(path, {"3": [0.3, 0.1]})
    assert "0.2" in path.read_text()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_size_table(tmp_path, {"3": [0.2, 0.1]})


def _coco(boxes):
    return {
        "images": [{"id": 1, "height": 100, "width": 100}, {"id": 2, "height": 100, "width": 400}],
        "annotations": [
            {"image_id": image, "category_id": category, "bbox": [0, 0, *side], "iscrowd": crowd}
            for image, category, side, crowd in boxes
        ],
    }


def test_fit_by_hand(tmp_path):
    """Category 3: shares 0.2 and 0.4 of the side; 7: one, so deviation 0; crowds do not count."""
    coco = _coco(
        [
            (1, 3, (20, 20), 0),
            (2, 3, (80, 80), 0),
            (1, 7, (10, 40), 0),
            (1, 7, (90, 90), 1),
            (1, 7, (0, 5), 0),
        ]
    )
    table, left_out = fit_size_table(coco)
    assert left_out == {"crowd": 1, "empty_box": 1}
    assert table["3"] == pytest.approx([0.3, 0.1]) and table["7"] == pytest.approx([0.2, 0.0])
    path = tmp_path / "sizes.json"
    path.write_bytes(size_table_bytes(table))
    loaded = load_size_table(str(path), ())
    assert loaded.of(3) == pytest.approx((0.3, 0.1))
    assert loaded.of(99) == pytest.approx((0.8 / 3, np.std([0.2, 0.4, 0.2])))


def test_nothing_to_fit_is_an_error():
    with pytest.raises(ConfigError, match="no boxes"):
        fit_size_table(_coco([(1, 3, (90, 90), 1)]))
