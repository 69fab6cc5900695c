"""Text-to-image with diffusers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xpaste_ray.config import DiffusionSource
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.device import usable_device
from xpaste_ray.models.prompt_cache import PromptCache
from xpaste_ray.models.text_to_image import (
    check_call,
    default_steps_and_guidance,
    load_pipeline,
    use_scheduler,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One image as the model made it.

    pixels: (H, W, 3) uint8 RGB. finite: no NaN among the numbers before rounding (such pixels are 0).
    flagged: the pipeline's own safety checker blackened it.
    """

    pixels: np.ndarray
    finite: bool
    flagged: bool


class DiffusionModel:
    """Any pipeline that `AutoPipelineForText2Image` loads from a local folder. Raises ConfigError.

    An image depends on its text, its seed and the number of texts in the call, and on nothing else: each
    has a CPU generator of its own, so its noise is the same in any batch on any device, and no kernel is
    chosen by timing. On a GPU convolutions run channels-last; attention is torch's SDPA, which diffusers
    takes by itself. `steps` and `guidance_scale` are the settings', or the pipeline's own. `negative`: what
    guidance leads away from; without guidance it is not used.
    """

    def __init__(
        self, folder: Path, settings: DiffusionSource, device: str = "cpu", negative: str = ""
    ) -> None:
        pipeline = load_pipeline(folder, settings.dtype).to(usable_device(device))
        self.steps, self.guidance_scale = _steps_and_guidance(pipeline, settings)  # by its own scheduler
        use_scheduler(pipeline, settings.scheduler)
        if not settings.safety_checker and hasattr(pipeline, "safety_checker"):
            pipeline.safety_checker = None
        self._size = _size_arguments(pipeline, settings)
        self._pipeline = pipeline
        self._dtypes = list(_dtypes(pipeline))
        if torch.device(device).type == "cuda":
            _channels_last(pipeline)
        if settings.vae_batch is not None:
            _decode_in_parts(pipeline, settings.vae_batch)
        self._compiled = settings.compile
        if settings.compile:
            _compile(pipeline)
        self._texts = _text_arguments(pipeline, self.guidance_scale, negative)

    @property
    def lower_precision(self) -> bool:
        """Whether `generate_in_float32` computes anything else than `generate`."""
        return any(dtype in (torch.float16, torch.bfloat16) for *_, dtype in self._dtypes)

    def generate(self, texts: Sequence[str], seeds: Sequence[int]) -> list[Picture]:
        """One image a text."""
        try:
            result = self._pipeline(
                **self._texts(texts),
                **self._size,
                num_inference_steps=self.steps,
                guidance_scale=self.guidance_scale,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="pt",
            )
        except BaseException:
            self._restore_dtypes()  # SDXL's pipeline widens its VAE, and leaves it so if decoding fails
            raise
        return _pictures(result, len(texts))

    def generate_in_float32(self, texts: Sequence[str], seeds: Sequence[int]) -> list[Picture]:
        """As `generate`, computed in float32 (with the weights as `dtype` rounded them), and not compiled."""
        with self._float32():
            return self.generate(texts, seeds)

    @contextmanager
    def _float32(self) -> Iterator[None]:
        """Widen the weights, and narrow them again after: exact, for they were narrow before."""
        with ExitStack() as stack:
            if self._compiled:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.callback(self._restore_dtypes)
            for tensors, name, _ in self._dtypes:
                tensors[name].data = tensors[name].data.float()
            yield

    def _restore_dtypes(self) -> None:
        for tensors, name, dtype in self._dtypes:
            tensors[name].data = tensors[name].data.to(dtype)


def _dtypes(pipeline: Any) -> Iterator[tuple[dict[str, torch.Tensor], str, torch.dtype]]:
    """Where every weight is, and its dtype: some models keep a few wider than the rest."""
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            for module in component.modules():
                for tensors in (module._parameters, module._buffers):
                    for name, tensor in tensors.items():
                        if tensor is not None and tensor.is_floating_point():
                            yield tensors, name, tensor.dtype


