"""Miniature models for the first run: small enough to ship, real enough to show every step.

They know the `DIFFUSION_CATEGORIES` (generator) and `CLIP_CATEGORIES` (scorer) drawn in one
graphical style at 64 x 64 px. They are for the first run and for tests, not for production.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent
OBJECTS_DIR = ROOT / "objects"
PHOTOS_DIR = ROOT / "photos"
DIFFUSION_DIR = ROOT / "diffusion"
CLIP_DIR = ROOT / "clip"
LABELLED_DIR = ROOT / "labelled_photos"

SIDE_PX = 64

DIFFUSION_CATEGORIES = (
    "banana", "basketball", "beetle", "bell_pepper", "boxing_glove", "broccoli", "bucket",
    "bus_(vehicle)", "butterfly", "carrot", "cupcake", "doughnut", "eggplant", "frog",
    "hamburger", "koala", "lion", "mushroom", "parrot", "pear", "penguin", "pineapple",
    "stop_sign", "strawberry", "sunflower", "taco", "teapot", "tractor_(farm_equipment)",
    "turtle", "umbrella", "violin", "watermelon",
)  # fmt: skip

# What only CLIP knows: a bad picture must have something else to be mistaken for.
CLIP_CATEGORIES = (
    *DIFFUSION_CATEGORIES,
    "airplane", "avocado", "backpack", "balloon", "bear", "bicycle", "bird", "boat", "camera",
    "cat", "chair", "cow", "crab_(animal)", "crown", "dog", "duck", "elephant",
    "fire_extinguisher", "fish", "giraffe", "guitar", "helicopter", "horse", "lemon",
    "motorcycle", "owl", "pizza", "soccer_ball", "telephone", "tomato",
    "train_(railroad_vehicle)", "zebra",
)  # fmt: skip
