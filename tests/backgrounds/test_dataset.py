"""COCO and LVIS: what pycocotools makes of a file is what comes out of the index."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tests.backgrounds.material import (
    compressed_rle,
    encoded,
    exif,
    picture,
    small_dataset,
    square,
    write_dataset,
)
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.backgrounds.annotations import Frame, encode_annotation
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.masks import tight_box_xywh
from xpaste_ray.pictures.decode import upright

IMAGE = {"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}


def _annotation(segmentation, number=1, **changes):
    return {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 1, 1], "area": 1,
            "segmentation": segmentation} | changes  # fmt: skip


def _check_against_coco(found, path, rotate=lambda mask, image: mask):
    """Every annotation of the index, in the file's order, has pycocotools' mask, and what follows."""
    coco = COCO(str(path))
    for row in range(len(found)):
        image = coco.imgs[found.image_id(row)]
        theirs = [entry for entry in coco.dataset["annotations"] if entry["image_id"] == image["id"]]
        ours = found.annotations(row)
        assert [one.id for one in ours] == [entry["id"] for entry in theirs]
        for one, entry in zip(ours, theirs, strict=True):
            mask = coco_mask.decode(one.rle).astype(bool)
            assert np.array_equal(mask, rotate(coco.annToMask(entry).astype(bool), image))
            assert mask.shape == found.size_hw(row) == tuple(one.rle["size"])
            assert one.bbox_xywh == tight_box_xywh(mask) and one.area == mask.sum()
            assert (one.category_id, one.iscrowd) == (entry["category_id"], entry.get("iscrowd", 0))


def test_annotations_are_those_of_pycocotools(tmp_path, index):
    path = small_dataset(tmp_path)
    found = index(path)
    assert [found.id(row) for row in range(3)] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [found.image_id(row) for row in range(3)] == [7, 9, 8]
    assert [len(found.annotations(row)) for row in range(3)] == [2, 3, 0]
    _check_against_coco(found, path)
    assert [one.iscrowd for one in found.annotations(1)] == [0, 1, 0]
    assert found.annotations(0)[0].bbox_xywh == (10, 10, 20, 20) and found.annotations(0)[0].area == 400
    assert found.annotated_rows.tolist() == [0, 1]
    assert found.present_category_ids(1).tolist() == [1, 18, 44]
    assert [category.name for category in found.categories] == ["cat", "dog", "cup"]
    assert not found.is_lvis and found.neg_category_ids(0) is None
    assert found.load(2).shape == (64, 48, 3)
    assert found.rejected == {} and found.rejected_annotations == {}


def test_row_with_only_a_crowd_is_not_annotated(tmp_path, index):
    crowd = compressed_rle(np.eye(20, 30, dtype=bool))
    found = index(write_dataset(tmp_path, [IMAGE], [_annotation(crowd, iscrowd=1)]))
    assert len(found.annotations(0)) == 1 and found.annotated_rows.tolist() == []


def test_lvis_fields_survive(tmp_path, index):
    images = [
        {"id": 9, "coco_url": "http://images.cocodataset.org/train2017/000000000009.jpg", "height": 20,
         "width": 30, "neg_category_ids": [3, 12], "not_exhaustive_category_ids": [1]},
        {"id": 2, "coco_url": "http://images.cocodataset.org/val2017/000000000002.jpg", "height": 20,
         "width": 30, "neg_category_ids": [], "not_exhaustive_category_ids": []},
    ]  # fmt: skip
    annotations = [
        {"id": 5, "image_id": 9, "category_id": 1, "bbox": [2, 2, 9, 9], "area": 81,
         "segmentation": [square(2, 2, 9)]},
    ]  # fmt: skip
    categories = [
        {"id": 1, "name": "aerosol_can", "synonyms": ["aerosol_can", "spray_can"], "def": "a dispenser",
         "frequency": "c", "image_count": 64, "synset": "aerosol.n.02"},
        {"id": 3, "name": "airplane", "frequency": "f"}, {"id": 12, "name": "apricot", "frequency": "r"},
    ]  # fmt: skip
    path = write_dataset(tmp_path, images, annotations, categories, "lvis_v1_val.json", images_in=".")
    found = index(path)
    assert found.is_lvis and [found.id(row) for row in range(2)] == [
        "train2017/000000000009.jpg",
        "val2017/000000000002.jpg",
    ]
    assert found.neg_category_ids(0) == (3, 12) and found.not_exhaustive_category_ids(0) == (1,)
    assert found.neg_category_ids(1) == () and found.not_exhaustive_category_ids(1) == ()
    assert found.categories[0].synonyms == ("aerosol_can", "spray_can")
    assert [category.frequency for category in found.categories] == ["c", "f", "r"]
    assert found.annotations(0)[0].iscrowd == 0 and found.annotations(0)[0].area == 81
    in_one_folder = index(path, images=tmp_path / "train2017")
    assert len(in_one_folder) == 1 and in_one_folder.rejected == {"missing_file": 1}


SCENE = {
    "polygon": ([square(2, 2, 9)], None),
    "no-points": ([], "no_segmentation"),
    "box-only": (None, "no_segmentation"),
    "two-points": ([[1, 1, 5, 5]], "bad_polygon"),
    "odd": ([[1, 1, 5, 5, 7, 7, 8]], "bad_polygon"),
    "not-a-number": ([[1, 1, 5, float("nan"), 7, 7]], "bad_polygon"),
    "far-away": ([[1, 1, 1e9, 5, 7, 7]], "bad_polygon"),
    "text": ([["a", 1, 5, 5, 7, 7]], "bad_polygon"),
    "flat-list": (square(2, 2, 9), "bad_polygon"),
    "outside": ([square(40, 2, 5)], "empty_mask"),
    "line": ([[4, 4, 4, 4, 4, 4]], "empty_mask"),
    "empty-rle": ({"size": [20, 30], "counts": [600]}, "empty_mask"),
    "size": ({"size": [30, 20], "counts": [600]}, "size_mismatch"),
    "too-long": ({"size": [20, 30], "counts": [0, 601]}, "bad_rle"),
    "too-short": ({"size": [20, 30], "counts": [0, 599]}, "bad_rle"),
    "negative": ({"size": [20, 30], "counts": [-1, 601]}, "bad_rle"),
    "huge": ({"size": [20, 30], "counts": [2**70, 1]}, "bad_rle"),
    "letters": ({"size": [20, 30], "counts": ["a"]}, "bad_rle"),
    "no-counts": ({"size": [20, 30]}, "bad_rle"),
    "damaged-counts": ({"size": [20, 30], "counts": "\u00e9\u00e9"}, "bad_rle"),
    "cut-counts": ({"size": [20, 30], "counts": "PPP"}, "bad_rle"),
    "number": (5, "no_segmentation"),
}


def test_unusable_annotations_are_counted_and_the_image_stays(tmp_path, index):
    annotations = [_annotation(seg, number) for number, (seg, _) in enumerate(SCENE.values(), 1)]
    annotations += [
        _annotation([square(2, 2, 9)], 90, image_id=77),
        _annotation([square(2, 2, 9)], 91, category_id=77),
    ]
    found = index(write_dataset(tmp_path, [IMAGE], annotations))
    reasons = [reason for _, reason in SCENE.values() if reason] + ["unknown_image", "unknown_category"]
    assert found.rejected_annotations == {reason: reasons.count(reason) for reason in sorted(set(reasons))}
    assert [one.id for one in found.annotations(0)] == [1]
    assert len(found.annotations(0)) + sum(found.rejected_annotations.values()) == len(annotations)
    assert found.present_category_ids(0).tolist() == [1]


@pytest.mark.parametrize(("segmentation", "reason"), SCENE.values(), ids=SCENE)
def test_every_unusable_segmentation_has_its_reason(segmentation, reason):
    if reason is None:
        return
    with pytest.raises(RowError) as caught:
        encode_annotation(_annotation(segmentation), Frame((20, 30)))
    assert caught.value.reason == reason


def test_parts_of_two_points_are_left_out():
    """pycocotools takes four numbers for a box when they come first, and draws nothing otherwise."""
    made = encode_annotation(_annotation([[1, 1, 5, 5], square(2, 2, 9)]), Frame((20, 30)))
    assert made["area"] == 81


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_any_mask_survives_as_either_rle(height, width, data):
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    if not mask.any():
        return
    flat = mask.ravel(order="F").astype(int).tolist()
    runs, value = [0], 0
    for bit in flat:
        if bit != value:
            runs += [0, 0] if data.draw(st.booleans()) else []  # runs of no pixels mean nothing
            runs.append(0)
            value = bit
        runs[-1] += 1
    for segmentation in ({"size": [height, width], "counts": runs}, compressed_rle(mask)):
        made = encode_annotation(_annotation(segmentation), Frame((height, width)))
        assert made["counts"] == compressed_rle(mask)["counts"].encode()
        assert (made["x"], made["y"], made["width"], made["height"]) == tight_box_xywh(mask)
        assert made["area"] == mask.sum()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("drawn_on", ["stored", "upright"])
def test_masks_turn_with_the_image_if_they_were_drawn_on_the_stored_one(
    tmp_path, index, orientation, drawn_on
):
    """The dataset's size tells which it was. Where both are of one size, upright is assumed."""
    stored = picture(20, 30)
    image = Image.fromarray(stored)
    turned = orientation >= 5
    height, width = (30, 20) if drawn_on == "upright" and turned else (20, 30)
    entry = IMAGE | {"height": height, "width": width}
    path = write_dataset(tmp_path, [entry], [_annotation([[2, 1, 15, 3, 9, 12]])])
    (tmp_path / "images" / "a.jpg").write_bytes(encoded(image, "JPEG", exif=exif(orientation)))
    found = index(path)
    assert found.size_hw(0) == ((30, 20) if turned else (20, 30)) == found.load(0).shape[:2]
    turn = orientation if drawn_on == "stored" and turned else 1
    _check_against_coco(found, path, rotate=lambda mask, _: upright(mask, turn))


