"""Images of coloured discs: what a small network learns in seconds."""

from dataclasses import dataclass

import cv2
import numpy as np

from xpaste_ray.categories import Category
from xpaste_ray.config.classifier import ResNetClassifier
from xpaste_ray.errors import RowError
from xpaste_ray.models.classifier_files import card_of
from xpaste_ray.models.classifier_train import TrainingTask
from xpaste_ray.rng import rng_for

RED, GREEN, BLUE = CATEGORIES = (Category(1, "red"), Category(2, "green"), Category(5, "blue"))
COLOURS = {1: (220, 40, 40), 2: (40, 200, 60), 5: (50, 80, 230)}


def disc_image(category_id, centre_yx, size_hw=(64, 64), radius_px=9, seed=0):
    """A disc of the category's colour on grey noise."""
    image = rng_for(seed, "discs", *centre_yx).integers(100, 150, (*size_hw, 3)).astype(np.uint8)
    cv2.circle(image, centre_yx[::-1], radius_px, COLOURS[category_id], -1)
    return image


@dataclass(frozen=True)
class Discs:
    """Image i shows a disc of one category, red, green, blue and so on, somewhere. order: of the images, by
    their names; broken: those that cannot be read."""

    order: tuple[int, ...]
    broken: tuple[int, ...] = ()
    categories: tuple[Category, ...] = CATEGORIES

    def __len__(self):
        return len(self.order)

    def key(self, number):
        return f"image-{self.order[number]:03d}"

    def labels(self, number):
        return (self.categories[self.order[number] % len(self.categories)].id,)

    def load(self, number):
        if self.order[number] in self.broken:
            raise RowError("unreadable")
        y, x = (int(side) for side in rng_for(0, "disc-centre", self.order[number]).integers(10, 54, 2))
        return disc_image(self.labels(number)[0], (y, x), seed=self.order[number])


def resnet_settings(**options):
    values = {
        "arch": "resnet18", "side_px": 32, "epochs": 2, "batch": 8, "held_out": 0.2, "train_threads": 1,
        "learning_rate": 2e-3,
    }  # fmt: skip
    return ResNetClassifier(kind="resnet", **{**values, **options})


def training_task(root, categories=CATEGORIES, seed=0, recipe="recipe", **options):
    settings = resnet_settings(**options)
    card = card_of(settings, categories)
    return TrainingTask(settings, card, seed, recipe, root / "classifier", root / "work")
