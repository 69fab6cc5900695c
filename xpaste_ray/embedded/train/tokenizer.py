"""A byte-pair vocabulary cut to LVIS category names, in CLIP's own file format.

The full CLIP vocabulary would cost 49,408 rows in each text tower. Any text can still be encoded:
all bytes are in the vocabulary. Both open_clip and diffusers load it with `CLIPTokenizer`.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

CONTEXT_LENGTH = 24
_MERGES = 1534
_START, _END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer(texts: list[str], out_dir: Path) -> CLIPTokenizer:
    """Learn the merges from `texts`, write `vocab.json`, `merges.txt` and `tokenizer_config.json`.

    Files that are there already are kept: the learner breaks ties differently from run to run, and
    models trained on one vocabulary must not meet another.
    """
    if (out_dir / "tokenizer_config.json").exists():
        return CLIPTokenizer.from_pretrained(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    merges = _learn_merges(texts)
    byte_symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = byte_symbols + [symbol + "</w>" for symbol in byte_symbols]
    symbols += ["".join(pair) for pair in merges]
    symbols += [_START, _END]  # the end is the highest id: open_clip pools the text there
    vocab = {symbol: number for number, symbol in enumerate(symbols)}
    (out_dir / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (out_dir / "merges.txt").write_text("\n".join(lines) + "\n")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CONTEXT_LENGTH,
        "bos_token": _START,
        "eos_token": _END,
        "pad_token": _END,
        "unk_token": _END,
    }
    (out_dir / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return CLIPTokenizer.from_pretrained(out_dir)


def _learn_merges(texts: list[str]) -> list[tuple[str, str]]:
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    splitter = CLIPTokenizer()._tokenizer  # CLIP's own way to cut a text into words
    learner.normalizer, learner.pre_tokenizer = splitter.normalizer, splitter.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=10_000, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [tuple(pair) for pair in merges][:_MERGES]
