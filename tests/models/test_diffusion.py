import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import (
    AutoPipelineForText2Image,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from benchmarks.architectures import TINY_SDXL, save_random
from xpaste_ray.config import load_settings
from xpaste_ray.embedded import DIFFUSION_DIR, SIDE_PX
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.diffusion import DiffusionModel, _channels_last
from xpaste_ray.models.text_to_image import load_pipeline

OWN = ("steps=null", "guidance_scale=null")
TEXTS = ["a photo of a single banana", "a photo of a single frog", "a photo of a single lion"]


def settings(*overrides):
    values = ("steps=2", "guidance_scale=3.0", *overrides)
    return load_settings("demo", [f"sources.diffusion.{value}" for value in values]).sources["diffusion"]


def pixels(pictures):
    return np.stack([picture.pixels for picture in pictures])


def plain(texts, seeds, steps=2, guidance_scale=3.0, folder=DIFFUSION_DIR, scheduler=None, **options):
    """The same images by one plain call of diffusers."""
    pipeline = AutoPipelineForText2Image.from_pretrained(folder, dtype=torch.float32)
    pipeline.scheduler = scheduler or pipeline.scheduler
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        list(texts), num_inference_steps=steps, guidance_scale=guidance_scale, output_type="np",
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds], **options,
    ).images  # fmt: skip
    return np.rint(images * 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A copy of the miniature model to change."""
    return shutil.copytree(DIFFUSION_DIR, tmp_path / "model")


@pytest.fixture(scope="module")
def model():
    return DiffusionModel(DIFFUSION_DIR, settings())


def test_one_uint8_image_a_text(model):
    images = model.generate(TEXTS, [1, 2, 3])
    assert [(one.pixels.shape, one.pixels.dtype) for one in images] == [((64, 64, 3), np.dtype("uint8"))] * 3
    assert all(one.finite and not one.flagged for one in images)


@pytest.mark.parametrize("guidance_scale", [3.0, 1.0, 0.0])
def test_bytes_are_those_of_the_plain_call(guidance_scale):
    model = DiffusionModel(DIFFUSION_DIR, settings(f"guidance_scale={guidance_scale}"))
    expected = plain(TEXTS, [1, 2, 3], guidance_scale=guidance_scale)
    assert np.array_equal(pixels(model.generate(TEXTS, [1, 2, 3])), expected)


def test_bytes_do_not_depend_on_what_the_cache_holds(model):
    """Texts are new, known, repeated, in another order: always the plain call's bytes."""
    fresh = DiffusionModel(DIFFUSION_DIR, settings())
    for texts in (TEXTS[:1] * 3, TEXTS, TEXTS[::-1]):
        assert np.array_equal(pixels(fresh.generate(texts, [4, 5, 6])), plain(texts, [4, 5, 6]))


def test_known_texts_are_not_encoded_again(monkeypatch):
    model = DiffusionModel(DIFFUSION_DIR, settings())
    model.generate(TEXTS, [1, 2, 3])
    encoder = model._pipeline.text_encoder
    monkeypatch.setattr(encoder, "forward", lambda *args, **kwargs: pytest.fail("encoded again"))
    model.generate(TEXTS[::-1], [1, 2, 3])


def test_image_does_not_depend_on_its_neighbours(model):
    """In one batch shape: not on the other members, and not on the place in the batch."""
    first = model.generate(TEXTS, [1, 2, 3])
    second = model.generate([TEXTS[2], TEXTS[1], TEXTS[1]], [9, 8, 2])
    assert np.array_equal(first[1].pixels, second[2].pixels)


def test_seed_matters(model):
    images = model.generate([TEXTS[0]] * 2, [1, 2])
    assert not np.array_equal(images[0].pixels, images[1].pixels)


@pytest.mark.parametrize("vae_batch", [1, 2, 3, 8])
def test_vae_decodes_in_its_own_fixed_shape(vae_batch):
    model = DiffusionModel(DIFFUSION_DIR, settings(f"vae_batch={vae_batch}"))
    sizes = []
    model._pipeline.vae.post_quant_conv.register_forward_hook(lambda _, args, out: sizes.append(len(out)))
    images = pixels(model.generate(TEXTS, [1, 2, 3]))
    assert sizes == {1: [1, 1, 1], 2: [2, 2], 3: [3], 8: [3]}[vae_batch]
    assert np.abs(images.astype(int) - plain(TEXTS, [1, 2, 3])).max() <= 1


def test_size_is_the_models_own_or_given():
    assert pixels(DiffusionModel(DIFFUSION_DIR, settings()).generate(TEXTS, [1, 2, 3])).shape[1] == SIDE_PX
    wide = DiffusionModel(DIFFUSION_DIR, settings("size_hw=[64, 96]"))
    assert np.array_equal(
        pixels(wide.generate(TEXTS, [1, 2, 3])), plain(TEXTS, [1, 2, 3], height=64, width=96)
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_agrees_and_can_be_left(dtype):
    model = DiffusionModel(DIFFUSION_DIR, settings(f"dtype={dtype}"))
    assert model.lower_precision
    before = model.generate(TEXTS, [1, 2, 3])
    precise = pixels(model.generate_in_float32(TEXTS, [1, 2, 3]))
    assert np.abs(precise.astype(int) - plain(TEXTS, [1, 2, 3])).mean() < 3  # rounded weights only
    assert np.array_equal(pixels(before), pixels(model.generate(TEXTS, [1, 2, 3])))  # and all is as before


def test_numbers_that_are_not_finite_are_told(model):
    unet = model._pipeline.unet
    hook = unet.register_forward_hook(
        # the first half of the batch is the unconditional one
        lambda _, args, out: (out[0].index_fill(0, torch.tensor([4]), torch.nan),)
    )
    try:
        images = model.generate(TEXTS, [1, 2, 3])
    finally:
        hook.remove()
    assert [one.finite for one in images] == [True, False, True]
    assert images[1].pixels.max() == 0


def test_safety_checker_of_the_folder_is_told_unless_the_settings_leave_it_out(folder):
    """A tiny one of the real class, so stern that it finds fault with everything."""
    side = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(text_config=side, vision_config={**side, "image_size": 32}, projection_dim=8)
    )
    checker.concept_embeds_weights.data.fill_(-2)
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=checker, feature_extractor=CLIPImageProcessor(size=32, crop_size=32)
    )
    pipeline.save_pretrained(folder)
    images = DiffusionModel(folder, settings()).generate(TEXTS, [1, 2, 3])
    assert all(one.flagged and one.finite and one.pixels.max() == 0 for one in images)
    unchecked = DiffusionModel(folder, settings("safety_checker=false")).generate(TEXTS, [1, 2, 3])
    assert all(not one.flagged and one.pixels.max() > 0 for one in unchecked)


