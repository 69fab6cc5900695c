"""Loading a text-to-image pipeline of diffusers, and what it must be able to do."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoPipelineForText2Image,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
)
from diffusers.utils import logging as diffusers_logging

from xpaste_ray.errors import ConfigError

_NEEDED = ("prompt", "num_inference_steps", "guidance_scale", "generator", "output_type")
_TURBO_SCHEDULERS = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
_STABLE_DIFFUSION = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")


def load_pipeline(folder: Path, dtype: str) -> DiffusionPipeline:
    """The pipeline of a local folder. Raises ConfigError if diffusers cannot load it as text-to-image, or
    if its call does not take what we have to say.

    A safety checker that the folder has stays: see `DiffusionSource.safety_checker`.
    """
    diffusers_logging.disable_progress_bar()
    try:
        pipeline = AutoPipelineForText2Image.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
        )
    except (ValueError, OSError, ImportError, AttributeError) as error:
        raise ConfigError(
            f"sources.*.model: diffusers cannot load {folder.name!r} as a text-to-image pipeline ({error}): "
            "give a folder that `save_pretrained` of one wrote"
        ) from error
    check_call(pipeline, _NEEDED, "sources.*.model")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def use_scheduler(pipeline: DiffusionPipeline, name: str | None) -> None:
    """Sample with another scheduler, on the noise schedule that the folder's own one has."""
    schedulers = {
        "dpm-solver++": partial(DPMSolverMultistepScheduler.from_config, algorithm_type="dpmsolver++"),
        "plms": partial(PNDMScheduler.from_config, skip_prk_steps=True),
    }
    if name:
        pipeline.scheduler = schedulers[name](pipeline.scheduler.config)


def check_call(pipeline: DiffusionPipeline, names: tuple[str, ...], option: str) -> None:
    """ConfigError if the pipeline's call lacks one of these arguments."""
    missing = [name for name in names if name not in _call_parameters(pipeline)]
    if missing:
        raise ConfigError(
            f"{option}: {type(pipeline).__name__} takes no {' and no '.join(missing)}: choose a pipeline "
            "that does, such as Stable Diffusion 1.5, 2.1, XL or Turbo"
        )


def default_steps_and_guidance(pipeline: DiffusionPipeline) -> tuple[Any, Any]:
    """The pipeline's own (num_inference_steps, guidance_scale): 1 and 0.0 for SD-Turbo and SDXL-Turbo,
    else what its call defaults to (None where that has no default).

    Nothing in a Turbo folder says so but its scheduler: Euler, steps spaced "trailing" (one step must
    start at the last timestep), and epsilon prediction, where every other model with trailing steps that
    we know predicts v. A few-step model of another kind needs its values set.
    """
    scheduler = pipeline.scheduler
    if (
        type(pipeline).__name__ in _STABLE_DIFFUSION
        and type(scheduler).__name__ in _TURBO_SCHEDULERS
        and scheduler.config.get("timestep_spacing") == "trailing"
        and scheduler.config.get("prediction_type") == "epsilon"
    ):
        return 1, 0.0
    parameters = _call_parameters(pipeline)
    defaults = [parameters[name].default for name in ("num_inference_steps", "guidance_scale")]
    steps, guidance = (None if value is inspect.Parameter.empty else value for value in defaults)
    return steps, guidance


def _call_parameters(pipeline: DiffusionPipeline) -> Any:
    return inspect.signature(type(pipeline).__call__).parameters
