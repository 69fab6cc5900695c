import pytest
import torch
from diffusers import StableDiffusionPipeline

from xpaste_ray.embedded import DIFFUSION_DIR
from xpaste_ray.models.prompt_cache import PromptCache

ROW_BYTES = 24 * 96 * 4  # tokens, hidden size, float32


@pytest.fixture
def pipeline():
    return StableDiffusionPipeline.from_pretrained(DIFFUSION_DIR, dtype=torch.float32)


@pytest.fixture
def encoded(pipeline, monkeypatch):
    """The batches of texts that were encoded."""
    batches, original = [], pipeline.encode_prompt

    def encode_prompt(prompt, **kwargs):
        batches.append(prompt)
        return original(prompt=prompt, **kwargs)

    monkeypatch.setattr(pipeline, "encode_prompt", encode_prompt)
    return batches


def test_only_new_texts_are_encoded_in_a_full_batch(pipeline, encoded):
    cache = PromptCache(pipeline, guided=True)
    cache(["a", "b", "a"])
    cache(["b", "a", "c"])
    cache(["c", "c", "a"])
    assert encoded == [["a", "b", "b"], ["c", "c", "c"]]


def test_rows_follow_the_texts(pipeline):
    cache = PromptCache(pipeline, guided=True)
    first, second = cache(["a", "b", "c"]), cache(["c", "b", "b"])
    assert set(first) == {"prompt_embeds", "negative_prompt_embeds"}
    assert torch.equal(second["prompt_embeds"], first["prompt_embeds"][[2, 1, 1]])
    assert torch.equal(second["negative_prompt_embeds"], first["negative_prompt_embeds"])


def test_without_guidance_there_is_no_negative(pipeline):
    assert set(PromptCache(pipeline, guided=False)(["a"])) == {"prompt_embeds"}


def test_another_batch_size_or_dtype_is_encoded_anew(pipeline, encoded):
    """Embeddings must not depend on what was asked for before: each shape has its own."""
    cache = PromptCache(pipeline, guided=True)
    cache(["a", "b"])
    cache(["a"])
    pipeline.to(torch.bfloat16)
    assert cache(["a"])["prompt_embeds"].dtype == torch.bfloat16
    assert encoded == [["a", "b"], ["a"], ["a"]]


def test_least_recently_used_texts_are_dropped(pipeline, encoded):
    cache = PromptCache(pipeline, guided=True, max_bytes=2 * ROW_BYTES)
    for text in ("a", "b", "a", "c", "a", "b"):
        cache([text])
    assert encoded == [["a"], ["b"], ["c"], ["b"]]


def test_a_batch_larger_than_the_bound_is_still_answered(pipeline):
    cache = PromptCache(pipeline, guided=True, max_bytes=ROW_BYTES)
    assert cache(["a", "b", "c"])["prompt_embeds"].shape == (3, 24, 96)
