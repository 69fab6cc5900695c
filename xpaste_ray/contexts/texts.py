"""The texts that images are generated from, each with the image and the caption that it comes from."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from xpaste_ray.contexts.distractors import Distractors
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.records import Prompt, Unit
from xpaste_ray.rng import int_seed_for, rng_for

_ID_DIGITS = 12

TEXTS = pa.schema(
    [
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("image", pa.string()),
        pa.field("ordinal", pa.int32(), nullable=False),
        pa.field("caption", pa.string()),
        pa.field("text", pa.string()),
        pa.field("replaced", pa.list_(pa.struct([("category", pa.string()), ("word", pa.string())]))),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""`texts.parquet`: a row a caption; a row without one for each image that has none, with the reason. text:
the caption without target classes, of which `replaced` tells what stands for what."""


@dataclass(frozen=True, slots=True)
class Captioned:
    """An image and its captions. key: what tells it from all others; uri: where it is. reason: why it has
    no captions."""

    key: str
    uri: str
    captions: tuple[str, ...]
    reason: str | None = None


def rows_of_images(
    images: Iterable[Captioned], distractors: Distractors, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of `TEXTS`. The words of a caption follow from the seed, the image and its number only."""
    for image in images:
        if image.reason is not None:
            yield _row(text_id(image.key, 0), image.uri, 0, reason=image.reason)
        for ordinal, caption in enumerate(image.captions):
            told = distractors.replace(caption, rng_for(seed, "distractor", image.key, ordinal))
            pairs = [{"category": category, "word": word} for category, word in told.pairs]
            name = text_id(image.key, ordinal)
            yield _row(name, image.uri, ordinal, caption, told.text, pairs, told.reason)


def rows_of_templates(texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    for text in texts:
        yield _row(text_id(text, 0), None, 0, text, text)


def text_id(key: str, ordinal: int) -> str:
    """Of a caption, whatever other captions there are."""
    return fingerprint({"of": key, "ordinal": ordinal})[:_ID_DIGITS]


def _row(
    name: str,
    image: str | None,
    ordinal: int,
    caption: str | None = None,
    text: str | None = None,
    replaced: Sequence[dict[str, str]] = (),
    reason: str | None = None,
) -> dict[str, Any]:
    status = "ok" if reason is None else "rejected"
    return {
        "text_id": name, "image": image, "ordinal": ordinal, "caption": caption, "text": text,
        "replaced": list(replaced), "status": status, "reason": reason,
    }  # fmt: skip


SOURCE = "diffusion"
"""What prompts of generated images call their source."""

CATEGORY = "context"
"""What prompts of generated images have for a category."""


def context_units(
    texts: Iterable[dict[str, Any]], per_caption: int, unit_size: int, seed: int, made_by: str
) -> Iterator[Unit]:
    """The work: `per_caption` images of every usable text, those of one text next to each other. made_by: a
    fingerprint of all else that an image follows from."""
    prompts: list[Prompt] = []
    number = 0
    for row in texts:
        if row["status"] != "ok":
            continue
        own = fingerprint({"made_by": made_by, "seed": seed, "text": row["text"]})[:8]
        for index in range(per_caption):
            image_seed = int_seed_for(seed, "context", made_by, row["text_id"], index)
            name = f"{row['text_id']}-{index}-{own}"
            prompts.append(
                Prompt(name, 0, CATEGORY, index, SOURCE, row["text"], image_seed, uri=row["image"])
            )
            if len(prompts) == unit_size:
                yield Unit(0, number, tuple(prompts))
                number, prompts = number + 1, []
    if prompts:
        yield Unit(0, number, tuple(prompts))


def text_of(candidate_id: str) -> str:
    """The id of the text that a generated image is of."""
    return candidate_id.partition("-")[0]
