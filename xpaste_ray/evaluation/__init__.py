"""How good predicted masks are: COCO's average precision, and LVIS's where the truth is LVIS's.

`truth` is what is right, `predictions` what a detector said, in COCO's results format; `detections` is what
a detector gives for an image. `average_precision` compares them, `image_score` ranks single images for
`sheet`, which draws them.
"""

from xpaste_ray.evaluation.average_precision import CategoryScores, Evaluation, Scores, evaluate
from xpaste_ray.evaluation.detections import Detections, Detects, predictions_of
from xpaste_ray.evaluation.predictions import (
    Prediction,
    predictions_json,
    read_predictions,
    sorted_predictions,
    write_predictions,
)
from xpaste_ray.evaluation.truth import Truth, TruthImage, TruthObject, truth_of

__all__ = [
    "CategoryScores", "Detections", "Detects", "Evaluation", "Prediction", "Scores", "Truth", "TruthImage",
    "TruthObject", "evaluate", "predictions_json", "predictions_of", "read_predictions", "sorted_predictions",
    "truth_of", "write_predictions",
]  # fmt: skip
