"""A backbone that has seen other objects: what ImageNet is to a detector of LVIS.

It is a classifier of the objects of `pretrain/`, none of which is a category of the study, on photographs of
the training set. What it is good for is its body.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xpaste_ray.config.classifier import ResNetClassifier
from xpaste_ray.config.images import ImagesSettings
from xpaste_ray.models.classifier_files import ClassifierCard, card_of, read_card
from xpaste_ray.models.classifier_train import TrainingTask, train
from xpaste_ray.models.resnet import load_resnet
from xpaste_ray.models.segment_picture import in_square
from xpaste_ray.models.training_images import split
from xpaste_ray.pipelines.train_classifier import training_recipe
from xpaste_ray.runs import write_json
from xpaste_ray.sources.labelled import LabelledImages, open_labelled

BACKBONE = ResNetClassifier(
    kind="resnet", arch="resnet18", side_px=64, epochs=8, patience=8, batch=32, learning_rate=1e-3,
    train_threads=2,
)  # fmt: skip
"""side_px: objects are then as large as in the study's images, about 30 to 60 px."""

_AT_ONCE = 64


def train_backbone(material: Path, seed: int, settings: ResNetClassifier = BACKBONE) -> dict[str, Any]:
    """Writes `backbone/` and tells how long it took and how good it is; what was begun is gone on with."""
    images = open_labelled(ImagesSettings(path=str(material / "pretrain" / "labels.csv"), vocabulary="lvis"))
    folder, work = material / "backbone", material / "backbone-training"
    card = card_of(settings, images.categories)
    began = time.perf_counter()
    recipe = training_recipe(settings, images, card, seed)
    record = train(TrainingTask(settings, card, seed, recipe, folder, work), images)
    seconds = time.perf_counter() - began
    shutil.rmtree(work, ignore_errors=True)
    assert record.best is not None  # there is an epoch at least
    told = {
        "seconds": round(seconds, 1),
        "categories": len(images.categories),
        "epochs": len(record.epochs),
        "mean_average_precision": record.best.mean_average_precision,
        "top1": held_out_accuracy(folder, images, settings, seed),
    }
    write_json(folder / "measured.json", told)
    return told


def held_out_accuracy(folder: Path, images: LabelledImages, settings: ResNetClassifier, seed: int) -> float:
    """Of the images that it was not trained on, the part of which it finds the category."""
    card = read_card(folder)
    held_out = split(images, range(len(images)), settings.held_out, seed).held_out
    network = load_resnet(folder, card.arch, len(card.categories), "backbone")
    place = {number: at for at, (number, _) in enumerate(card.categories)}
    right = 0
    for at in range(0, len(held_out), _AT_ONCE):
        part = held_out[at : at + _AT_ONCE]
        with torch.inference_mode():
            found = network(_pixels([images.load(i) for i in part], card)).argmax(dim=1).tolist()
        right += sum(place[images.labels(i)[0]] == told for i, told in zip(part, found, strict=True))
    return right / len(held_out)


def _pixels(pictures: list[np.ndarray], card: ClassifierCard) -> torch.Tensor:
    """(N, 3, S, S) as the network expects them."""
    stacked = np.stack([in_square(one, card.side_px) for one in pictures]).astype(np.float32) / 255
    scaled = (stacked - np.array(card.mean, np.float32)) / np.array(card.std, np.float32)
    return torch.from_numpy(scaled).permute(0, 3, 1, 2)