def test_convolutions_weights_lie_channels_last_where_that_is_asked_for():
    pipeline = load_pipeline(DIFFUSION_DIR, "float32")
    weights = [weight for part in (pipeline.unet, pipeline.vae) for weight in part.parameters()]
    kernels = [weight for weight in weights if weight.dim() == 4]

    def lie_so():
        return [kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels]

    assert not all(lie_so())  # of 1 x 1 px or one channel they lie so either way
    _channels_last(pipeline)
    assert all(lie_so())


# --- compiled -------------------------------------------------------------------------------------


@pytest.mark.slow  # the compiler takes most of a minute
def test_compiled_network_agrees_and_is_compiled_once():
    model = DiffusionModel(DIFFUSION_DIR, settings("compile=true"))
    images = pixels(model.generate(TEXTS, [1, 2, 3]))
    counters = torch._dynamo.utils.counters["stats"]
    assert np.abs(images.astype(int) - plain(TEXTS, [1, 2, 3])).max() <= 2
    assert counters["unique_graphs"] == 1
    model.generate_in_float32(TEXTS, [1, 2, 3])
    assert np.array_equal(pixels(model.generate(TEXTS, [1, 2, 3])), images)
    assert counters["unique_graphs"] == 1


# --- Stable Diffusion XL --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def xl(tmp_path_factory):
    """A tiny one of the real classes, with random weights."""
    return save_random(TINY_SDXL, tmp_path_factory.mktemp("sdxl") / "model", torch.float32)


@pytest.mark.parametrize("guidance_scale", [5.0, 0.0])
def test_xl_makes_the_plain_calls_bytes(xl, guidance_scale):
    """Its pooled embeddings are kept, too."""
    model = DiffusionModel(xl, settings(f"guidance_scale={guidance_scale}"))
    for texts in (TEXTS, TEXTS[::-1]):
        expected = plain(texts, [1, 2, 3], guidance_scale=guidance_scale, folder=xl)
        assert np.array_equal(pixels(model.generate(texts, [1, 2, 3])), expected)
    assert DiffusionModel(xl, settings(*OWN)).guidance_scale == 5.0


