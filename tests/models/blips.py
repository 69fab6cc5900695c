"""A tiny BLIP of random numbers, as transformers saves one."""

import numpy as np
import torch
from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]"]
WORDS = ["a", "photo", "of", "cat", "dog", "on", "the", "table", "man", "with", "red", "ball", "in", "room"]
SIDE = 32


def save_blip(folder, seed=0):
    """Its words follow from the image."""
    config = BlipConfig(
        text_config={
            "vocab_size": len(SPECIAL + WORDS), "hidden_size": 32, "encoder_hidden_size": 32,
            "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "max_position_embeddings": 40, "bos_token_id": 5, "sep_token_id": 3, "eos_token_id": 3,
            "pad_token_id": 0,
        },
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                       "num_attention_heads": 2, "image_size": SIDE, "patch_size": 16},
        projection_dim=24,
    )  # fmt: skip
    torch.manual_seed(seed)
    network = BlipForConditionalGeneration(config)
    for weights in network.parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.25)
    network.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    return folder


def picture(number, size_hw=(48, 40)):
    return np.random.default_rng(number).integers(0, 255, (*size_hw, 3), np.uint8)
