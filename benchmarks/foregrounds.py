"""Does F-EM find objects from image-level labels alone? Against true masks that were kept aside.

python benchmarks/foregrounds.py [--images 600] [--work DIR]

600 images of 24 categories: shipped objects on shipped photographs, one or two labelled categories an image,
each with a companion that is not labelled and often stands beside it, and other unlabelled objects. The small
classifier is trained on the labels from random numbers, superpixels propose segments, and step 1 and the loop
choose one for each image and category, all by the stages that a run has, without Ray. Then the loop is run
again with other settings. `--work` keeps what was computed, for another look.
"""

import argparse
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from measuring import Gate, finish
from true_masks import Quality, overlap_with, quality

from xpaste_ray.categories import Category, lvis_categories, pick_categories
from xpaste_ray.config.classifier import CamSettings, FeatureSettings, ResNetClassifier
from xpaste_ray.config.em import EmSettings
from xpaste_ray.config.segment import LimitSettings, SegmentSettings, SlicMethod
from xpaste_ray.embedded.labelled import LabelledScene, LabelledStyle, labelled_scene
from xpaste_ray.foregrounds import refine
from xpaste_ray.foregrounds.first_choice import first_choice
from xpaste_ray.masks import OBJECT_ABOVE
from xpaste_ray.models.classifier_files import ClassifierCard
from xpaste_ray.models.classifier_train import TrainingTask, train
from xpaste_ray.records import Candidate, Prompt
from xpaste_ray.stages.classify import ClassifyStage
from xpaste_ray.stages.segment import SegmentStage

SEED = 0
PROCESSES = 2
IMAGES_AT_ONCE = 8

STYLE = LabelledStyle(
    companions={
        "banana": "monkey", "basketball": "dog", "bell_pepper": "tomato", "broccoli": "cow",
        "bus_(vehicle)": "stop_sign", "butterfly": "bouquet", "carrot": "rabbit", "cupcake": "candle",
        "doughnut": "police_cruiser", "eggplant": "garlic", "frog": "bucket", "hamburger": "pizza",
        "koala": "kite", "lion": "crown", "mushroom": "snake", "parrot": "pirate_flag",
        "penguin": "snowman", "pineapple": "sunglasses", "strawberry": "chocolate_bar", "sunflower": "bird",
        "teapot": "egg", "tractor_(farm_equipment)": "hog", "turtle": "shark", "umbrella": "duck",
    },
    others=(
        "airplane", "backpack", "balloon", "bicycle", "camera", "car_(automobile)", "cat", "chair",
        "elephant", "fire_extinguisher", "giraffe", "guitar", "helicopter", "lemon", "motorcycle", "owl",
        "soccer_ball", "telephone", "train_(railroad_vehicle)", "zebra",
    ),
    side_px=(144, 192),
)  # fmt: skip

SEGMENT = SegmentSettings(
    methods={"slic": SlicMethod(kind="slic")},
    limits=LimitSettings(min_area_fraction=0.01, max_box_span=0.98),  # EM-Paste, step 1
)
CLASSIFIER = ResNetClassifier(
    kind="resnet", arch="resnet18", side_px=96, epochs=12, patience=12, batch=16, learning_rate=1e-3,
    micro_batch=16, threads=1, train_threads=1,
)  # fmt: skip
EM = EmSettings()