def _steps_and_guidance(pipeline: Any, settings: DiffusionSource) -> tuple[int, float]:
    steps, guidance = default_steps_and_guidance(pipeline)
    steps = steps if settings.steps is None else settings.steps
    guidance = guidance if settings.guidance_scale is None else settings.guidance_scale
    for option, value in (("steps", steps), ("guidance_scale", guidance)):
        if not isinstance(value, int | float):
            raise ConfigError(
                f"sources.*.{option}: {type(pipeline).__name__} has none of its own: set one instead of null"
            )
    return steps, guidance


def _size_arguments(pipeline: Any, settings: DiffusionSource) -> dict[str, int]:
    if settings.size_hw is None:
        return {}
    check_call(pipeline, ("height", "width"), "sources.*.size_hw")
    return dict(zip(("height", "width"), settings.size_hw, strict=True))


def _channels_last(pipeline: Any) -> None:
    for name in ("unet", "vae"):
        if getattr(pipeline, name, None) is not None:
            getattr(pipeline, name).to(memory_format=torch.channels_last)


def _compile(pipeline: Any) -> None:
    """Compile the denoising network for its one shape, with no choice made by timing."""
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    if network is None:
        raise ConfigError(
            f"sources.*.compile: {type(pipeline).__name__} has no unet and no transformer: set it to false"
        )
    from torch._inductor import config  # slow to import, and rarely needed

    options: dict[str, Any] = {"shape_padding": False}  # whether to pad a matrix is measured
    if hasattr(config, "deterministic"):  # from torch 2.10: how to tile a reduction is not measured, too
        options["deterministic"] = True
    network.compile(dynamic=False, options=options)


def _decode_in_parts(pipeline: Any, size: int) -> None:
    """Let the VAE decode `size` images at a time, the last ones padded, whatever the pipeline asks for."""
    vae = getattr(pipeline, "vae", None)
    if vae is None:
        raise ConfigError(f"sources.*.vae_batch: {type(pipeline).__name__} has no vae: set it to null")
    vae.decode = partial(_decode_parts, vae.decode, size)


def _decode_parts(
    decode: Callable[..., Any], size: int, latents: torch.Tensor, return_dict: bool = True, **kwargs: Any
) -> Any:
    from diffusers.models.autoencoders.vae import DecoderOutput

    parts = []
    for part in latents.split(min(size, len(latents))):
        padding = part[-1:].expand(min(size, len(latents)) - len(part), *part.shape[1:])
        whole = torch.cat([part, padding]) if len(padding) else part
        parts.append(decode(whole, return_dict=False, **kwargs)[0][: len(part)])
    images = torch.cat(parts)
    return DecoderOutput(sample=images) if return_dict else (images,)


def _text_arguments(
    pipeline: Any, guidance_scale: float, negative: str
) -> Callable[[Sequence[str]], dict[str, Any]]:
    if not PromptCache.takes(pipeline):
        if negative and guidance_scale > 1:
            check_call(pipeline, ("negative_prompt",), "prompts.negative")
            return lambda texts: {"prompt": list(texts), "negative_prompt": [negative] * len(texts)}
        return lambda texts: {"prompt": list(texts)}
    # As these pipelines decide it: a distilled guidance enters the UNet as an embedding instead.
    guided = guidance_scale > 1 and pipeline.unet.config.time_cond_proj_dim is None
    return PromptCache(pipeline, guided, negative)


def _pictures(result: Any, count: int) -> list[Picture]:
    """The pipeline's answer, checked; rounded on its device, so that bytes travel and not floats."""
    images = getattr(result, "images", None)
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[:2] != (count, 3):
        shape = list(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ConfigError(
            f"sources.*.model: the pipeline made {shape} of {count} texts, not one RGB image each"
        )
    numbers = images.permute(0, 2, 3, 1).float()
    finite = numbers.isfinite().flatten(1).all(dim=1).tolist()
    pixels = (numbers.nan_to_num(0, 0, 0) * 255).round().to(torch.uint8).cpu().numpy()
    flagged = getattr(result, "nsfw_content_detected", None) or [False] * count
    return [Picture(*parts) for parts in zip(pixels, finite, map(bool, flagged), strict=True)]
