"""Brightness and contrast (EM-Paste, training)."""

import numpy as np

from xpaste_ray.config.train import LightSettings


def relit(image: np.ndarray, rng: np.random.Generator, settings: LightSettings) -> np.ndarray:
    """(H, W, 3) uint8, each value a new one by a table: contrast is about the image's mean."""
    happens, amounts = rng.random(2) < settings.probability, rng.uniform(-1, 1, 2)
    brightness, contrast = 1 + amounts * happens * (settings.brightness, settings.contrast)
    if brightness == contrast == 1:
        return image
    mean = float(image.mean()) * brightness
    values = np.arange(256) * brightness
    table = np.clip(np.rint(mean + contrast * (values - mean)), 0, 255).astype(np.uint8)
    relit: np.ndarray = table[image]
    return relit