def test_xls_vae_is_narrow_again_after_a_failure(xl, monkeypatch):
    """In half precision its pipeline widens the VAE for decoding, and leaves it so if that fails."""
    model = DiffusionModel(xl, settings("dtype=float16", "guidance_scale=0"))
    expected = pixels(model.generate(TEXTS, [1, 2, 3]))
    vae = model._pipeline.vae

    def no_memory(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    with monkeypatch.context() as patch:
        patch.setattr(vae, "decode", no_memory)
        with pytest.raises(torch.OutOfMemoryError):
            model.generate(TEXTS, [1, 2, 3])
    assert vae.dtype == torch.float16
    assert np.array_equal(pixels(model.generate(TEXTS, [1, 2, 3])), expected)


# --- models of other kinds ------------------------------------------------------------------------


def _turbo_scheduler(folder, **changes):
    options = {"timestep_spacing": "trailing", "prediction_type": "epsilon", "steps_offset": 1, **changes}
    EulerAncestralDiscreteScheduler(**options).save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"][1] = "EulerAncestralDiscreteScheduler"
    (folder / "model_index.json").write_text(json.dumps(index))


def test_steps_and_guidance_default_to_the_pipelines_own():
    model = DiffusionModel(DIFFUSION_DIR, settings(*OWN))
    assert (model.steps, model.guidance_scale) == (50, 7.5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (1, 0.0)),
        ({"timestep_spacing": "leading"}, (50, 7.5)),
        ({"prediction_type": "v_prediction"}, (50, 7.5)),  # zero terminal SNR, not Turbo
    ],
)
def test_turbo_models_are_known_by_their_scheduler(folder, changes, expected):
    _turbo_scheduler(folder, **changes)
    model = DiffusionModel(folder, settings(*OWN))
    assert (model.steps, model.guidance_scale) == expected
    given = DiffusionModel(folder, settings())
    assert (given.steps, given.guidance_scale) == (2, 3.0)  # what is set counts


def test_turbo_model_makes_the_plain_calls_bytes(folder):
    _turbo_scheduler(folder)
    images = pixels(DiffusionModel(folder, settings(*OWN)).generate(TEXTS, [1, 2, 3]))
    assert np.array_equal(images, plain(TEXTS, [1, 2, 3], 1, 0.0, folder))


def test_network_predicts_v_or_noise_as_the_folders_scheduler_says(folder):
    made = {}
    for prediction_type in ("v_prediction", "epsilon"):
        _turbo_scheduler(folder, prediction_type=prediction_type)
        made[prediction_type] = pixels(DiffusionModel(folder, settings()).generate(TEXTS, [1, 2, 3]))
        assert np.array_equal(made[prediction_type], plain(TEXTS, [1, 2, 3], folder=folder))
    assert not np.array_equal(made["v_prediction"], made["epsilon"])


@pytest.mark.parametrize(
    ("name", "scheduler", "options"),
    [("dpm-solver++", DPMSolverMultistepScheduler, {}), ("plms", PNDMScheduler, {"skip_prk_steps": True})],
)
def test_scheduler_of_the_settings_replaces_the_folders(folder, name, scheduler, options):
    _turbo_scheduler(folder, prediction_type="v_prediction")
    own = pixels(DiffusionModel(folder, settings()).generate(TEXTS, [1, 2, 3]))
    made = pixels(DiffusionModel(folder, settings(f"scheduler={name}")).generate(TEXTS, [1, 2, 3]))
    config = AutoPipelineForText2Image.from_pretrained(folder).scheduler.config
    plainly = plain(TEXTS, [1, 2, 3], folder=folder, scheduler=scheduler.from_config(config, **options))
    assert np.array_equal(made, plainly) and not np.array_equal(made, own)


def test_negative_prompt_makes_the_plain_calls_bytes_and_matters_with_guidance_only(model):
    told = "a photo of a single frog"
    negative = pixels(DiffusionModel(DIFFUSION_DIR, settings(), negative=told).generate(TEXTS, [1, 2, 3]))
    assert np.array_equal(negative, plain(TEXTS, [1, 2, 3], negative_prompt=[told] * 3))
    assert not np.array_equal(negative, pixels(model.generate(TEXTS, [1, 2, 3])))
    free = [
        pixels(
            DiffusionModel(DIFFUSION_DIR, settings("guidance_scale=0"), negative=n).generate(TEXTS, [1, 2, 3])
        )
        for n in ("", told)
    ]
    assert np.array_equal(*free)


def _rename_pipeline(folder, name):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": name}))


def test_folder_that_is_no_text_to_image_pipeline_is_refused(folder):
    _rename_pipeline(folder, "AudioLDMPipeline")
    with pytest.raises(
        ConfigError, match=r"sources.\*.model: diffusers cannot load 'model' as a text-to-image"
    ):
        DiffusionModel(folder, settings())


def test_pipeline_that_does_not_take_what_we_say_is_refused(monkeypatch):
    monkeypatch.setattr(StableDiffusionPipeline, "__call__", lambda self, prompt, output_type: None)
    with pytest.raises(ConfigError, match="StableDiffusionPipeline takes no num_inference_steps and no guid"):
        DiffusionModel(DIFFUSION_DIR, settings())


def test_pipeline_that_makes_no_images_is_refused(model, monkeypatch):
    monkeypatch.setattr(model, "_pipeline", lambda **kwargs: type("Sound", (), {"audios": [1]}))
    monkeypatch.setattr(model, "_texts", lambda texts: {})
    with pytest.raises(ConfigError, match=r"sources.\*.model: the pipeline made NoneType of 3 texts"):
        model.generate(TEXTS, [1, 2, 3])
