"""Studies: what is compared, and what comes out of it. The work itself is in `pipelines.study`."""

from xpaste_ray.studies.files import load_study, study_descriptions, study_names
from xpaste_ray.studies.results import ArmResults, StudyResults, TrainedOnce, results_of
from xpaste_ray.studies.statistics import (
    MEASURES,
    Difference,
    Measure,
    Summary,
    difference,
    half_interval,
    summary,
)

__all__ = [
    "MEASURES",
    "ArmResults",
    "Difference",
    "Measure",
    "StudyResults",
    "Summary",
    "TrainedOnce",
    "difference",
    "half_interval",
    "load_study",
    "results_of",
    "study_descriptions",
    "study_names",
    "summary",
]
