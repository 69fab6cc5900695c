import json

import numpy as np
import pytest
import torch

from tests.models.blips import WORDS, picture, save_blip
from xpaste_ray.config.contexts import BlipCaptions
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.captioner import Captioner

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_blip(tmp_path_factory.mktemp("blip"))


def captioner(folder, **options):
    return Captioner(BlipCaptions(kind="blip", model=str(folder), **options))


def numbers(*keys, captions=2):
    return np.stack([np.random.default_rng(key).random((captions, 20)) for key in keys])


def test_captions_are_words_of_the_right_number(folder):
    told = captioner(folder, min_tokens=3, max_tokens=6)([picture(1), picture(2)], numbers(1, 2))
    assert [len(several) for several in told] == [2, 2]
    for caption in (*told[0], *told[1]):
        assert 3 <= len(caption.split()) <= 6 and set(caption.split()) <= set(WORDS)


def test_words_follow_from_the_image_and_from_the_numbers(folder):
    blip = captioner(folder)
    (first, second) = blip([picture(1)], numbers(1))[0]
    assert first != second
    assert blip([picture(1)], numbers(9))[0] != [first, second] != blip([picture(2)], numbers(1))[0]


def test_caption_does_not_depend_on_what_else_is_captioned(folder):
    blip = captioner(folder)
    told = blip([picture(i) for i in range(4)], numbers(0, 1, 2, 3))
    for i in range(4):
        assert blip([picture(i)], numbers(i)) == [told[i]]


def test_decoding_with_what_is_remembered_is_decoding_without(folder):
    """Token after token with the keys of earlier ones gives the logits of the whole text at once."""
    blip = captioner(folder, top_p=1e-6, min_tokens=1, repetition_penalty=1.0)
    seen = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 5, 32)).astype(np.float32))
    with torch.inference_mode():
        (tokens,) = blip._sample(seen, np.zeros((1, 20)))
        text = torch.tensor([[blip._begin, *tokens]])
        logits = blip._network.text_decoder(input_ids=text, encoder_hidden_states=seen).logits[0]
    assert logits.argmax(-1).tolist()[: len(tokens)] == tokens and len(tokens) >= 2


def test_it_is_the_generation_of_transformers_where_nothing_is_drawn(folder):
    """The likeliest word each time, as BLIP's own `generate`."""
    blip = captioner(folder, top_p=1e-6, min_tokens=1, max_tokens=8, repetition_penalty=1.0)
    image = picture(3)
    pixels = blip._processor(images=[image], return_tensors="pt").pixel_values
    row = blip._network.generate(pixels, do_sample=False, num_beams=1, max_new_tokens=8, min_new_tokens=2)
    assert row[0, 0] == blip._begin
    told = blip._tokenizer.decode(row[0, 1:], skip_special_tokens=True)
    assert blip([image], numbers(0, captions=1)) == [[told]]


def test_folder_of_another_model_is_explained(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "clip"}))
    with pytest.raises(ConfigError, match=r"contexts\.captions\.model: .* says model_type 'clip'"):
        captioner(tmp_path)


def test_folder_without_a_tokenizer_is_explained(folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ConfigError, match=r"contexts\.captions\.model: .* holds no tokenizer\.json"):
        captioner(tmp_path)
