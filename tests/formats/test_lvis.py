import numpy as np
import pytest
from lvis import LVIS
from pycocotools import mask as coco_mask

from tests.formats.conftest import make_annotation, make_sample, make_samples, rectangle
from xpaste_ray.formats.lvis import frequency_of


def _load(dataset):
    return LVIS(str(dataset / "annotations.json"))


@pytest.mark.parametrize("polygons", [False, True])
def test_dataset_loads_with_lvis_without_the_crowd(make_dataset, polygons):
    lvis = _load(make_dataset("lvis", polygons=polygons))
    expected = [a for sample in make_samples() for a in sample.annotations if not a.iscrowd]
    assert sorted(lvis.anns) == list(range(1, 9)) and len(lvis.imgs) == 5
    for entry, annotation in zip(lvis.load_anns(), expected, strict=True):
        assert np.array_equal(lvis.ann_to_mask(entry), coco_mask.decode(annotation.segmentation))
        assert "iscrowd" not in entry


def test_absent_and_unfinished_categories_are_kept(make_dataset):
    """Faults B10; the crowd's category 7 is not exhaustively annotated where the crowd is."""
    images = _load(make_dataset("lvis")).imgs
    assert (images[1]["neg_category_ids"], images[1]["not_exhaustive_category_ids"]) == ([], [])
    assert (images[2]["neg_category_ids"], images[2]["not_exhaustive_category_ids"]) == ([1203], [3, 7])


def test_images_are_found_by_url_as_lvis_readers_do(make_dataset):
    dataset = make_dataset("lvis")
    for image in _load(dataset).imgs.values():
        folder, name = image["coco_url"].split("/")[-2:]
        assert (dataset / folder / name).is_file()


def test_categories_have_their_counts_in_this_dataset(make_dataset):
    cats = _load(make_dataset("lvis")).cats
    assert list(cats) == [3, 7, 1203]
    # 3: samples 0, 1, 3, 4 once each; 7: samples 0, 3, 4; 1203: sample 0
    assert [(c["image_count"], c["instance_count"]) for c in cats.values()] == [(4, 4), (3, 3), (1, 1)]
    assert [c["frequency"] for c in cats.values()] == ["f", "r", "r"]  # the first two are the categories' own
    assert cats[7]["synonyms"] == [cats[7]["name"]] and cats[7]["def"] == ""


def test_an_image_counts_once_however_many_instances_it_has(make_dataset):
    twice = [make_annotation(rectangle(0, 0, 2, 2)), make_annotation(rectangle(8, 8, 2, 2))]
    cats = _load(make_dataset("lvis", samples=[make_sample(0, twice)])).cats
    assert (cats[3]["image_count"], cats[3]["instance_count"]) == (1, 2)


@pytest.mark.parametrize(("images", "frequency"), [(0, "r"), (10, "r"), (11, "c"), (100, "c"), (101, "f")])
def test_frequency_follows_lvis_limits(images, frequency):
    assert frequency_of(images) == frequency
