"""Files that somebody else made: polygons, uncompressed RLE, fractions of pixels, LVIS."""

import json
import shutil

import pytest

from tests.formats.conftest import CATEGORIES, SPEC, make_image, rectangle
from xpaste_ray.backgrounds import resolve_source
from xpaste_ray.categories import category_to_coco
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.images import encode_image
from xpaste_ray.formats.validate import validate
from xpaste_ray.masks import encode_rle


def _value():
    square = {"image_id": 1, "category_id": 3, "bbox": [2.2, 2, 7.6, 8], "area": 60.5, "iscrowd": 0}
    crowd = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 2, 24], "area": 48, "iscrowd": 1}
    pixels = {"image_id": "b", "category_id": 7, "bbox": [4, 4, 3, 3], "area": 9, "iscrowd": 0}
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "height": 24, "width": 32},
            {"id": "b", "coco_url": "http://host/val/b.jpg", "height": 24, "width": 32,
             "neg_category_ids": [3], "not_exhaustive_category_ids": []},
        ],
        "annotations": [
            {"id": 1, **square, "segmentation": [[2.2, 2, 9.8, 2, 9.8, 10, 2.2, 10]]},
            {"id": 2, **crowd, "segmentation": {"size": [24, 32], "counts": [0, 48, 720]}},
            {"id": 3, **pixels, "segmentation": encode_rle(rectangle(4, 4, 3, 3))},
        ],
        "categories": [category_to_coco(category) for category in CATEGORIES],
    }  # fmt: skip


@pytest.fixture
def write_foreign(tmp_path):
    """Writes the value as annotations/x.json, images in a folder of the usual name beside it."""

    def write(value, images="images"):
        for folder in ("annotations", images):
            (tmp_path / folder).mkdir()
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / images / name).write_bytes(encode_image(make_image(0), SPEC.encoding))
        file = tmp_path / "annotations" / "x.json"
        file.write_text(json.dumps(value))
        return file

    return write


def test_a_good_file_breaks_no_rule(write_foreign):
    report = validate(write_foreign(_value()))
    assert report.findings == [] and (report.images, report.annotations) == (2, 3)


def test_an_image_that_is_cut_in_half_is_found(write_foreign, tmp_path):
    file, image = write_foreign(_value()), tmp_path / "images" / "b.jpg"
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    assert [(found.rule, found.image_id) for found in validate(file).findings] == [("image_truncated", "b")]


def test_images_may_lie_anywhere(write_foreign, tmp_path):
    file = write_foreign(_value(), images="val2017")
    report = validate(file)
    assert dict(report.counts) == {("error", "image_missing"): 2}
    assert len(report.remedies) == 1 and report.remedies[0].endswith("say where they are (--images DIR)")
    report = validate(file, images=tmp_path / "val2017")
    assert (report.findings, report.remedies) == ([], [])
    with pytest.raises(ConfigError, match="--images .*gone is not a folder"):
        validate(file, images=tmp_path / "gone")


