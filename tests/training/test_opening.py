import json
import pickle

import numpy as np
import pytest

from tests.training.material import disc_dataset
from xpaste_ray.backgrounds import open_or_index, resolve_source, with_contexts
from xpaste_ray.config import TrainSettings, load
from xpaste_ray.errors import ConfigError
from xpaste_ray.training.opening import Mixed, open_samples

SMALL = ("compose.canvas.size_hw=[48, 48]", "compose.canvas.scale=[0.5, 2]", "compose.copy_rule=none")


def _settings(*changes):
    return load(TrainSettings, "xpaste", (*SMALL, *changes), {"compose.backgrounds": "black"})


@pytest.fixture
def indexed(tmp_path):
    return lambda folder: open_or_index(resolve_source(folder), tmp_path / "cache")


def _samples(settings, backgrounds, pool=None, mixed=(), seed=0):
    return open_samples(backgrounds, pool, mixed, settings.compose, settings.train, seed)


def test_sample_i_is_the_same_in_any_order_and_process(tmp_path, indexed):
    samples = _samples(_settings(), indexed(disc_dataset(tmp_path / "a", 5)))
    straight = [samples[i] for i in range(8)]
    copied = pickle.loads(pickle.dumps(samples))
    for i in reversed(range(8)):
        again = copied[i]
        assert again.sample == straight[i].sample
        np.testing.assert_array_equal(again.image, straight[i].image)
    assert straight[0].image.shape == (48, 48, 3)


def test_every_image_comes_once_in_a_round_without_rare_categories(tmp_path, indexed):
    samples = _samples(_settings(), indexed(disc_dataset(tmp_path / "a", 6)))
    shown = [samples[i].sample.background_id for i in range(12)]
    assert sorted(shown[:6]) == sorted(shown[6:]) and len(set(shown)) == 6


def test_mixed_datasets_come_by_their_shares(tmp_path, indexed):
    main, other = indexed(disc_dataset(tmp_path / "a", 4)), indexed(disc_dataset(tmp_path / "b", 4, side=40))
    settings = _settings("compose.canvas.fit=keep")
    samples = _samples(settings, main, mixed=(Mixed("b", other, 0.25),))
    sides = [samples[i].sample.height for i in range(400)]
    assert abs(np.mean(np.array(sides) == 40) - 0.25) < 0.06


def test_pool_is_pasted_on_the_main_dataset_only(tmp_path, indexed, make_pool):
    main, other = indexed(disc_dataset(tmp_path / "a", 4)), indexed(disc_dataset(tmp_path / "b", 4, side=40))
    settings = _settings("compose.canvas.fit=keep", "compose.copy_rule=pool", "compose.instances=[3, 3]",
                         "compose.size={rule: pixels, pixels: [10, 20]}")  # fmt: skip
    samples = _samples(settings, main, make_pool({"banana": 2}), (Mixed("b", other, 0.5),))
    for i in range(12):
        found = samples[i]
        of_pool = sum(a.origin == "pool" for a in found.sample.annotations)
        assert sum(found.pasted) == of_pool
        assert (of_pool > 0) == (found.sample.height == 64)


def test_composed_dataset_tells_which_objects_were_pasted(tmp_path, indexed):
    folder = disc_dataset(tmp_path / "a", 3)
    told = json.loads((folder / "annotations.json").read_text())
    for annotation in told["annotations"]:
        annotation["origin"] = "pool" if annotation["id"] % 2 else "background"
    (folder / "annotations.json").write_text(json.dumps(told))
    samples = _samples(_settings("compose.canvas.fit=keep"), indexed(folder))
    for i in range(3):
        found = samples[i]
        ids = [int(a.source_id.rpartition("#")[2]) for a in found.sample.annotations]
        assert list(found.pasted) == [number % 2 == 1 for number in ids]


def test_contexts_come_beside_the_images_and_are_pasted_on(tmp_path, indexed, make_pool):
    settings = _settings("compose.copy_rule=pool", "compose.mix=[1, 1]")
    both = with_contexts(indexed(disc_dataset(tmp_path / "a", 4)), "white:60x60", indexed_source(tmp_path))
    samples = _samples(settings, both, make_pool({"banana": 2}))
    contexts = [samples[i].sample.background_id.startswith("context:") for i in range(100)]
    assert 30 < sum(contexts) < 70


def indexed_source(tmp_path):
    return lambda source: open_or_index(source, tmp_path / "cache")


def test_dataset_without_annotations_says_what_to_give(indexed):
    with pytest.raises(ConfigError, match="--train has no annotations: give a COCO"):
        _samples(_settings(), indexed("white:60x60"))


def test_other_names_for_the_same_ids_are_refused(tmp_path, indexed):
    other = disc_dataset(tmp_path / "b", 2)
    told = (other / "annotations.json").read_text().replace('"banana"', '"plantain"')
    (other / "annotations.json").write_text(told)
    with pytest.raises(ConfigError, match="category 1 is 'banana'"):
        _samples(
            _settings(), indexed(disc_dataset(tmp_path / "a", 2)), mixed=(Mixed("b", indexed(other), 0.5),)
        )
