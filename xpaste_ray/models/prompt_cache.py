"""Prompt embeddings, computed once a text: a template gives a category the same text in every round."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from diffusers import DiffusionPipeline

# What `encode_prompt` returns, by the argument that takes it: positive, negative, positive, negative.
_ARGUMENTS = {
    "StableDiffusionPipeline": ("prompt_embeds", "negative_prompt_embeds"),
    "StableDiffusionXLPipeline": (
        "prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds",
    ),
}  # fmt: skip

_MAX_BYTES = 1 << 30  # of host memory: LVIS's 1,203 texts are 0.4 GB of SDXL's embeddings in half precision

_Key = tuple[int, torch.dtype, str]


class PromptCache:
    """Texts -> the pipeline's text arguments, for pipelines of the classes SD 1.5, 2.1, XL and Turbo.

    Texts are encoded in batches of the same size as the images', padded, so the embeddings are bit for
    bit those that the pipeline would have computed for such a batch, whichever texts were new.
    Least recently used texts are dropped beyond 1 GiB.
    """

    def __init__(
        self, pipeline: DiffusionPipeline, guided: bool, negative: str = "", max_bytes: int = _MAX_BYTES
    ) -> None:
        self._pipeline, self._guided, self._max_bytes = pipeline, guided, max_bytes
        self._negative_text = negative
        names = _ARGUMENTS[type(pipeline).__name__]
        self._positive, self._negative = names[::2], names[1::2]
        self._rows: OrderedDict[_Key, tuple[torch.Tensor, ...]] = OrderedDict()
        self._unconditional: dict[tuple[int, torch.dtype], tuple[torch.Tensor, ...]] = {}
        self._bytes = 0

    @staticmethod
    def takes(pipeline: DiffusionPipeline) -> bool:
        """Whether this class knows the pipeline's text arguments."""
        return type(pipeline).__name__ in _ARGUMENTS

    def __call__(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """The arguments for one call of the pipeline, on its device, a row a text."""
        shape = (len(texts), self._pipeline.unet.dtype)
        found = {text: self._rows.get((*shape, text)) for text in texts}
        missing = [text for text, rows in found.items() if rows is None]
        if missing:
            found.update(self._encode(missing, shape))
        for text in found:
            self._rows.move_to_end((*shape, text))
        self._trim()
        rows = [found[text] for text in texts]
        device = self._pipeline.device
        given = {name: torch.stack([row[i] for row in rows]) for i, name in enumerate(self._positive)}
        if self._guided:
            given |= zip(self._negative, self._unconditional[shape], strict=True)
        return {name: tensor.to(device) for name, tensor in given.items()}

    @torch.no_grad()
    def _encode(
        self, texts: list[str], shape: tuple[int, torch.dtype]
    ) -> dict[str, tuple[torch.Tensor, ...]]:
        """At most shape[0] new texts, into the cache too."""
        encoded = self._pipeline.encode_prompt(
            prompt=[*texts, *[texts[-1]] * (shape[0] - len(texts))],
            device=self._pipeline.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=self._guided,
            negative_prompt=[self._negative_text] * shape[0] if self._negative_text else None,
        )
        made = {}
        for place, text in enumerate(texts):
            # A copy: a view would keep the whole batch in memory.
            made[text] = tuple(tensor[place].to("cpu", copy=True) for tensor in encoded[::2])
            self._rows[(*shape, text)] = made[text]
            self._bytes += _size(made[text])
        if self._guided:
            self._unconditional[shape] = tuple(tensor.cpu() for tensor in encoded[1::2])
        return made

    def _trim(self) -> None:
        while self._bytes > self._max_bytes:
            _, rows = self._rows.popitem(last=False)
            self._bytes -= _size(rows)


def _size(rows: tuple[torch.Tensor, ...]) -> int:
    return sum(row.nbytes for row in rows)