STUDY: dict[str, list[dict[str, Any]]] = {
    "inner_fraction": [{"inner_fraction": k} for k in (0.25, 0.5, 0.65, 1.0)],
    "nearest": [{"nearest": n} for n in (1, 3, 10)],
    "shrinkage": [{"shrinkage": told} for told in ("ledoit-wolf", 0.1, 0.5, 0.9)],
    "distance": [{"distance": told} for told in ("mahalanobis", "cosine")],
    "together": [
        {"nearest": 10, "distance": "cosine"},
        {"nearest": 10, "shrinkage": 0.9},
        {"nearest": 3, "distance": "cosine", "inner_fraction": 0.5},
    ],
}
"""One option at a time, or several, the others as in `EM`."""


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Those of one category. image_of: (S,) ascending, the candidate that each is of, of `candidates`; the
    rest: (S,) each, features (S, D)."""

    candidates: int
    image_of: np.ndarray
    cam_distance: np.ndarray
    class_score: np.ndarray
    own: np.ndarray
    other: np.ndarray
    features: np.ndarray


Row = tuple[Any, ...]
"""The fields of `Segments` for one segment."""


class SceneImages:
    """For the training: pixels and labels, nothing else."""

    def __init__(self, scenes: Sequence[LabelledScene]) -> None:
        self._images = [scene.image for scene in scenes]
        self._labels = [tuple(_categories()[label].id for label in scene.labels) for scene in scenes]

    def __len__(self) -> int:
        return len(self._images)

    def load(self, number: int) -> np.ndarray:
        return self._images[number]

    def labels(self, number: int) -> tuple[int, ...]:
        return self._labels[number]

    def key(self, number: int) -> str:
        return f"{number:06d}"


def train_classifier(scenes: Sequence[LabelledScene], work: Path) -> tuple[Path, dict[str, Any]]:
    """The classifier's folder, and what its training tells."""
    told = tuple((one.id, one.name) for one in _categories().values())
    card = ClassifierCard(CLASSIFIER.arch, CLASSIFIER.side_px, told)
    task = TrainingTask(CLASSIFIER, card, SEED, "benchmark", work / "classifier", work / "training")
    best = train(task, SceneImages(scenes)).best
    assert best is not None  # there is an epoch at least
    return task.folder, {"best_epoch": best.number, "mean_average_precision": best.mean_average_precision}


def look_at(count: int, classifier: Path) -> list[Segments]:
    """Propose, classify, and compare with the true masks: by category. Images go to processes in parts."""
    rows: dict[str, list[Row]] = {name: [] for name in STYLE.categories}
    counts = dict.fromkeys(rows, 0)
    parts = [range(at, min(at + IMAGES_AT_ONCE, count)) for at in range(0, count, IMAGES_AT_ONCE)]
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        for found in pool.map(partial(_look_at_part, classifier), parts):
            for category, segments in found:
                rows[category] += [(counts[category], *one) for one in segments]
                counts[category] += 1
    return [_columns(counts[name], found) for name, found in rows.items()]


@cache
def _categories() -> dict[str, Category]:
    return {one.name: one for one in pick_categories(lvis_categories(), STYLE.categories)}


@cache
def _stages(classifier: Path) -> tuple[SegmentStage, ClassifyStage]:
    """Of this process."""
    told = CLASSIFIER, list(_categories().values()), CamSettings(), FeatureSettings()
    return SegmentStage(SEGMENT), ClassifyStage(*told, trained=classifier)


def _look_at_part(classifier: Path, numbers: Sequence[int]) -> list[tuple[str, list[Row]]]:
    """For each label of these images: the category, and its segments."""
    segment, classify = _stages(classifier)
    scenes, candidates = [], []
    for number in numbers:
        scene = labelled_scene(SEED, number, STYLE)
        for label in scene.labels:
            category_id = _categories()[label].id
            name = f"{category_id}-{number}-benchmar"
            prompt = Prompt(name, category_id, label, number, "images", uri=f"{number:06d}")
            scenes.append(scene)
            candidates.append(Candidate(prompt, image=scene.image))
    done = classify(segment(candidates))
    return [_measured(scene, candidate) for scene, candidate in zip(scenes, done, strict=True)]


def _measured(scene: LabelledScene, candidate: Candidate) -> tuple[str, list[Row]]:
    """The fields of `Segments` but the first, for each usable proposal."""
    category, found = candidate.prompt.category, []
    for one in candidate.proposals:
        if one.status == "ok" and one.mask is not None:
            overlap = overlap_with(one.mask > OBJECT_ABOVE, scene.objects, category)
            scores = [dict(one.scores)[name] for name in ("cam_distance", "class_score")]
            found.append((*scores, overlap.own, overlap.other, one.embedding))
    return category, found


