"""CLIPSeg: the part of an image that a text names."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from transformers import CLIPSegForImageSegmentation, CLIPTokenizer, ViTImageProcessor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from xpaste_ray.categories import display_name
from xpaste_ray.config.segment import ClipSegMethod
from xpaste_ray.models.device import usable_device
from xpaste_ray.models.folders import SEGMENTER_OPTION, TRANSFORMERS_FILE, model_folder
from xpaste_ray.models.precision import computing_in, images_at_once
from xpaste_ray.models.pretrained import image_processor, load_network, load_tokenizer
from xpaste_ray.models.segmenters import Shown, SoftMask
from xpaste_ray.models.soft_masks import resized, stretched


class ClipSegSegmenter:
    """One mask for every image, told the category's name. Raises ConfigError.

    The image is squeezed into the square that the network was trained on (352 pixels for the published
    weights), its probabilities are resized to the image and, with `matting`, refined there.
    Source: X-Paste, stage B; see `matting` for what differs from it.
    """

    def __init__(self, settings: ClipSegMethod, device: str = "cpu") -> None:
        folder = model_folder(settings.model, SEGMENTER_OPTION, TRANSFORMERS_FILE)
        self._settings, self._device = settings, usable_device(device)
        self.micro_batch = images_at_once(settings.micro_batch, device)
        self._network = load_network(CLIPSegForImageSegmentation, folder).to(device)
        self._tokenizer = load_tokenizer(CLIPTokenizer, folder)
        side = self._network.config.vision_config.image_size
        self._processor = image_processor(
            ViTImageProcessor,
            folder,
            {"height": side, "width": side},
            image_mean=IMAGENET_DEFAULT_MEAN,
            image_std=IMAGENET_DEFAULT_STD,
        )
        self._texts: dict[str, torch.Tensor] = {}
        if settings.matting:
            from xpaste_ray.models import matting  # slow to import, and not needed by all

            self._refined = matting.refined

    def __call__(self, shown: Sequence[Shown]) -> list[list[SoftMask]]:
        probabilities = self._probabilities(shown)
        return [[SoftMask(self._mask(*pair))] for pair in zip(shown, probabilities, strict=True)]

    @torch.inference_mode()
    def _probabilities(self, shown: Sequence[Shown]) -> np.ndarray:
        """(N, S, S) float32 in [0, 1], in the frame of the network's square."""
        images = [Image.fromarray(one.image) for one in shown]
        pixels = torch.cat([self._processor(image, return_tensors="pt").pixel_values for image in images])
        texts = torch.cat([self._text(one.category) for one in shown])
        with computing_in(self._settings.dtype, self._device):
            output = self._network(pixel_values=pixels.to(self._device), conditional_embeddings=texts)
        probabilities: np.ndarray = output.logits.float().sigmoid().cpu().numpy()
        return probabilities

    def _text(self, category: str) -> torch.Tensor:
        """The category's text as (1, D): computed once, alone, so that no neighbour's length matters."""
        if category not in self._texts:
            text = self._settings.template.format(name=display_name(category))
            limit = self._network.config.text_config.max_position_embeddings
            tokens = self._tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
            with computing_in(self._settings.dtype, self._device):
                self._texts[category] = self._network.get_conditional_embeddings(
                    1, tokens.input_ids.to(self._device), tokens.attention_mask.to(self._device)
                )
        return self._texts[category]

    def _mask(self, shown: Shown, probability: np.ndarray) -> np.ndarray:
        mask = resized(probability, shown.image.shape[:2])
        if self._settings.matting:
            mask = self._refined(shown.image, mask, self._settings.trimap)
        return stretched(mask) if self._settings.renormalise else mask
