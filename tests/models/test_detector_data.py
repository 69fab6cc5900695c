import json

import pytest
import torch

from tests.training.material import disc_dataset
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.config import TrainSettings, load
from xpaste_ray.models.detector_data import DetectorImages, SampleNumbers, batches
from xpaste_ray.training.opening import open_samples

IDS = (1, 18, 44)


@pytest.fixture
def images(tmp_path):
    def opened(folder):
        backgrounds = open_or_index(resolve_source(folder), tmp_path / "cache")
        changes = ("compose.copy_rule=none", "compose.canvas.fit=keep", "compose.canvas.flip_probability=0")
        settings = load(TrainSettings, "xpaste", changes, {"compose.backgrounds": "black"})
        return DetectorImages(open_samples(backgrounds, None, (), settings.compose, settings.train, 0), IDS)

    return opened


def test_processes_take_turns_through_every_batch():
    numbers = [list(SampleNumbers(1, 3, 4, rank, 2)) for rank in (0, 1)]
    assert numbers == [[[4, 6], [8, 10]], [[5, 7], [9, 11]]]
    assert len(SampleNumbers(1, 3, 4, 0, 2)) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_that_others_make_are_the_same(tmp_path, images, workers):
    made = images(disc_dataset(tmp_path / "discs", 4))
    numbers = SampleNumbers(0, 3, 2, 0, 1)
    here, there = list(batches(made, numbers, 0)), list(batches(made, numbers, workers))
    assert [batch[0] for batch in here] == [batch[0] for batch in there] == [[0, 1], [2, 3], [4, 5]]
    for (_, pictures, targets), (_, others, told) in zip(here, there, strict=True):
        assert all(torch.equal(*pair) for pair in zip(pictures, others, strict=True))
        for one, other in zip(targets, told, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_targets_have_labels_in_the_order_of_the_ids_and_no_crowds(tmp_path, images):
    folder = disc_dataset(tmp_path / "discs", 1)
    told = json.loads((folder / "annotations.json").read_text())
    told["annotations"][0] |= {"category_id": 44}
    told["annotations"][1] |= {"iscrowd": 1}
    (folder / "annotations.json").write_text(json.dumps(told))
    _, image, target = images(folder)[0]
    assert image.shape == (3, 64, 64) and image.dtype == torch.uint8
    x, y, width, height = told["annotations"][0]["bbox"]
    assert target["boxes"].tolist() == [[x, y, x + width, y + height]]
    assert target["labels"].tolist() == [3] and target["pasted"].tolist() == [False]
    assert target["masks"].sum() == told["annotations"][0]["area"]
    assert target["absent"].tolist() == [True, True, True, True]
