"""Chosen segments are masks of the original images: exact, in their frame, each once."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pycocotools.coco import COCO

from xpaste_ray.categories import Category
from xpaste_ray.config import CutoutSettings
from xpaste_ray.errors import RowError
from xpaste_ray.foregrounds.annotations import annotations_recipe, write_annotations
from xpaste_ray.records import Candidate, Prompt, Proposal
from xpaste_ray.runs import RunDir
from xpaste_ray.storage import locate
from xpaste_ray.unit_files import write_unit

CAT, DOG = Category(3, "cat"), Category(7, "dog")
WHOLE = CutoutSettings(object="component")


@dataclass
class Originals:
    """Images of given sizes, as they were."""

    sizes_hw: list[tuple[int, int]]

    @property
    def uris(self):
        return [f"photos/{number}.jpg" for number in range(len(self.sizes_hw))]

    def upright_size_hw(self, image):
        if not self.sizes_hw[image][0]:
            raise RowError("missing_file", self.uris[image])
        return self.sizes_hw[image]


def _rectangle(top, left, height, width, size_hw=(20, 30)):
    mask = np.zeros(size_hw, np.uint8)
    mask[top : top + height, left : left + width] = 255
    return mask


def _candidate(category, image, *masks):
    prompt = Prompt(f"{category.id}-{image}", category.id, category.name, image, "images", uri=f"{image}.jpg")
    proposals = [
        Proposal("slic", i, mask, scores=(("class_score", 0.9),), embedding=np.ones(4, np.float16))
        for i, mask in enumerate(masks)
    ]
    return Candidate(prompt, image=np.zeros((20, 30, 3), np.uint8), proposals=tuple(proposals))


def _row(category, image, ordinal, unit=0):
    return {
        "round": 0, "unit": unit, "candidate_id": f"{category.id}-{image}", "category_id": category.id,
        "index": image, "method": "slic", "ordinal": ordinal, "class_score": 0.9,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path / "run")
    first = [
        _candidate(CAT, 0, _rectangle(0, 0, 4, 5), _rectangle(10, 10, 6, 8)),
        _candidate(DOG, 0, _rectangle(0, 20, 10, 10)),
    ]
    second = [_candidate(CAT, 1, _rectangle(5, 5, 10, 20))]
    write_unit(run, 0, 0, first, "made", 4)
    write_unit(run, 0, 1, second, "made", 4)
    return run


def _write(run, rows, sizes_hw=((20, 30), (40, 60)), target=None):
    target = target or Path(run.root) / "annotations.json"
    table = pa.Table.from_pylist(rows)
    counts = write_annotations(
        target, table, run.unit_file, Originals(list(sizes_hw)), [CAT, DOG], WHOLE, "abc123"
    )
    return counts, json.loads(target.read_text())


def test_masks_boxes_and_areas_are_those_of_the_chosen_proposals(run):
    counts, told = _write(run, [_row(CAT, 0, 1), _row(DOG, 0, 0)])
    assert counts == {"images": 1, "annotations": 2}
    assert [one["bbox"] for one in told["annotations"]] == [[10, 10, 8, 6], [20, 0, 10, 10]]
    assert [one["area"] for one in told["annotations"]] == [48, 100]
    assert [one["category_id"] for one in told["annotations"]] == [3, 7]
    assert [one["instance_id"] for one in told["annotations"]] == ["3-0-slic-1", "7-0-slic-0"]
    assert told["images"] == [{"id": 1, "file_name": "photos/0.jpg", "height": 20, "width": 30}]


def test_a_mask_found_in_a_reduced_image_is_given_in_the_frame_of_the_original(run):
    """20 x 30 was 40 x 60: the rectangle of 10 x 20 at (5, 5) becomes 20 x 40 at (10, 10)."""
    _, told = _write(run, [_row(CAT, 1, 0, unit=1)])
    (annotation,) = told["annotations"]
    assert annotation["bbox"] == [10, 10, 40, 20]
    assert annotation["segmentation"]["size"] == [40, 60]


def test_images_stand_in_their_order_whatever_the_order_of_the_rows(run):
    rows = [_row(CAT, 1, 0, unit=1), _row(DOG, 0, 0), _row(CAT, 0, 0)]
    _, told = _write(run, rows)
    _, again = _write(run, rows[::-1])
    assert told == again
    assert [one["image_id"] for one in told["annotations"]] == [1, 1, 2]
    assert [one["id"] for one in told["annotations"]] == [1, 2, 3]


def test_cocos_own_library_reads_it(run, tmp_path):
    _write(run, [_row(CAT, 0, 0), _row(DOG, 0, 0)], target=tmp_path / "a.json")
    coco = COCO(str(tmp_path / "a.json"))
    masks = [coco.annToMask(one) for one in coco.loadAnns(coco.getAnnIds(imgIds=[1]))]
    assert [int(mask.sum()) for mask in masks] == [20, 100]


def test_file_tells_what_the_choice_was_made_by(run, tmp_path):
    _write(run, [_row(CAT, 0, 0)])
    assert annotations_recipe(run.annotations) == "abc123"
    assert annotations_recipe(locate(tmp_path / "none.json")) is None


def test_nothing_chosen_is_a_file_without_images(run):
    target = Path(run.root) / "annotations.json"
    empty = pa.Table.from_pylist([_row(CAT, 0, 0)]).slice(0, 0)
    counts = write_annotations(target, empty, run.unit_file, Originals([]), [CAT, DOG], WHOLE, "abc123")
    assert counts == {"images": 0, "annotations": 0}
    assert [one["name"] for one in json.loads(target.read_text())["categories"]] == ["cat", "dog"]


def test_an_original_that_is_gone_is_named(run):
    with pytest.raises(RowError, match="photos/0.jpg"):
        _write(run, [_row(CAT, 0, 0)], sizes_hw=[(0, 0)])
    assert not run.annotations.exists()
