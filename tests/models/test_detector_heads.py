import math

import pytest
import torch

from xpaste_ray.models.detector_heads import KeyedSampler, box_loss, classification_loss

EQUAL = torch.zeros(1, 4)  # every label, the background among them, is as likely: 1 / 4


def _absent(*labels):
    return torch.tensor([[label in (0, *labels) for label in range(4)]])


@pytest.mark.parametrize(("absent", "loss"), [((1, 2, 3), math.log(4)), ((1,), math.log(2)), ((), 0.0)])
def test_background_is_told_from_what_is_known_to_be_absent_only(absent, loss):
    """LVIS's rule: with one known category of three the softmax is over it and the background, 1 / 2; with
    none nothing can be said, and nothing is learnt."""
    found = classification_loss(EQUAL, torch.tensor([0]), _absent(*absent))
    assert found.item() == pytest.approx(loss)


def test_unknown_category_gets_no_gradient_from_the_background():
    logits = EQUAL.clone().requires_grad_()
    classification_loss(logits, torch.tensor([0]), _absent(1, 3)).backward()
    assert logits.grad[0, 2] == 0 and (logits.grad[0, [0, 1, 3]] != 0).all()


def test_object_is_told_from_all_categories_whatever_is_known():
    found = classification_loss(EQUAL, torch.tensor([2]), _absent())
    assert found.item() == pytest.approx(math.log(4))


def test_losses_are_means_over_all_proposals():
    logits, labels = torch.zeros(8, 4), torch.tensor([1, 0, 0, 0, 0, 0, 0, 2])
    assert classification_loss(logits, labels, _absent(1, 2, 3).expand(8, 4)).item() == pytest.approx(
        math.log(4)
    )
    boxes = torch.ones(8, 16)  # off by 1 in four numbers: 1 - 1 / 18 each, by the smooth L1 of torchvision
    found = box_loss(boxes, labels, torch.zeros(8, 4), labels > 0)
    assert found.item() == pytest.approx(2 * 4 * (1 - 1 / 18) / 8)


def test_boxes_that_are_not_learnt_from_count_as_proposals_still():
    labels, learnt = torch.tensor([1, 2]), torch.tensor([True, False])
    found = box_loss(torch.ones(2, 16), labels, torch.zeros(2, 4), learnt)
    assert found.item() == pytest.approx(4 * (1 - 1 / 18) / 2)


def test_sampler_draws_by_the_numbers_of_the_images():
    """At most a quarter of 8 are positive; the rest is filled with negatives; -1 is never taken."""
    sampler = KeyedSampler(8, 0.25, "anchors", seed=3)
    matched = torch.tensor([1] * 20 + [0] * 30 + [-1] * 10)
    sampler.numbers = (5, 9)
    positive, negative = sampler([matched, matched])
    assert [int(mask.sum()) for mask in (*positive, *negative)] == [2, 2, 6, 6]
    assert not negative[0][50:].any() and not negative[0][:20].any() and not positive[0][20:].any()
    sampler.numbers = (9, 5)  # another place in the batch, another process: the same choice
    turned, _ = sampler([matched, matched])
    assert torch.equal(turned[1], positive[0]) and torch.equal(turned[0], positive[1])
    assert not torch.equal(positive[0], positive[1])


def test_sampler_takes_what_there_is():
    sampler = KeyedSampler(8, 0.5, "anchors", seed=0)
    sampler.numbers = (1,)
    (positive,), (negative,) = sampler([torch.tensor([1, 0, 0])])
    assert positive.tolist() == [1, 0, 0] and negative.tolist() == [0, 1, 1]