def _coco_layout(folder, entries, names, *files):
    """entries of `images`; names of the images that are there; files that hold them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode_image(make_image(0), SPEC.encoding))
    value = _value() | {"images": [entry | {"height": 24, "width": 32} for entry in entries]}
    value["annotations"] = []
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(value))
    return folder


NAMED, BY_URL = {"id": 1, "file_name": "9.jpg"}, {"id": 1, "coco_url": "http://host/train2017/9.jpg"}
INSTANCES = "annotations/instances_train2017.json"


@pytest.mark.parametrize(
    ("entry", "image", "file"),
    [
        pytest.param(NAMED, "train2017/9.jpg", INSTANCES, id="coco"),
        pytest.param(NAMED, "images/train2017/9.jpg", INSTANCES, id="coco-in-images"),
        pytest.param(NAMED, "images/9.jpg", "annotations.json", id="as-ours"),
        pytest.param(BY_URL, "train2017/9.jpg", "annotations/lvis_v1_train.json", id="lvis"),
        pytest.param(BY_URL, "images/9.jpg", "annotations/lvis_v1_train.json", id="lvis-in-one-folder"),
    ],
)
def test_files_and_folders_are_read_as_those_of_backgrounds(tmp_path, entry, image, file):
    _coco_layout(tmp_path, [entry], [image], file)
    for path in (tmp_path, tmp_path / file):
        report = validate(path)
        assert (report.findings, report.remedies, report.images) == ([], [], 1)
        source = resolve_source(path)
        assert source.annotations == tmp_path / file
        assert source.root / source.catalogue().items["path"][0].as_py() == tmp_path / image


def test_lvis_names_are_found_in_a_given_folder(tmp_path):
    """Of three images one is not there, under no name."""
    entries = [{"id": number, "coco_url": f"http://host/train2017/{number}.jpg"} for number in (7, 8, 9)]
    _coco_layout(tmp_path, entries, ["elsewhere/7.jpg", "elsewhere/9.jpg"], "lvis_v1_train.json")
    report = validate(tmp_path / "lvis_v1_train.json", images=tmp_path / "elsewhere")
    assert [(found.rule, found.image_id) for found in report.findings] == [("image_missing", 8)]


def test_linked_images_are_in_their_folder(tmp_path):
    _coco_layout(tmp_path, [NAMED], ["elsewhere/9.jpg"], "annotations.json")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "9.jpg").symlink_to(tmp_path / "elsewhere" / "9.jpg")
    assert validate(tmp_path).findings == []


def test_of_several_files_one_has_to_be_named(tmp_path):
    _coco_layout(tmp_path, [NAMED], ["train2017/9.jpg"], INSTANCES, "annotations/instances_val2017.json")
    with pytest.raises(ConfigError, match="has several annotation files .*: give one of them"):
        validate(tmp_path)


def test_a_folder_with_annotations_json_will_do(write_foreign, tmp_path):
    file = write_foreign(_value())
    shutil.copy(file, tmp_path / "annotations.json")
    assert validate(tmp_path).findings == []


def _set(kind, number, /, **fields):
    return lambda value: value[kind][number].update(fields)


def _drop(kind, number, key):
    return lambda value: value[kind][number].pop(key)


def _mask(number, segmentation):
    return _set("annotations", number, segmentation=segmentation)


FAULTS = {
    "image-id-twice": (_set("images", 1, id=1), "image_id_twice"),
    "image-id-missing": (_drop("images", 1, "id"), "image_id_missing"),
    "image-id-a-list": (_set("images", 1, id=[2]), "image_id_missing"),
    "image-file-missing": (_set("images", 0, file_name="c.jpg"), "image_missing"),
    "image-name-missing": (_drop("images", 0, "file_name"), "image_missing"),
    "image-outside-the-folder": (_set("images", 0, file_name="../annotations/x.json"), "image_missing"),
    "image-no-image": (_set("images", 1, file_name="."), "image_unreadable"),
    "image-of-another-size": (_set("images", 0, height=25), "image_size"),
    "image-size-missing": (_drop("images", 0, "height"), "image_size"),
    "annotation-id-twice": (_set("annotations", 1, id=1), "annotation_id_twice"),
    "annotation-of-no-image": (_set("annotations", 0, image_id=9), "image_unknown"),
    "category-id-twice": (_set("categories", 0, id=7), "category_id_twice"),
    "category-unknown": (_set("annotations", 0, category_id=4), "category_unknown"),
    "crowd-2": (_set("annotations", 0, iscrowd=2), "iscrowd"),
    "box-missing": (_drop("annotations", 0, "bbox"), "box_damaged"),
    "box-without-height": (_set("annotations", 0, bbox=[2, 2, 8, 0]), "box_empty"),
    "box-outside": (_set("annotations", 0, bbox=[2, 2, 8, 40]), "box_outside"),
    "area-0": (_set("annotations", 0, area=0), "area_not_positive"),
    "mask-missing": (_drop("annotations", 0, "segmentation"), "rle_damaged"),
    "no-polygon": (_mask(0, []), "polygon_damaged"),
    "polygon-of-two-points": (_mask(0, [[2, 2, 8, 8]]), "polygon_damaged"),
    "polygon-far-outside": (_mask(0, [[2, 2, 8, 8, 1e9, 4]]), "polygon_outside"),
    "polygon-of-no-pixel": (_mask(0, [[2.1, 2.1, 2.2, 2.1, 2.2, 2.2]]), "polygon_empty"),
    "rle-without-pixels": (_mask(1, {"size": [24, 32], "counts": [768]}), "mask_empty"),
    "rle-too-short": (_mask(1, {"size": [24, 32], "counts": [0, 48, 700]}), "rle_damaged"),
    "rle-of-negative-runs": (_mask(1, {"size": [24, 32], "counts": [-8, 776]}), "rle_damaged"),
    "rle-of-no-size": (_mask(1, {"counts": [768]}), "rle_damaged"),
    "rle-of-another-size": (_mask(1, {"size": [32, 24], "counts": [0, 48, 720]}), "rle_size"),
    "absent-and-annotated": (_set("images", 1, neg_category_ids=[7]), "neg_category_annotated"),
    "absent-and-unknown": (_set("images", 1, neg_category_ids=[4]), "category_unknown"),
}


@pytest.mark.parametrize(("break_it", "rule"), FAULTS.values(), ids=FAULTS)
def test_every_fault_is_found(write_foreign, break_it, rule):
    value = _value()
    break_it(value)
    assert ("error", rule) in validate(write_foreign(value)).counts


@pytest.mark.parametrize(
    ("fields", "rule"),
    [({"area": 47}, "area_differs"), ({"bbox": [0, 0, 5, 24]}, "box_differs")],
)
def test_measures_that_differ_from_the_mask_are_warnings(write_foreign, fields, rule):
    value = _value()
    value["annotations"][1] |= fields
    report = validate(write_foreign(value))
    assert dict(report.counts) == {("warning", rule): 1} and report.errors == 0


@pytest.mark.parametrize("value", [{}, {"images": [], "annotations": []}, {"images": 5}, {"images": [5]}])
def test_other_json_is_refused(write_foreign, value):
    with pytest.raises(ConfigError, match="is no COCO or LVIS file"):
        validate(write_foreign(value))


@pytest.mark.parametrize(
    ("segmentation", "text"),
    [
        (None, "mask is missing (there is no segmentation)"),
        ("mask", "mask is neither a list of polygons nor RLE with size and counts"),
        ({"counts": "0"}, "mask has no size (height, width) or no counts"),
        ({"size": [24, 32], "counts": "ü"}, "mask is not compressed RLE: counts are empty, cut off or have"),
        ({"size": 24, "counts": [768]}, "mask is not RLE: it has no size (height, width)"),
        ({"size": [24, 32], "counts": [7]}, "mask is not RLE: its runs do not add up to 24 x 32 pixels"),
        ([], "segmentation has no polygon"),
        ([[2, 2, 8]], "a polygon is not a list of 3 or more x, y"),
    ],
)
def test_masks_that_cannot_be_drawn_are_told_in_plain_words(write_foreign, segmentation, text):
    value = _value()
    value["annotations"][1]["segmentation"] = segmentation
    (line,) = [found.line for found in validate(write_foreign(value)).findings]
    assert line.startswith("error ") and f", image 1, annotation 2: {text}" in line


@pytest.mark.parametrize("ids", [5, "3", [[3]], {"3": 1}])
def test_lists_of_another_kind_are_found(write_foreign, ids):
    value = _value()
    value["images"][1]["neg_category_ids"] = ids
    (found,) = validate(write_foreign(value)).findings
    assert found.line == "error list_damaged, image b: neg_category_ids is not a list of category ids"
