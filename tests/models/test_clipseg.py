import json

import numpy as np
import pytest
import torch
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    ViTImageProcessor,
)

from tests.models import segmenting
from tests.models.segmenting import batched
from xpaste_ray.config.segment import ClipSegMethod
from xpaste_ray.embedded import DIFFUSION_DIR
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.models.clipseg import ClipSegSegmenter
from xpaste_ray.models.matting import refined

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 64
CONFIG = CLIPSegConfig(
    text_config={
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "vocab_size": 2048, "bos_token_id": 2046, "eos_token_id": 2047,
    },
    vision_config={
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
        "image_size": SIDE, "patch_size": 16,
    },
    projection_dim=24, extract_layers=[0, 1, 2], reduce_dim=16, decoder_num_attention_heads=2,
    decoder_intermediate_size=32,
)  # fmt: skip
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def tokenizer():
    return CLIPTokenizer.from_pretrained(DIFFUSION_DIR, subfolder="tokenizer")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny CLIPSeg whose masks vary a lot, without a file for its image processor."""
    folder = tmp_path_factory.mktemp("clipseg")
    torch.manual_seed(0)
    network = CLIPSegForImageSegmentation(CONFIG)
    for weights in (*network.decoder.parameters(), *network.clip.text_model.parameters()):
        torch.nn.init.normal_(weights, std=0.5)
    network.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def segmenter(folder, device="cpu", **options):
    values = {"matting": False, "renormalise": False, "micro_batch": 3, **options}
    return ClipSegSegmenter(ClipSegMethod(kind="clipseg", model=str(folder), **values), device)


def shown(number, size_hw=(80, 100), category="bus_(vehicle)"):
    return segmenting.shown(number, size_hw, category)


def mask_of(method, one):
    ((soft,),) = method([one] * method.micro_batch)[:1]
    return soft.mask


def test_one_soft_mask_an_image_in_its_frame(saved):
    masks = segmenter(saved)([shown(1), shown(2, (64, 64)), shown(3, (301, 33))])
    assert [len(one) for one in masks] == [1, 1, 1]
    assert [one[0].mask.shape for one in masks] == [(80, 100), (64, 64), (301, 33)]
    for (one,) in masks:
        assert one.mask.dtype == np.float32 and 0 <= one.mask.min() < one.mask.max() <= 1


@pytest.mark.parametrize("with_file", [False, True])
def test_probabilities_are_those_of_the_librarys_own_way(saved, tmp_path, with_file):
    """All texts in one padded batch, and the whole forward: as transformers' documentation does."""
    network = CLIPSegForImageSegmentation.from_pretrained(saved).eval()
    processor = CLIPSegProcessor(
        ViTImageProcessor(size={"height": SIDE, "width": SIDE}, **IMAGENET), tokenizer()
    )
    folder = saved
    if with_file:
        network.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        folder = tmp_path
    images = [shown(1, (SIDE, SIDE)), shown(2, (SIDE, SIDE), "frog")]
    texts = ["a photo of bus (vehicle)", "a photo of frog"]
    inputs = processor(text=texts, images=[one.image for one in images], padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = network(**inputs).logits.sigmoid().numpy()
    for (one,), probability in zip(segmenter(folder)(images), expected, strict=True):
        assert np.allclose(one.mask, probability, atol=1e-5)


def test_category_and_template_are_what_is_looked_for(saved):
    bus = mask_of(segmenter(saved), shown(1))
    assert not np.allclose(bus, mask_of(segmenter(saved), shown(1, category="frog")), atol=1e-3)
    assert not np.allclose(bus, mask_of(segmenter(saved, template="{name}"), shown(1)), atol=1e-3)
    with pytest.raises(ValueError, match="has no {name}"):
        ClipSegMethod(kind="clipseg", model="m", template="a photo")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mask_does_not_depend_on_its_neighbours(saved, dtype, device):
    """In the batches of the stage: an image alone, and among others, in any place."""
    method = segmenter(saved, device, matting=True, dtype=dtype)
    alone = mask_of(method, shown(1))
    others = [shown(2, (30, 200), "a_category_with_a_far_longer_name"), shown(3, (64, 64), "frog")]
    for place in range(3):
        among = [*others[:place], shown(1), *others[place:]]
        assert np.array_equal(batched(method)(among)[place].value[0].mask, alone)


def test_half_precision_is_near(saved):
    precise, half = (mask_of(segmenter(saved, dtype=dtype), shown(1)) for dtype in ("float32", "bfloat16"))
    assert 0 < np.abs(precise - half).max() < 0.1


def test_text_is_encoded_once_a_category(saved, monkeypatch):
    method = segmenter(saved)
    calls = []
    encode = method._network.get_conditional_embeddings
    monkeypatch.setattr(
        method._network, "get_conditional_embeddings", lambda *args: calls.append(args) or encode(*args)
    )
    method([shown(1), shown(2), shown(3, category="frog")])
    method([shown(4), shown(5, category="frog"), shown(6)])
    assert len(calls) == 2


def test_name_longer_than_the_text_encoder_is_cut_off(saved):
    assert np.isfinite(mask_of(segmenter(saved), shown(1, category="very " * 100 + "long"))).all()


def test_renormalised_mask_reaches_0_and_1_and_is_else_the_same(saved):
    plain, stretched = (mask_of(segmenter(saved, renormalise=value), shown(1)) for value in (False, True))
    assert plain.max() - plain.min() < 0.99
    assert stretched.min() == 0 and stretched.max() == 1
    assert np.allclose(stretched, (plain - plain.min()) / (plain.max() - plain.min()), atol=1e-5)


def test_matting_refines_the_probabilities_within_its_limits(saved):
    probability = mask_of(segmenter(saved), shown(1))
    limits = (100, 140)
    alpha = mask_of(segmenter(saved, matting=True, trimap=limits), shown(1))
    assert np.array_equal(alpha, refined(shown(1).image, probability, limits))
    assert not np.allclose(alpha, probability, atol=0.1)
    with pytest.raises(ValueError, match="the smaller first"):
        ClipSegMethod(kind="clipseg", model="m", trimap=(170, 85))


@pytest.fixture
def sure(saved, tmp_path):
    """A CLIPSeg that says the same of every pixel."""

    def make(logit):
        network = CLIPSegForImageSegmentation.from_pretrained(saved)
        torch.nn.init.zeros_(network.decoder.transposed_convolution.weight)
        torch.nn.init.constant_(network.decoder.transposed_convolution.bias, logit)
        network.save_pretrained(tmp_path)
        tokenizer().save_pretrained(tmp_path)
        return tmp_path

    return make


@pytest.mark.parametrize("logit", [-9.0, 0.0, 9.0])
@pytest.mark.parametrize("matting", [False, True])
def test_constant_mask_is_empty_and_not_nan(sure, logit, matting):
    folder = sure(logit)
    assert not mask_of(segmenter(folder, matting=matting, renormalise=True), shown(1)).any()
    plain = mask_of(segmenter(folder, matting=matting), shown(1))
    assert np.allclose(plain, {-9.0: 0, 0.0: 0.5, 9.0: 1}[logit], atol=1e-3)


def test_number_that_is_none_rejects_the_image(sure):
    method = segmenter(sure(float("nan")))
    with pytest.raises(RowError, match="mask_not_finite"):
        method([shown(1)])


def test_pickles_are_refused(saved, tmp_path):
    CLIPSegForImageSegmentation.from_pretrained(saved).save_pretrained(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"segment.methods.\*.model: .* a pickle"):
        segmenter(tmp_path)


def test_code_that_a_folder_brings_is_never_imported(saved, tmp_path):
    CLIPSegForImageSegmentation.from_pretrained(saved).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    classes = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoProcessor", "AutoImageProcessor")
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        path = tmp_path / name
        values = json.loads(path.read_text()) if path.exists() else dict(IMAGENET)
        path.write_text(json.dumps(values | {"auto_map": dict.fromkeys(classes, "evil.Evil")}))
    segmenter(tmp_path)([shown(1)])
    assert not (tmp_path / "ran").exists()


def test_folder_of_another_model_is_refused(tmp_path):
    text = CLIPTextConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1)
    CLIPTextModel(text).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is no CLIPSegForImageSegmentation .*model_type 'clip_text_model'"):
        segmenter(tmp_path)


def test_weights_that_are_not_all_there_are_refused(saved, tmp_path):
    CLIPSegForImageSegmentation.from_pretrained(saved).clip.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="weights are missing, such as .*: give a folder that"):
        segmenter(tmp_path)


def test_missing_tokenizer_says_so(saved, tmp_path):
    CLIPSegForImageSegmentation.from_pretrained(saved).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is no CLIPTokenizer .* holds no tokenizer.json and no vocab.json"):
        segmenter(tmp_path)
