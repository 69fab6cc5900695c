"""What flows between stages: plain records, and the Arrow schemas that they travel and rest in.

A *unit* is the row of work: consecutive prompts that are always computed together. Its *candidates*
each hold one image and any number of *proposals* (masks), so that several segmenters and several
instances an image fit. A rejected record stays, with its reason.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import SchemaError

Status = Literal["ok", "rejected"]

OVERLAP_FROM = 0.1

GIVEN = "given"
"""The method of a mask that its source brought along."""

SCORE_NAMES = (
    "clip_logit", "clip_logit_image", "clip_logit_crop", "clip_logit_black", "real_similarity", "nsfw",
    "aesthetic", "cam_distance", "class_score", "caption_logit", "class_logit",
)  # fmt: skip
"""Every score that a proposal may have: see `config.ScoreSettings`, `stages.classify` (cam_distance,
class_score) and `stages.score_contexts` (the last two)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One image to make, or to get. `index` counts within the category; `source` is the name of a source in
    the settings.

    text, seed: what a generated image is made from. uri, licence, page: where one that exists already is,
    and what its owner says of it; see `sources` for what a uri of each kind is.
    """

    candidate_id: str
    category_id: int
    category: str
    index: int
    source: str
    text: str | None = None
    seed: int | None = None
    uri: str | None = None
    licence: str | None = None
    page: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """Prompts of one source that are always computed together; the unit of work, of retry and of resume."""

    round: int
    number: int  # within the round
    prompts: tuple[Prompt, ...]

    @property
    def source(self) -> str:
        return self.prompts[0].source

    @property
    def id(self) -> str:
        """As in the unit's file name, "<round>/unit-<number>"."""
        return unit_id(self.round, self.number)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One mask for a candidate.

    mask: (H, W) uint8, 0 to 255 (soft), in the frame of the candidate's image. `ordinal` counts
    within the method. embedding: (D,) float16 or None before scoring. overlaps: with other proposals of the
    candidate, by place among them: (place, IoU, part of this mask's pixels that the other one has), those
    above `OVERLAP_FROM` in either.
    """

    method: str
    ordinal: int
    mask: np.ndarray | None
    status: Status = "ok"
    reason: str | None = None
    area_fraction: float | None = None
    scores: tuple[tuple[str, float], ...] = ()
    embedding: np.ndarray | None = None
    overlaps: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image from a source with its proposals. image: (H, W, 3) uint8 RGB, None if there is none.

    model: what generated it and the hash of its weights, "embedded:diffusion@1f0c...". content_hash: of the
    bytes that were read or fetched, before they were decoded. captions: what it shows, in words.

    degraded_shape: some of it was computed in a smaller batch than usual, for want of memory, so it agrees
    with an undisturbed run's within rounding only. transient: the candidate, or one of its proposals, was
    rejected for a cause that may have passed (out of memory, network), so its unit is worth another try.
    """

    prompt: Prompt
    model: str | None = None
    content_hash: str | None = None
    captions: tuple[str, ...] = ()
    status: Status = "ok"
    reason: str | None = None
    image: np.ndarray | None = None
    proposals: tuple[Proposal, ...] = ()
    degraded_shape: bool = False
    transient: bool = False


def unit_id(round_number: int, number: int) -> str:
    return f"{round_number:05d}/unit-{number:05d}"


def instance_id(candidate_id: str, method: str, ordinal: int) -> str:
    """An instance is one proposal of one candidate."""
    return f"{candidate_id}-{method}-{ordinal}"


def instance_ids(
    candidate_ids: pa.ChunkedArray, methods: pa.ChunkedArray, ordinals: pa.ChunkedArray
) -> pa.ChunkedArray:
    """`instance_id` of whole columns; null where a method is."""
    return pc.binary_join_element_wise(candidate_ids, methods, ordinals.cast(pa.string()), "-")


# --- Arrow schemas -------------------------------------------------------------------------------

_PROMPT_FIELDS = [
    pa.field("candidate_id", pa.string(), nullable=False),
    pa.field("category_id", pa.int64(), nullable=False),
    pa.field("category", pa.string(), nullable=False),
    pa.field("index", pa.int64(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("text", pa.string()),
    pa.field("seed", pa.int64()),
    pa.field("uri", pa.string()),
    pa.field("licence", pa.string()),
    pa.field("page", pa.string()),
]
_OUTCOME_FIELDS = [
    pa.field("status", pa.string(), nullable=False),
    pa.field("reason", pa.string()),
]
_SCORES = pa.map_(pa.string(), pa.float32())
_OVERLAPS = pa.list_(pa.struct([("place", pa.int32()), ("iou", pa.float32()), ("contained", pa.float32())]))

_OVERLAP_NAMES = ("place", "iou", "contained")

_PROPOSAL_HEAD = [
    pa.field("method", pa.string(), nullable=False),
    pa.field("ordinal", pa.int32(), nullable=False),
    *_OUTCOME_FIELDS,
    pa.field("area_fraction", pa.float32()),
]


def _proposal(mask: pa.Field, embedding: pa.Field) -> pa.StructType:
    scores, overlaps = pa.field("scores", _SCORES), pa.field("overlaps", _OVERLAPS)
    return pa.struct([*_PROPOSAL_HEAD, mask, scores, embedding, overlaps])


# In flight images and masks are raw bytes (height * width * 3 and height * width); at rest, PNG.
_PROPOSAL_IN_FLIGHT = _proposal(
    pa.field("mask", pa.large_binary()), pa.field("embedding", pa.list_(pa.float16()))
)

_CANDIDATE_HEAD = [
    *_PROMPT_FIELDS,
    pa.field("model", pa.string()),
    pa.field("content_hash", pa.string()),
    pa.field("captions", pa.list_(pa.string())),
    *_OUTCOME_FIELDS,
    pa.field("degraded_shape", pa.bool_(), nullable=False),
    pa.field("transient", pa.bool_(), nullable=False),
    pa.field("height", pa.int32()),
    pa.field("width", pa.int32()),
]
_CANDIDATE_IN_FLIGHT = pa.struct(
    [
        *_CANDIDATE_HEAD,
        pa.field("rgb", pa.large_binary()),
        pa.field("proposals", pa.list_(_PROPOSAL_IN_FLIGHT), nullable=False),
    ]
)

_UNIT_HEAD = [pa.field("round", pa.int32(), nullable=False), pa.field("unit", pa.int32(), nullable=False)]

UNITS = pa.schema(
    [
        *_UNIT_HEAD,
        pa.field("source", pa.string(), nullable=False),
        pa.field("prompts", pa.list_(pa.struct(_PROMPT_FIELDS)), nullable=False),
    ]
)
"""`units.parquet`: the work list, a row a unit."""

UNIT_IN_FLIGHT = pa.schema(
    [
        *_UNIT_HEAD,
        pa.field("candidates", pa.list_(_CANDIDATE_IN_FLIGHT), nullable=False),
    ]
)
"""Between the stages: a row a unit."""


def candidates_schema(embedding_dim: int) -> pa.Schema:
    """`candidates/<round>/unit-<number>.parquet`: a row a candidate.

    Embeddings all have the length of the scoring model's, before anything is scored, too. Zeros stand for
    none (a real one has unit length): pyarrow before 26 cannot read lists of one length if some are null.
    """
    embedding = pa.field("embedding", pa.list_(pa.float16(), embedding_dim), nullable=False)
    proposal = _proposal(pa.field("mask_png", pa.large_binary()), embedding)
    return pa.schema(
        [
            *_UNIT_HEAD,
            *_CANDIDATE_HEAD,
            pa.field("image_png", pa.large_binary()),
            pa.field("proposals", pa.list_(proposal), nullable=False),
        ]
    )


def embedding_dim_of(schema: pa.Schema) -> int:
    """What a `candidates_schema` was made for. SchemaError if it is none."""
    try:
        dim: int = schema.field("proposals").type.value_type.field("embedding").type.list_size
    except (KeyError, AttributeError):
        raise SchemaError(
            f"proposals have no embeddings of one length; the columns are {schema.names}"
        ) from None
    return dim


SCORES = pa.schema(
    [
        *_UNIT_HEAD,
        pa.field("candidate_id", pa.string(), nullable=False),
        pa.field("category_id", pa.int64(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("candidate_status", pa.string(), nullable=False),
        pa.field("candidate_reason", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("transient", pa.bool_(), nullable=False),  # of the candidate or any of its proposals
        pa.field("method", pa.string()),
        pa.field("ordinal", pa.int32()),
        pa.field("status", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("area_fraction", pa.float32()),
        *(pa.field(name, pa.float32()) for name in SCORE_NAMES),
        pa.field("overlaps", _OVERLAPS),  # `place` is among the rows of the candidate, which stand together
    ]
)
"""`scores/`: a row a proposal; a candidate without proposals has one row with null `method`."""

REJECTS = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # "candidate" or "proposal"
        pa.field("id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""`rejects.parquet`: everything that did not become an instance, and why."""


def check_schema(given: pa.Schema, expected: pa.Schema, stage: str) -> None:
    """Hold a hand-over against its schema. SchemaError names the stage and the first wrong column."""
    for field in expected:
        if field.name not in given.names:
            raise SchemaError(f"stage {stage!r}: column {field.name!r} is missing; it got {given.names}")
        got = given.field(field.name).type
        if got != field.type:
            raise SchemaError(f"stage {stage!r}: column {field.name!r} must be {field.type}, got {got}")
    extra = [name for name in given.names if name not in expected.names]
    if extra:
        raise SchemaError(f"stage {stage!r}: unexpected column {extra[0]!r}")


# --- records to rows and back --------------------------------------------------------------------


def unit_to_row(unit: Unit) -> dict[str, Any]:
    """A row of `UNITS`."""
    return {
        "round": unit.round,
        "unit": unit.number,
        "source": unit.source,
        "prompts": [_prompt_to_dict(prompt) for prompt in unit.prompts],
    }


def unit_from_row(row: dict[str, Any]) -> Unit:
    return Unit(row["round"], row["unit"], tuple(_prompt_from_dict(prompt) for prompt in row["prompts"]))


def _prompt_to_dict(prompt: Prompt) -> dict[str, Any]:
    return {field.name: getattr(prompt, field.name) for field in _PROMPT_FIELDS}


def _prompt_from_dict(row: dict[str, Any]) -> Prompt:
    return Prompt(**{field.name: row[field.name] for field in _PROMPT_FIELDS})


def candidate_to_dict(candidate: Candidate) -> dict[str, Any]:
    """A `candidates` struct of `UNIT_IN_FLIGHT`: raw bytes for pixels."""
    image = candidate.image
    return {
        **_prompt_to_dict(candidate.prompt),
        "model": candidate.model,
        "content_hash": candidate.content_hash,
        "captions": list(candidate.captions),
        "status": candidate.status,
        "reason": candidate.reason,
        "degraded_shape": candidate.degraded_shape,
        "transient": candidate.transient,
        "height": None if image is None else image.shape[0],
        "width": None if image is None else image.shape[1],
        "rgb": None if image is None else image.tobytes(),
        "proposals": [_proposal_to_dict(proposal) for proposal in candidate.proposals],
    }


def candidate_from_dict(row: dict[str, Any]) -> Candidate:
    """The inverse of `candidate_to_dict`. Arrays are read-only views of the row's bytes."""
    size_hw = (row["height"], row["width"])
    image = None
    if row["rgb"] is not None:
        image = np.frombuffer(row["rgb"], np.uint8).reshape(*size_hw, 3)
    return Candidate(
        prompt=_prompt_from_dict(row),
        model=row["model"],
        content_hash=row["content_hash"],
        captions=tuple(row["captions"] or ()),
        status=row["status"],
        reason=row["reason"],
        image=image,
        proposals=tuple(_proposal_from_dict(proposal, size_hw) for proposal in row["proposals"]),
        degraded_shape=row["degraded_shape"],
        transient=row["transient"],
    )


def proposal_fields(proposal: Proposal) -> dict[str, Any]:
    """Everything of a proposal but its mask."""
    embedding = proposal.embedding
    return {
        "method": proposal.method,
        "ordinal": proposal.ordinal,
        "status": proposal.status,
        "reason": proposal.reason,
        "area_fraction": proposal.area_fraction,
        "scores": list(proposal.scores),
        "embedding": None if embedding is None else embedding.astype(np.float16),
        "overlaps": [dict(zip(_OVERLAP_NAMES, one, strict=True)) for one in proposal.overlaps],
    }


def _proposal_to_dict(proposal: Proposal) -> dict[str, Any]:
    mask = proposal.mask
    return {**proposal_fields(proposal), "mask": None if mask is None else mask.tobytes()}


def _proposal_from_dict(row: dict[str, Any], size_hw: tuple[int, int]) -> Proposal:
    mask, embedding = row["mask"], row["embedding"]
    return Proposal(
        method=row["method"],
        ordinal=row["ordinal"],
        mask=None if mask is None else np.frombuffer(mask, np.uint8).reshape(size_hw),
        status=row["status"],
        reason=row["reason"],
        area_fraction=row["area_fraction"],
        scores=tuple(row["scores"] or ()),
        embedding=None if embedding is None else np.asarray(embedding, np.float16),
        overlaps=tuple(tuple(one[name] for name in _OVERLAP_NAMES) for one in row["overlaps"] or ()),
    )
