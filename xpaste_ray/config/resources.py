"""How wide a run goes: never part of a recipe."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from xpaste_ray.config.base import PositiveInt, Section


def _usable_share(gpus: float) -> float:
    """Shares of a GPU that Ray can pack: other fractions do not add up to a whole card on any node."""
    if gpus != int(gpus) and not (gpus < 1 and (8 * gpus).is_integer()):
        raise ValueError("must be eighths of a GPU (0.125, 0.25, 0.5, ...) or a whole number of them")
    return gpus


class StageResources(Section):
    """One stage's actors. gpus, cpus and accelerator_type ("H100", as Ray names it) are for each actor;
    a stage whose actors have any GPU computes there, else on processors."""

    actors: PositiveInt
    gpus: Annotated[float, Field(ge=0), AfterValidator(_usable_share)] = 0.0
    cpus: Annotated[float, Field(gt=0)] = 0.1  # so little that the pools leave room for the tasks between
    accelerator_type: str | None = None

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"


class WorkerResources(Section):
    """Actors of one core each."""

    actors: PositiveInt


_OF_UNION = "(fixed)", "(auto)"  # pydantic puts these into an error's location: see `presets`

StageChoice = Annotated[
    Annotated[StageResources, Tag(_OF_UNION[0])] | Annotated[Literal["auto"], Tag(_OF_UNION[1])],
    Discriminator(lambda value: _OF_UNION[isinstance(value, str)]),
]


class ResourceSettings(Section):
    """How wide a run goes. Never part of a recipe. `auto`: as the cluster's processors and GPUs allow.
    source: what generates; fetch: sources that read or fetch images, which need no GPU; score: what looks at
    images, the captioner of contexts, too; train: the processes that train a classifier together, `auto` one
    on each GPU, or one on processors."""

    source: StageChoice
    fetch: WorkerResources = WorkerResources(actors=2)
    segment: StageChoice
    score: StageChoice
    train: StageChoice = "auto"
    compose: WorkerResources
