"""Image and text embeddings with open_clip."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from torch.nn import functional

from xpaste_ray.models.device import usable_device


class ClipModel:
    """A CLIP model from a local open_clip folder, computed in float32. ConfigError without the device."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        name = f"local-dir:{folder}"
        self._model, _, self._preprocess = open_clip.create_model_and_transforms(
            name, precision="fp32", device=usable_device(device)
        )
        self._model.eval()
        self._tokenizer = open_clip.get_tokenizer(name)
        self._device = device

    @torch.inference_mode()
    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Images (H, W, 3) uint8 RGB, sizes may differ -> (N, D) float32 of unit length."""
        pixels = torch.stack([self._preprocess(Image.fromarray(image)) for image in images])
        return _unit(self._model.encode_image(pixels.to(self._device)))

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (N, D) float32 of unit length."""
        return _unit(self._model.encode_text(self._tokenizer(list(texts)).to(self._device)))


def _unit(features: torch.Tensor) -> np.ndarray:
    vectors: np.ndarray = functional.normalize(features.float(), dim=-1).cpu().numpy()
    return vectors
