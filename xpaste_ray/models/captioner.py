"""Captions of images with BLIP (Li et al. 2022)."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import BertTokenizerFast, BlipForConditionalGeneration, BlipImageProcessor

from xpaste_ray.config.contexts import BlipCaptions
from xpaste_ray.models.device import usable_device
from xpaste_ray.models.folders import TRANSFORMERS_FILE, model_folder
from xpaste_ray.models.nucleus import pick_token
from xpaste_ray.models.precision import computing_in, images_at_once
from xpaste_ray.models.pretrained import image_processor, load_network, load_tokenizer

OPTION = "contexts.captions.model"
_OPENAI = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


class Captioner:
    """Captions by nucleus sampling. Raises ConfigError.

    Every word follows from the image and from numbers that the caller draws, in batches of one shape: what
    else is captioned at the same time changes none. `micro_batch`: images at a time.
    """

    def __init__(self, settings: BlipCaptions, device: str = "cpu") -> None:
        folder = model_folder(settings.model, OPTION, TRANSFORMERS_FILE)
        self._settings, self._device = settings, usable_device(device)
        self.micro_batch = images_at_once(settings.micro_batch, device)
        self._network = load_network(BlipForConditionalGeneration, folder, OPTION).to(device)
        self._tokenizer = load_tokenizer(BertTokenizerFast, folder, OPTION)
        side = self._network.config.vision_config.image_size
        self._processor = image_processor(
            BlipImageProcessor, folder, {"height": side, "width": side}, **_OPENAI
        )
        text = self._network.config.text_config
        self._begin, self._end = text.bos_token_id, text.sep_token_id

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray], numbers: np.ndarray) -> list[list[str]]:
        """images: N of (H, W, 3) uint8 RGB. numbers: (N, captions, at least max_tokens) in [0, 1).
        Returns the captions of each."""
        pixels = self._processor(images=list(images), return_tensors="pt").pixel_values.to(self._device)
        with computing_in(self._settings.dtype, self._device):
            seen = self._network.vision_model(pixel_values=pixels).last_hidden_state
        captions = numbers.shape[1]
        rows = self._sample(seen.repeat_interleave(captions, dim=0), numbers.reshape(-1, numbers.shape[2]))
        texts = [self._tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]
        return [texts[i : i + captions] for i in range(0, len(texts), captions)]

    def _sample(self, seen: torch.Tensor, numbers: np.ndarray) -> list[list[int]]:
        """The tokens of each row, its end left out. seen: (R, patches, D)."""
        settings = self._settings
        rows: list[list[int]] = [[] for _ in numbers]
        ended = [False] * len(rows)
        tokens = torch.full((len(rows), 1), self._begin, device=self._device)
        past = None
        for step in range(settings.max_tokens):
            with computing_in(settings.dtype, self._device):
                told = self._network.text_decoder(
                    input_ids=tokens, encoder_hidden_states=seen, past_key_values=past, use_cache=True
                )
            past = told.past_key_values
            logits = told.logits[:, -1].float().cpu().numpy()
            banned = (self._end,) if step < settings.min_tokens else ()
            picked = [
                self._end if ended[row] else self._pick(logits[row], numbers[row, step], rows[row], banned)
                for row in range(len(rows))
            ]
            for row, token in enumerate(picked):
                ended[row] = ended[row] or token == self._end
                if not ended[row]:
                    rows[row].append(token)
            if all(ended):
                break
            tokens = torch.tensor(picked, device=self._device)[:, None]
        return rows

    def _pick(self, logits: np.ndarray, number: float, earlier: list[int], banned: tuple[int, ...]) -> int:
        settings = self._settings
        return pick_token(logits, number, settings.top_p, earlier, settings.repetition_penalty, banned)