def _columns(candidates: int, rows: list[Row]) -> Segments:
    image_of, cam, score, own, other, features = zip(*rows, strict=True)
    numbers = (np.array(one, np.float32) for one in (cam, score, own, other))
    return Segments(candidates, np.array(image_of, np.int64), *numbers, np.stack(features))


def kept_segments(path: Path, count: int, classifier: Path) -> list[Segments]:
    """`look_at`, or what it found before, if the file is there."""
    names = [field.name for field in fields(Segments)]
    if not path.exists():
        found = look_at(count, classifier)
        np.savez(
            path, **{f"{at}.{name}": getattr(one, name) for at, one in enumerate(found) for name in names}
        )
    with np.load(path) as told:
        return [
            Segments(int(told[f"{at}.candidates"]), *(told[f"{at}.{name}"] for name in names[1:]))
            for at in range(len(STYLE.categories))
        ]


def choices(segments: Segments, settings: EmSettings) -> list[np.ndarray]:
    """What step 1 chooses, and each iteration; as many as `settings.iterations`."""
    first = first_choice(
        segments.image_of,
        segments.candidates,
        segments.cam_distance,
        segments.class_score,
        settings.nearest,
    )
    found = list(refine(segments.features, segments.image_of, first, settings).choices)
    return found + [found[-1]] * (1 + settings.iterations - len(found))


def judge(all_segments: Sequence[Segments], settings: EmSettings) -> list[Quality]:
    """Of step 1 and of each iteration, over all categories."""
    steps = zip(*(choices(one, settings) for one in all_segments), strict=True)
    starts = np.cumsum([0, *(len(one.own) for one in all_segments)])[:-1]
    own, other = (np.concatenate([getattr(one, name) for one in all_segments]) for name in ("own", "other"))
    return [
        quality(
            np.concatenate(
                [np.where(one >= 0, start + one, -1) for start, one in zip(starts, step, strict=True)]
            ),
            own,
            other,
        )
        for step in steps
    ]


def best_possible(all_segments: Sequence[Segments]) -> float:
    """Share of the candidates of which any segment has an IoU of 0.5 or more."""
    reached = [len(np.unique(one.image_of[one.own >= 0.5])) for one in all_segments]
    return sum(reached) / sum(one.candidates for one in all_segments)


def study(all_segments: Sequence[Segments]) -> list[dict[str, Any]]:
    """A row for each value of each option: step 1 and the last iteration."""
    rows = []
    for option, several in STUDY.items():
        for told in several:
            first, *_, last = judge(all_segments, EM.model_copy(update=told))
            value = told.get(option, ", ".join(f"{name} {value}" for name, value in told.items()))
            rows.append({"option": option, "value": value, "step_1": asdict(first), "last": asdict(last)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xpaste-foregrounds-") as folder:
        work = arguments.work or Path(folder)
        began = perf_counter()
        scenes = [labelled_scene(SEED, index, STYLE) for index in range(arguments.images)]
        classifier, training = train_classifier(scenes, work)
        training["seconds"] = perf_counter() - began
        print(training, flush=True)
        began = perf_counter()
        segments = kept_segments(work / "segments.npz", arguments.images, classifier)
        looking = {"seconds": perf_counter() - began, "segments": sum(len(one.own) for one in segments)}
        print(looking, flush=True)
        steps = judge(segments, EM)
        for number, step in enumerate(steps):
            print("step 1" if number == 0 else f"iteration {number}", step, flush=True)
        rows = study(segments)
    gain = 100 * (steps[-1].above_50 - steps[0].above_50)
    finish(
        "foregrounds",
        [Gate("IoU >= 0.5 after EM, points more than in step 1", gain, ">=", 10)],
        {
            "images": arguments.images,
            "categories": len(STYLE.categories),
            "training": training,
            "looking": looking,
            "best_possible": best_possible(segments),
            "steps": [asdict(step) for step in steps],
            "study": rows,
        },
    )


if __name__ == "__main__":
    main()