def test_size_that_is_neither_rejects_the_annotations(tmp_path, index):
    path = write_dataset(tmp_path, [IMAGE], [_annotation([square(2, 2, 9)])])
    (tmp_path / "images" / "a.jpg").write_bytes(encoded(picture(21, 30), "JPEG"))
    found = index(path)
    assert found.annotations(0) == () and found.rejected_annotations == {"size_mismatch": 1}
    assert found.present_category_ids(0).tolist() == [1]


def test_missing_and_broken_images_are_rejected_and_their_annotations_counted(tmp_path, index):
    images = [IMAGE | {"id": n, "file_name": f"{n}.jpg"} for n in range(1, 4)]
    path = write_dataset(
        tmp_path, images, [_annotation([square(2, 2, 9)], n, image_id=n) for n in range(1, 4)]
    )
    (tmp_path / "images" / "1.jpg").unlink()
    torn = (tmp_path / "images" / "2.jpg").read_bytes()
    (tmp_path / "images" / "2.jpg").write_bytes(torn[: len(torn) // 2])
    found = index(path)
    assert dict(found.rejected_images()) == {"1.jpg": "missing_file", "2.jpg": "truncated"}
    assert len(found) == 1 and found.rejected_annotations == {"image_rejected": 2}
    assert [one.id for one in found.annotations(0)] == [3]


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg"])
def test_names_that_leave_the_folder_are_missing(tmp_path, index, name):
    path = write_dataset(tmp_path, [IMAGE], [])
    content = json.loads(path.read_text())
    content["images"].append(IMAGE | {"id": 2, "file_name": name})
    path.write_text(json.dumps(content))
    (tmp_path / "a.jpg").write_bytes(encoded(picture(), "JPEG"))
    assert dict(index(path).rejected_images()) == {name: "missing_file"}


@pytest.mark.parametrize(
    ("key", "entries", "message"),
    [
        ("images", [IMAGE, IMAGE], "image id 1 is there more than once"),
        ("images", [IMAGE, IMAGE | {"id": 2}], "file name 'a.jpg' is there more than once"),
        ("images", [IMAGE | {"id": "one"}], "no id that is a whole number"),
        ("images", [IMAGE, {"id": 5}], "image 5 has no file_name"),
        ("images", [IMAGE | {"height": "tall"}], "a value of a wrong kind"),
        ("annotations", [_annotation([]), _annotation([])], "annotation id 1 is there more than once"),
        ("annotations", [{"id": 1, "image_id": 1}], "annotation number 0 lacks 'category_id'"),
        ("annotations", [_annotation([], category_id="cat")], "ids must be whole numbers"),
        ("categories", [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "category id 1 is there more than"),
        ("categories", [{"id": 1}], "a category has no id or name"),
    ],
)
def test_contradictions_stop_with_a_message(tmp_path, index, key, entries, message):
    path = write_dataset(tmp_path, [IMAGE], [])
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: entries}))
    with pytest.raises(ConfigError, match=message):
        index(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"images": [{"file_name": "a.jpg"', "\0\0", '"file_name": "a.jpg"']
)
def test_files_that_are_not_json_stop_with_a_message(tmp_path, index, text):
    path = write_dataset(tmp_path, [IMAGE], [])
    path.write_text(text)
    with pytest.raises(ConfigError, match="annotations.json"):
        index(path)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_json_may_be_laid_out_in_any_way(tmp_path, index, indent, start):
    image = IMAGE | {"file_name": "größe ✓.jpg", "license": [1, {"a": "]"}]}
    path = write_dataset(tmp_path, [image], [_annotation([square(2, 2, 9)], note='ü"]},{[\\')])
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "Katze ä"
    backwards = dict(reversed(content.items()))
    path.write_bytes(start + json.dumps(backwards, indent=indent, ensure_ascii=False).encode())
    found = index(path)
    assert found.id(0) == "größe ✓.jpg" and found.categories[0].name == "Katze ä"
    assert found.annotations(0)[0].area == 81


def test_images_are_sought_in_the_usual_places(tmp_path, index):
    layouts = {
        "beside": ("labels.json", "."),
        "below": ("labels.json", "images"),
        "coco": ("annotations/instances_train2017.json", "train2017"),
        "tool": ("annotations/instances_default.json", "images"),
        "nested": ("annotations/instances_val2017.json", "images/val2017"),
    }
    for folder, (name, images_in) in layouts.items():
        path = write_dataset(tmp_path / folder, [IMAGE], [], name=name, images_in=images_in)
        assert len(index(path)) == 1, folder
    path = write_dataset(tmp_path / "apart", [IMAGE], [], images_in="../far/away")
    with pytest.raises(ConfigError, match="none of the first images .*say where they are .--images DIR"):
        index(path)
    found = index(path, images=tmp_path / "far" / "away")
    assert len(found) == 1
    assert found.fingerprint == index(tmp_path / "beside" / "labels.json").fingerprint


@pytest.mark.parametrize(
    ("excluded", "left"),
    [
        (["dog"], ["a.jpg", "c.jpg"]),
        ([1], ["c.jpg"]),
        (["18"], ["a.jpg", "c.jpg"]),
        (["dog", "cup"], ["c.jpg"]),
    ],
)
def test_excluded_categories_take_their_images_away(tmp_path, index, excluded, left):
    found = index(small_dataset(tmp_path))
    kept = found.without_categories(excluded)
    assert [kept.id(row) for row in range(len(kept))] == left
    assert kept.fingerprint != found.fingerprint and len(found) == 3
    assert [kept.annotations(row) for row in range(len(kept))] == [
        found.annotations(found.row_of_id(name)) for name in left
    ]


def test_excluding_twice_is_excluding_both(tmp_path, index):
    found = index(small_dataset(tmp_path))
    both = found.without_categories(["dog", "cup"])
    assert found.without_categories(["cup"]).without_categories(["dog"]).fingerprint == both.fingerprint


def test_image_with_only_a_rejected_annotation_of_a_category_still_shows_it(tmp_path, index):
    images = [IMAGE, IMAGE | {"id": 2, "file_name": "b.jpg"}]
    found = index(write_dataset(tmp_path, images, [_annotation(None)]))
    assert [found.without_categories(["cat"]).id(0)] == ["b.jpg"]


def test_excluding_says_what_is_wrong(tmp_path, index):
    found = index(write_dataset(tmp_path, [IMAGE], [_annotation([square(2, 2, 9)])]))
    with pytest.raises(ConfigError, match="unknown category 'cta'; did you mean 'cat'"):
        found.without_categories(["cta"])
    with pytest.raises(ConfigError, match="every image has one of the excluded categories"):
        found.without_categories(["cat"])
    with pytest.raises(ConfigError, match="have no annotations"):
        index("black").without_categories(["cat"])


def test_composed_datasets_can_be_backgrounds(tmp_path):
    """A folder as we write it: annotations.json and images/."""
    small_dataset(tmp_path)
    assert len(open_or_index(resolve_source(tmp_path), tmp_path / "cache")) == 3
