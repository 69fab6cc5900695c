from dataclasses import dataclass

import numpy as np
import pytest

from tests.models.shapes import Discs, disc_image
from xpaste_ray.models.training_images import batches, epoch_order, split, varied


@dataclass(frozen=True)
class Labelled:
    told: tuple[tuple[str, tuple[int, ...]], ...]

    def __len__(self):
        return len(self.told)

    def key(self, number):
        return self.told[number][0]

    def labels(self, number):
        return self.told[number][1]

    def load(self, number):
        raise NotImplementedError


def _keys(images, numbers):
    return [images.key(i) for i in numbers]


def test_a_part_is_held_out_and_every_image_is_in_one_place():
    images = Discs(tuple(range(40)))
    parts = split(images, range(40), 0.25, seed=3)
    assert len(parts.held_out) == 10
    assert sorted((*parts.training, *parts.held_out)) == list(range(40))


def test_split_does_not_depend_on_the_order_of_the_images():
    one, other = Discs(tuple(range(30))), Discs(tuple(reversed(range(30))))
    first, second = (split(images, range(30), 0.2, seed=3) for images in (one, other))
    assert _keys(one, first.held_out) == _keys(other, second.held_out)
    assert _keys(one, first.training) == _keys(other, second.training)
    assert first != split(one, range(30), 0.2, seed=4)


@pytest.mark.parametrize("seed", range(20))
def test_every_category_keeps_an_image_to_be_trained_on(seed):
    """Ten categories of one to three images, some with two labels, half of them held out."""
    told = [(f"{c}-{n}", (c, (c + 1) % 10) if n == 2 else (c,)) for c in range(10) for n in range(1 + c % 3)]
    images = Labelled(tuple(told))
    parts = split(images, range(len(told)), 0.5, seed)
    trained = {label for i in parts.training for label in images.labels(i)}
    assert trained == set(range(10)) and parts.held_out


def test_too_few_images_leave_none_held_out():
    assert split(Discs((0, 1, 2)), range(3), 0.1, seed=0).held_out == ()
    assert split(Discs((0,)), range(1), 0.9, seed=0).held_out == ()


def test_each_epoch_has_its_own_order_of_the_same_images():
    orders = [epoch_order(range(50), 0, epoch) for epoch in (1, 2)]
    assert orders[0] != orders[1]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] == epoch_order(range(50), 0, 1) != epoch_order(range(50), 1, 1)


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(10, 4, [4, 3, 3]), (3, 64, [3]), (65, 64, [33, 32]), (0, 4, [])]
)
def test_batches_are_few_and_equal(count, size, sizes):
    made = batches(range(count), size)
    assert [len(batch) for batch in made] == sizes
    assert [i for batch in made for i in batch] == list(range(count))


def test_picture_is_varied_by_seed_epoch_and_name_alone():
    image = disc_image(1, (20, 40))
    one = varied(image, 32, 0, 1, "a")
    assert one.shape == (32, 32, 3) and one.dtype == np.uint8
    assert np.array_equal(one, varied(image, 32, 0, 1, "a"))
    for other in (varied(image, 32, 1, 1, "a"), varied(image, 32, 0, 2, "a"), varied(image, 32, 0, 1, "b")):
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 200), (200, 3)])
def test_thin_images_are_varied_too(size_hw):
    image = np.full((*size_hw, 3), 100, np.uint8)
    assert all(varied(image, 32, 0, epoch, "a").shape == (32, 32, 3) for epoch in range(5))
