import json

import numpy as np
import pytest
import supervision
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection

from tests.formats.conftest import CATEGORIES, make_annotation, make_sample, make_samples, rectangle
from xpaste_ray.masks import encode_rle


def _masks():
    """Every mask of the samples, in order."""
    return [coco_mask.decode(a.segmentation) for sample in make_samples() for a in sample.annotations]


def _load(dataset):
    return COCO(str(dataset / "annotations.json"))


@pytest.mark.parametrize("polygons", [False, True])
def test_dataset_loads_with_pycocotools(make_dataset, polygons):
    dataset = make_dataset("coco", polygons=polygons)
    coco = _load(dataset)
    assert sorted(coco.imgs) == [1, 2, 3, 4, 5] and sorted(coco.anns) == list(range(1, 10))
    assert all((dataset / "images" / image["file_name"]).is_file() for image in coco.imgs.values())
    for entry, mask in zip(coco.dataset["annotations"], _masks(), strict=True):
        assert np.array_equal(coco.annToMask(entry), mask)
        assert isinstance(entry["segmentation"], list) == (polygons and not entry["iscrowd"])


def test_categories_keep_ids_gaps_and_odd_names(make_dataset):
    categories = _load(make_dataset("coco")).dataset["categories"]
    assert [(entry["id"], entry["name"]) for entry in categories] == [(c.id, c.name) for c in CATEGORIES]
    assert categories[0] | {} == {
        "id": 3, "name": "cup/../../etc", "synonyms": ["cup", "mug"], "def": "a vessel", "frequency": "f",
        "supercategory": "none",
    }  # fmt: skip


def test_annotations_say_where_they_come_from(make_dataset):
    anns = _load(make_dataset("coco")).anns
    under, ring, copied = anns[1], anns[2], anns[3]
    assert (ring["instance_id"], ring["origin"], ring["z_order"]) == ("3-0-test", "pool", 1)
    assert ring["provenance"] == {"prompt": "a photo of a cup", "seed": 7}
    assert coco_mask.area(ring["amodal_segmentation"]) == 120 and ring["area"] == 108
    assert under["visible_fraction"] == 0.5 and under["source_id"] == "b#1"
    assert "instance_id" not in under and "provenance" not in under and "instance_id" not in copied
    assert copied["provenance"] == {"background_id": "c", "annotation_id": 2}


def test_dataset_loads_with_torchvision(make_dataset):
    dataset = make_dataset("coco")
    loaded = CocoDetection(dataset / "images", dataset / "annotations.json")
    image, target = loaded[0]
    assert len(loaded) == 5 and image.size == (32, 24)
    for entry, mask in zip(target, _masks()[:3], strict=True):
        assert np.array_equal(loaded.coco.annToMask(entry), mask)


def test_rle_that_is_no_crowd_gives_the_same_masks_with_every_reader(make_dataset):
    """Faults B7. Supervision skips crowds' flag on request and reads masks as they are."""
    dataset = make_dataset("coco")
    read = supervision.DetectionDataset.from_coco(str(dataset / "images"), str(dataset / "annotations.json"))
    coco = _load(dataset)
    for image_id, image in coco.imgs.items():
        entries = coco.imgToAnns[image_id]
        detections = read.annotations[str(dataset / "images" / image["file_name"])]
        assert len(detections) == len(entries)
        for entry, mask, box in zip(
            entries, detections.mask if entries else [], detections.xyxy, strict=True
        ):
            assert np.array_equal(mask, coco.annToMask(entry).astype(bool))
            left, top, width, height = entry["bbox"]
            assert box.tolist() == [left, top, left + width, top + height]


def test_a_mask_at_all_borders_has_no_empty_run(make_dataset):
    """Faults B6: box and area of the RLE are the mask's."""
    entry = _load(make_dataset("coco")).anns[7]
    assert entry["bbox"] == [0, 0, 32, 24] and entry["area"] == 32 * 24 - 1
    assert coco_mask.toBbox(entry["segmentation"]).tolist() == entry["bbox"]
    assert coco_mask.area(entry["segmentation"]) == entry["area"]


@pytest.mark.parametrize("name", ["coco", "lvis"])
def test_three_hundred_instances_in_one_image_stay_apart(make_dataset, name):
    """Faults B8."""
    cells = [rectangle(4 * (i % 20), 4 * (i // 20), 3, 3, (60, 80)) for i in range(300)]
    sample = make_sample(0, [make_annotation(cell) for cell in cells], height=60, width=80)
    anns = _load(make_dataset(name, samples=[sample])).anns
    assert len({entry["segmentation"]["counts"] for entry in anns.values()}) == 300
    assert anns[300]["segmentation"] == encode_rle(cells[299])


def test_a_dataset_without_annotations_loads(make_dataset):
    coco = _load(make_dataset("coco", samples=[make_sample(0, [])], polygons=True))
    assert len(coco.imgs) == 1 and coco.anns == {}


def test_the_file_has_one_entry_a_line(make_dataset):
    lines = (make_dataset("coco") / "annotations.json").read_text().splitlines()
    assert len(lines) == 1 + 5 + 9 and json.loads(lines[1].rstrip(","))["id"] == 1


def test_categories_have_the_supercategory_that_pycocotools_asks_for(make_dataset):
    coco = COCO(str(make_dataset("coco") / "annotations.json"))
    assert coco.getCatIds(supNms=["none"]) == [3, 7, 1203]
    assert coco.getCatIds(supNms=["animal"]) == []
