"""Image and text embeddings with open_clip."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch.nn import functional
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize
from torchvision.transforms.functional import to_tensor

from xpaste_ray.config.base import Dtype
from xpaste_ray.config.score import Resize as ResizeRule
from xpaste_ray.models.clip_config import embedding_dim
from xpaste_ray.models.device import usable_device

# Norms stay in float32, as in OpenAI's own mixed precision.
_PRECISIONS: dict[Dtype, str] = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_LONGEST = 4  # times the shorter side: what lies beyond, the centre crop never sees


class ClipModel:
    """A CLIP model from a local open_clip folder. ConfigError without the device.

    Size, mean and deviation of its inputs are the folder's own, and so is its activation: OpenAI's weights
    need `"quick_gelu": true` in the folder's open_clip_config.json, as open_clip's ViT-L-14-quickgelu has.
    Nothing in the weights tells, so neither open_clip nor this class can find that missing.

    resize: `pil`, as open_clip prepares images (bicubic on 8 bits, antialiased); `tensor`, as X-Paste's code
    does: bicubic on floats, not antialiased. Then both crop the centre. dim: numbers in an embedding.
    """

    def __init__(
        self, folder: Path, device: str = "cpu", dtype: Dtype = "float32", resize: ResizeRule = "pil"
    ) -> None:
        self.dim = embedding_dim(folder, "score.model")  # refuses what open_clip would fetch
        name = f"local-dir:{folder}"
        precision = _PRECISIONS[dtype]
        self._model = open_clip.create_model(name, precision=precision, device=usable_device(device))
        self._model.eval()
        self._tokenizer = open_clip.get_tokenizer(name)
        self._device, self._input_dtype = device, open_clip.get_input_dtype(precision)
        told = PreprocessCfg(**open_clip.get_model_preprocess_cfg(self._model))
        self._cuts = told.resize_mode == "shortest" or resize == "tensor"
        self._transform = _as_x_paste(told) if resize == "tensor" else _as_open_clip(told)

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """(H, W, 3) uint8 RGB -> (3, S, S) float32, as the model takes it. Safe in any thread."""
        prepared: torch.Tensor = self._transform(_central(image) if self._cuts else image)
        return prepared

    @torch.inference_mode()
    def embed(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        """Images from `prepare` -> (N, D) float32 of unit length."""
        pixels = torch.stack(list(prepared)).to(self._device, self._input_dtype)
        return _unit(self._model.encode_image(pixels))

    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Images (H, W, 3) uint8 RGB, sizes may differ -> (N, D) float32 of unit length."""
        return self.embed([self.prepare(image) for image in images])

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (N, D) float32 of unit length."""
        return _unit(self._model.encode_text(self._tokenizer(list(texts)).to(self._device)))


def _as_open_clip(told: PreprocessCfg) -> Callable[[np.ndarray], Any]:
    transform = image_transform_v2(told, is_train=False)
    return lambda image: transform(Image.fromarray(image))


def _as_x_paste(told: PreprocessCfg) -> Callable[[np.ndarray], Any]:
    """Bicubic weights overshoot: values a little outside [0, 1] stay, as they do there."""
    height, width = told.input_size[1:]
    steps = [
        Resize(max(height, width), InterpolationMode.BICUBIC, antialias=False),
        CenterCrop((height, width)),
        Normalize(told.mean, told.std),
    ]
    transform = Compose([to_tensor, *steps])
    return lambda image: transform(np.ascontiguousarray(image))


def _central(image: np.ndarray) -> np.ndarray:
    """A very long image without its ends: resized by its shorter side, a line of 1 x 1000 would be large."""
    limit = _LONGEST * min(image.shape[:2])
    top, left = (max(0, (side - limit) // 2) for side in image.shape[:2])
    return image[top : top + limit, left : left + limit]


def _unit(features: torch.Tensor) -> np.ndarray:
    vectors: np.ndarray = functional.normalize(features.float(), dim=-1).cpu().numpy()
    return vectors
