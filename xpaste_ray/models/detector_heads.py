"""The heads of Mask R-CNN, with what this package knows of an object and an image: that the object was
pasted, and which categories the image was looked through for."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed
from torch.nn import functional
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.roi_heads import RoIHeads, project_masks_on_boxes

from xpaste_ray.models.processes import world_size
from xpaste_ray.rng import int_seed_for

Losses = dict[str, torch.Tensor]
Target = dict[str, torch.Tensor]


class KeyedSampler(BalancedPositiveNegativeSampler):  # type: ignore[misc]
    """torchvision's choice of positives and negatives, drawn by the numbers of the images, so that it does
    not follow from what else was drawn, or where."""

    def __init__(self, per_image: int, positive_fraction: float, purpose: str, seed: int) -> None:
        super().__init__(per_image, positive_fraction)
        self._purpose, self._seed = purpose, seed
        self.numbers: Sequence[int] = ()
        """Of the images that come next."""

    def __call__(self, matched_idxs: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        chosen: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for number, matched in zip(self.numbers, matched_idxs, strict=True):
            generator = torch.Generator().manual_seed(int_seed_for(self._seed, self._purpose, number))
            positive, negative = torch.where(matched >= 1)[0], torch.where(matched == 0)[0]
            most = min(len(positive), int(self.batch_size_per_image * self.positive_fraction))
            rest = min(len(negative), self.batch_size_per_image - most)
            for found, count, masks in zip((positive, negative), (most, rest), chosen, strict=True):
                order = torch.randperm(len(found), generator=generator)[:count].to(found.device)
                mask = torch.zeros_like(matched, dtype=torch.uint8)
                mask[found[order]] = 1
                masks.append(mask)
        return chosen


class DetectorHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's heads with three changes of the losses.

    A proposal without an object is a negative example of those categories only that a target's `absent` says
    are absent there (LVIS's rules; the others take no part in its softmax). Boxes and masks of pasted
    objects are learnt from as `pasted_box_loss` and `pasted_mask_loss` say. Means are over all processes.

    A target has, beside torchvision's keys: pasted (N,) bool; absent (C + 1,) bool by label.
    """

    pasted_box_loss = True
    pasted_mask_loss = True

    def forward(
        self,
        features: dict[str, torch.Tensor],
        proposals: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[dict[str, torch.Tensor]], Losses]:
        if not self.training or targets is None:
            found: tuple[list[dict[str, torch.Tensor]], Losses] = super().forward(
                features, proposals, image_shapes, targets
            )
            return found
        proposals, matched, labels, regressions = self.select_training_samples(proposals, targets)
        pooled = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        logits, boxes = self.box_predictor(pooled)
        flat = torch.cat(labels)
        absent = torch.cat(
            [one["absent"].expand(len(own), -1) for one, own in zip(targets, labels, strict=True)]
        )
        learnt = [
            _learnt(one, own, label, self.pasted_box_loss)
            for one, own, label in zip(targets, matched, labels, strict=True)
        ]
        return [], {
            "loss_classifier": classification_loss(logits, flat, absent),
            "loss_box_reg": box_loss(boxes, flat, torch.cat(regressions), torch.cat(learnt)),
            "loss_mask": self._mask_loss(features, proposals, matched, labels, image_shapes, targets),
        }

    def _mask_loss(
        self,
        features: dict[str, torch.Tensor],
        proposals: list[torch.Tensor],
        matched: list[torch.Tensor],
        labels: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target],
    ) -> torch.Tensor:
        """Mean of the binary cross-entropies of the objects' own masks."""
        rows = [
            torch.where(_learnt(one, own, label, self.pasted_mask_loss))[0]
            for one, own, label in zip(targets, matched, labels, strict=True)
        ]
        shown = [boxes[own] for boxes, own in zip(proposals, rows, strict=True)]
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, shown, image_shapes)))
        own_labels = torch.cat([label[own] for label, own in zip(labels, rows, strict=True)])
        side = logits.shape[-1]
        truth = [
            project_masks_on_boxes(one["masks"], boxes, match[own], side)
            for one, boxes, match, own in zip(targets, shown, matched, rows, strict=True)
            if len(own)
        ]
        count = _over_all(len(own_labels), logits.device)
        loss: torch.Tensor = logits.sum() * 0
        if truth:
            own_logits = logits[torch.arange(len(own_labels), device=logits.device), own_labels].float()
            entropy = functional.binary_cross_entropy_with_logits
            loss = entropy(own_logits, torch.cat(truth), reduction="sum") / side**2
        return loss / count


def classification_loss(logits: torch.Tensor, labels: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """logits: (P, C + 1); labels: (P,), 0 without an object; absent: (P, C + 1) bool, the first column true.
    The softmax of a proposal without an object is over the background and what is known to be absent."""
    unknown = (labels == 0)[:, None] & ~absent
    logits = logits.float().masked_fill(unknown, -torch.inf)
    return functional.cross_entropy(logits, labels, reduction="sum") / _over_all(len(labels), logits.device)


def box_loss(
    boxes: torch.Tensor, labels: torch.Tensor, truth: torch.Tensor, learnt: torch.Tensor
) -> torch.Tensor:
    """boxes: (P, 4 (C + 1)), of which those of the object's own label count; learnt: (P,) bool."""
    rows = torch.where(learnt)[0]
    own = boxes.reshape(len(labels), -1, 4)[rows, labels[rows]].float()
    each = functional.smooth_l1_loss(own, truth[rows], beta=1 / 9, reduction="sum")
    return each / _over_all(len(labels), boxes.device)


def _learnt(target: Target, matched: torch.Tensor, labels: torch.Tensor, from_pasted: bool) -> torch.Tensor:
    """Of each proposal, whether it is of an object to learn a box or a mask from."""
    has_object = labels > 0
    if from_pasted or not has_object.any():
        return has_object
    return has_object & ~target["pasted"][matched]


def _over_all(count: int, device: torch.device) -> float:
    """The mean of a count over the processes, at least 1: gradients are averaged over them."""
    if world_size() == 1:
        return max(count, 1)
    total = torch.tensor(float(count), device=device)
    distributed.all_reduce(total)
    return max(float(total) / world_size(), 1 / world_size())


def keyed_samplers(network: Any) -> list[KeyedSampler]:
    """Those of a network's two choices."""
    return [network.rpn.fg_bg_sampler, network.roi_heads.fg_bg_sampler]
