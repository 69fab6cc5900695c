"""What a report reads of `run.json`."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)  # what else it says is not read


class Made(_Part):
    """rejected: by reason."""

    made: int
    kept: int
    rejected: dict[str, int]


class Usable(_Part):
    """rejected: how many by reason, or, of a demo's backgrounds, the reason by name."""

    usable: int
    rejected: dict[str, int | str]


class Counts(_Part):
    """images: of a run of contexts, or of foregrounds. contexts: of a run of contexts, or those that a
    dataset is composed on."""

    images: Made | Usable | None = None
    captions: Made | None = None
    contexts: Made | Usable | None = None
    backgrounds: Usable | None = None


class Stage(_Part):
    """See `pipelines.figures.StageFigures`."""

    images: int
    busy_s: float
    wall_s: float
    actors: int
    gpus: float


class Sitting(_Part):
    """See `pipelines.figures.Figures`."""

    wall_s: float
    stages: dict[str, Stage] = {}
    bottleneck: str | None = None
    load_s: dict[str, float] = {}
    deaths: dict[str, int] = {}
    accepted_per_core_second: float | None = None
    accepted_per_gpu_second: float | None = None


class Step(_Part):
    fingerprint: str


class Selection(_Part):
    """One that was made after the build, see `pipelines.select`."""

    settings: dict[str, Any]


class Record(_Part):
    """counts: None until the run got to its end."""

    settings: dict[str, Any] = {}
    steps: dict[str, Step] = {}
    versions: dict[str, str] = {}
    times: list[Sitting] = []
    counts: Counts | None = None
    selection: Selection | None = None
