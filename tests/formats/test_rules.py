import pytest
from pycocotools import mask as coco_mask

from tests.formats.conftest import HEIGHT, WIDTH, make_annotation, make_sample, make_samples, rectangle
from xpaste_ray.formats.rules import broken_rle, check_sample
from xpaste_ray.masks import encode_rle

IDS = {3, 7, 1203}
SIZE = [HEIGHT, WIDTH]


def compressed(runs, size=SIZE):
    """COCO's text of any runs, good or bad."""
    rle = coco_mask.frPyObjects({"size": size, "counts": runs}, *size)
    return {"size": size, "counts": rle["counts"].decode("ascii")}


@pytest.mark.parametrize("counts", ["", "Q", "5ü", " ", "~~~", "ooooooooo0", None, 5, [1, 2]])
def test_foreign_text_is_no_rle(counts):
    assert broken_rle({"size": SIZE, "counts": counts}, (HEIGHT, WIDTH))[0] == "rle_damaged"


@pytest.mark.parametrize(
    "mask", [None, "text", [], {"size": SIZE}, {"counts": "a"}, {"size": 5, "counts": "0"}]
)
def test_other_values_are_no_rle(mask):
    assert broken_rle(mask, (HEIGHT, WIDTH))[0] == "rle_damaged"


def found(sample, polygons=None):
    return {finding.rule for finding in check_sample(sample, 1, IDS, polygons)}


def test_good_samples_break_no_rule():
    assert [found(sample) for sample in make_samples()] == [set()] * 5


GOOD = make_annotation(rectangle(2, 2, 4, 4))
ALL_BORDERS = rectangle(0, 0, WIDTH, HEIGHT)
FAULTS = {
    "area-0": ({"area": 0}, "area_not_positive"),
    "area-not-finite": ({"area": float("inf")}, "box_damaged"),
    "width-0": ({"bbox": (2, 2, 0, 4)}, "box_empty"),
    "height-0": ({"bbox": (2, 2, 4, 0)}, "box_empty"),
    "box-left-of-the-image": ({"bbox": (-1, 2, 4, 4)}, "box_outside"),
    "box-below-the-image": ({"bbox": (2, 21, 4, 4)}, "box_outside"),
    "box-of-three-numbers": ({"bbox": (2, 2, 4)}, "box_damaged"),
    "box-of-text": ({"bbox": ("2", 2, 4, 4)}, "box_damaged"),
    "mask-of-another-size": ({"segmentation": encode_rle(rectangle(2, 2, 4, 4, (32, 24)))}, "rle_size"),
    "mask-cut-off": ({"segmentation": compressed([50, 4, 20])}, "rle_damaged"),
    "mask-too-long": ({"segmentation": compressed([5, 5000])}, "rle_damaged"),
    "mask-without-pixels": ({"segmentation": compressed([768])}, "area_differs"),
    "run-of-none-inside": ({"segmentation": compressed([50, 2, 0, 2, 714])}, "rle_zero_run"),
    "run-of-none-at-the-end": ({"segmentation": compressed([50, 718, 0])}, "rle_zero_run"),
    "area-of-something-else": ({"area": 15}, "area_differs"),
    "box-of-something-else": ({"bbox": (2, 2, 4, 5)}, "box_differs"),
    "category-without-a-name": ({"category_id": 4}, "category_unknown"),
    "crowd-2": ({"iscrowd": 2}, "iscrowd"),
    "visible-0": ({"visible_fraction": 0.0}, "visible_fraction"),
    "visible-more-than-all": ({"visible_fraction": 1.5}, "visible_fraction"),
    "amodal-of-another-size": ({"amodal": encode_rle(rectangle(0, 0, 9, 9, (32, 24)))}, "amodal_rle_size"),
    "amodal-smaller": ({"amodal": encode_rle(rectangle(2, 2, 3, 4))}, "amodal_smaller"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "rule"), FAULTS.values(), ids=FAULTS)
def test_every_broken_annotation_is_found_with_its_ids(fields, rule):
    sample = make_sample(
        4, [GOOD, make_annotation(rectangle(2, 2, 4, 4), **{"origin": "background"} | fields)]
    )
    findings = list(check_sample(sample, 11, IDS, None))
    assert rule in {finding.rule for finding in findings}
    assert {(f.image_id, f.annotation_id, f.severity) for f in findings} == {(5, 12, "error")}


def test_a_mask_at_all_borders_is_good():
    """Faults B6: its first run, of no pixels, is the format's own."""
    assert found(make_sample(0, [make_annotation(ALL_BORDERS)])) == set()


@pytest.mark.parametrize(
    ("origins", "rules"),
    [
        pytest.param(("pool", "pool"), {"masks_overlap"}, id="pasted-and-pasted"),
        pytest.param(("copied", "pool"), {"masks_overlap"}, id="copied-and-pasted"),
        pytest.param(("background", "background"), set(), id="of-the-background"),
    ],
)
def test_pasted_masks_do_not_overlap(origins, rules):
    pair = [make_annotation(rectangle(2, 2, 4, 4), origin=origins[0]),
            make_annotation(rectangle(5, 5, 4, 4), origin=origins[1])]  # fmt: skip
    findings = list(check_sample(make_sample(0, pair), 1, IDS, None))
    assert {finding.rule for finding in findings} == rules
    assert {finding.annotation_id for finding in findings} == ({2} if rules else set())


@pytest.mark.parametrize(
    ("lists", "rule"),
    [
        pytest.param({"neg_category_ids": (7, 3)}, "neg_category_annotated", id="absent-and-annotated"),
        pytest.param({"neg_category_ids": (8,)}, "category_unknown", id="absent-and-unknown"),
        pytest.param({"not_exhaustive_category_ids": (8,)}, "category_unknown", id="unfinished-and-unknown"),
    ],
)
def test_lvis_lists_name_known_categories_that_are_not_annotated(lists, rule):
    assert found(make_sample(0, [GOOD], **lists)) == {rule}


@pytest.mark.parametrize(
    ("rings", "rule"),
    [
        pytest.param([[2, 2, 2, 6, 6, 6, 6, 2]], None, id="good"),
        pytest.param(None, "polygon_missing", id="none-though-no-crowd"),
        pytest.param([], "polygon_damaged", id="empty"),
        pytest.param([[2, 2, 6, 6]], "polygon_damaged", id="two-points"),
        pytest.param([[2, 2, 6, 6, 6, 2, 1]], "polygon_damaged", id="odd"),
        pytest.param([[2, 2, 6, 6, 10**9, 2]], "polygon_outside", id="outside"),
        pytest.param([[2, 2, 2, 6, 6, 6, 6, 3]], "polygon_differs", id="of-another-mask"),
    ],
)
def test_polygons_give_the_mask_again(rings, rule):
    assert found(make_sample(0, [GOOD]), [rings]) == ({rule} if rule else set())
