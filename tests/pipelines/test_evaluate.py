"""`xpaste evaluate` on a real local Ray, with a detector that knows the answers."""

import json
import shutil
from pathlib import Path

import cv2
import pytest
import ray

from tests.backgrounds.material import small_dataset, square, write_dataset
from tests.evaluation.standin import load_knowing, write_knowing
from tests.pipelines.progress import Told
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.config import StageResources
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.evaluation import read_predictions, truth_of
from xpaste_ray.models.detector_files import saved_folder
from xpaste_ray.pipelines.detect import Detecting
from xpaste_ray.pipelines.evaluate import EvaluationRun, evaluate_detector, evaluate_predictions
from xpaste_ray.pipelines.ray_profile import cluster_nodes
from xpaste_ray.pipelines.resources import detect_resources
from xpaste_ray.runs import made_by

ONE = StageResources(actors=1)


def opened(path):
    return open_or_index(resolve_source(path))


def many_images(folder):
    """70 images in three shards, a cat in each; one in two has a dog, too."""
    images = [
        {"id": number, "file_name": f"{number}.jpg", "height": 40, "width": 50} for number in range(1, 71)
    ]
    annotations = [
        {"id": 2 * image["id"] + dog, "image_id": image["id"], "category_id": (1, 18)[dog],
         "segmentation": [square(5 + 20 * dog, 5, 15)]}
        for image in images for dog in range(1 + image["id"] % 2)
    ]  # fmt: skip
    return write_dataset(folder, images, annotations)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    val = many_images(folder / "val")
    weights, calls = write_knowing(folder / "weights", val)
    progress = Told()
    summary = evaluate_detector(weights, opened(val), folder / "run", ONE, progress, load_knowing)
    return folder, summary, calls


def contents(out):
    files = (path for path in Path(out).rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_detector_that_knows_everything_is_perfect(finished):
    folder, summary, calls = finished
    found = EvaluationRun(folder / "run").evaluation()
    assert (found.segm.ap, found.bbox.ap, found.segm.small) == pytest.approx((1, 1, 1))
    assert [(one.name, one.images, one.instances) for one in found.categories] == [
        ("cat", 70, 70), ("dog", 35, 35), ("cup", 0, 0),
    ]  # fmt: skip
    assert summary.counts == {
        "images": {"usable": 70, "rejected": {}}, "objects": 105, "predictions": 105, "federated": False,
    }  # fmt: skip
    assert sorted(map(int, calls.read_text().split())) == list(range(1, 71))  # each image once


def test_everything_is_in_the_folder(finished):
    folder, _, _ = finished
    run = EvaluationRun(folder / "run")
    predictions = read_predictions(run.predictions_json, truth_of(opened(folder / "val/annotations.json")))
    assert len(predictions) == 105
    assert run.per_category_csv.read_text().splitlines()[1].startswith("1,cat,,70,70,1.0")
    assert cv2.imread(str(run.sheet)).shape[1] > 1000


def test_finished_run_is_not_made_again(finished):
    folder, summary, calls = finished
    before, told = contents(folder / "run"), calls.read_text()
    val = opened(folder / "val/annotations.json")
    again = evaluate_detector(str(folder / "weights"), val, folder / "run", ONE, Told(), load_knowing)
    assert again.already_done and again.counts == summary.counts
    assert contents(folder / "run") == before and calls.read_text() == told


def test_killed_run_goes_on_with_what_is_missing(finished, tmp_path):
    """Without its second shard and all that follows, only that shard's images are looked at again; the same
    bytes come out, on two actors as on one."""
    folder, _, calls = finished
    out = tmp_path / "run"
    for name, data in contents(folder / "run").items():
        if name not in ("predictions/00000032-00000063.parquet", "evaluation.json", "predictions.json"):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(data)
    record = json.loads((folder / "run/run.json").read_text())
    del record["counts"]
    (out / "run.json").write_text(json.dumps(record))
    calls.unlink()
    progress = Told()
    val, two = opened(folder / "val/annotations.json"), StageResources(actors=2)
    evaluate_detector(str(folder / "weights"), val, out, two, progress, load_knowing)
    assert "continuing: 2 of 3 shards are done" in progress.lines
    assert sorted(map(int, calls.read_text().split())) == list(range(33, 65))
    assert contents(out) == contents(folder / "run")


def test_other_weights_are_refused_in_the_same_folder(finished, tmp_path):
    folder, _, _ = finished
    val = folder / "val/annotations.json"
    others, _ = write_knowing(tmp_path / "others", val)
    with pytest.raises(ConfigError, match=r"made with other settings:\n  weights: .*\n.*another --out"):
        evaluate_detector(others, opened(val), folder / "run", ONE, Told(), load_knowing)


def test_wrong_weights_are_explained_and_not_traced(tmp_path):
    val = small_dataset(tmp_path / "val")
    with pytest.raises(ConfigError, match="--weights none is not a folder"):
        evaluate_detector("none", opened(val), tmp_path / "run", ONE, Told(), load_knowing)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="^--weights .*empty holds no answers.json$"):
        evaluate_detector(str(tmp_path / "empty"), opened(val), tmp_path / "run", ONE, Told(), load_knowing)


def test_detector_of_a_run_is_found_in_it(tmp_path):
    (tmp_path / "run" / "detector").mkdir(parents=True)
    assert saved_folder(str(tmp_path / "run"), "--weights") == tmp_path / "run/detector"


def test_categories_that_mean_something_else_are_refused(tmp_path):
    val = small_dataset(tmp_path / "val")
    weights, _ = write_knowing(tmp_path / "weights", val, [(1, "lion"), (18, "dog"), (44, "cup")])
    with pytest.raises(ConfigError, match="--val: category 1 is 'cat' there and 'lion' in the detector"):
        evaluate_detector(weights, opened(val), tmp_path / "run", ONE, Told(), load_knowing)


def test_categories_of_only_one_side_are_told(tmp_path):
    val = small_dataset(tmp_path / "val")
    progress = Told()
    weights, _ = write_knowing(tmp_path / "weights", val, [(1, "cat"), (44, "cup")])
    evaluate_detector(weights, opened(val), tmp_path / "run", ONE, progress, load_knowing)
    assert "note: the detector does not know 'dog': their AP is 0 where --val shows them" in progress.lines


class Broken:
    categories = ((1, "cat"), (18, "dog"), (44, "cup"))

    def __call__(self, images):
        raise RuntimeError("CUDA out of memory")


def load_broken(weights, device):
    return Broken()


def test_failure_of_the_detector_is_a_run_error(tmp_path):
    val = small_dataset(tmp_path / "val")
    weights, _ = write_knowing(tmp_path / "weights", val)
    with pytest.raises(RunError, match=r"^the detector failed \(RuntimeError: CUDA out of memory\)$"):
        evaluate_detector(weights, opened(val), tmp_path / "run", ONE, Told(), load_broken)


@pytest.mark.parametrize("cut", [True, False])
def test_shard_that_is_cut_off_or_of_another_recipe_is_missing(finished, tmp_path, cut):
    folder, _, _ = finished
    shutil.copytree(folder / "run", tmp_path / "run")
    shard = tmp_path / "run/predictions/00000064-00000069.parquet"
    recipe = made_by(shard)
    if cut:
        shard.write_bytes(shard.read_bytes()[:-20])
    val, root = opened(folder / "val/annotations.json"), EvaluationRun(tmp_path / "run").root
    work = Detecting(str(folder / "weights"), load_knowing, val, root, recipe if cut else "another")
    assert [one.name for one in work.missing()] == [one.name for one in work.shards][2 if cut else 0 :]


def test_given_predictions_give_the_same_figures(finished, tmp_path):
    folder, _, _ = finished
    val = opened(folder / "val/annotations.json")
    given = folder / "run" / "predictions.json"
    summary = evaluate_predictions(str(given), val, tmp_path / "run", Told())
    assert EvaluationRun(tmp_path / "run").evaluation() == EvaluationRun(folder / "run").evaluation()
    assert summary.counts["predictions"] == 105 and not (tmp_path / "run/predictions.json").exists()
    assert evaluate_predictions(str(given), val, tmp_path / "run", Told()).already_done


def test_other_predictions_are_refused_in_the_same_folder(finished, tmp_path):
    folder, _, _ = finished
    val = opened(folder / "val/annotations.json")
    evaluate_predictions(str(folder / "run/predictions.json"), val, tmp_path / "run", Told())
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"other settings:\n  predictions: "):
        evaluate_predictions(str(tmp_path / "none.json"), val, tmp_path / "run", Told())


def test_folder_with_other_files_is_refused(finished, tmp_path):
    folder, _, _ = finished
    (tmp_path / "evaluation.json").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds other files \(evaluation.json\): choose a new folder"):
        evaluate_predictions(
            str(folder / "run/predictions.json"), opened(folder / "val/annotations.json"), tmp_path, Told()
        )


def test_what_cannot_be_used_is_told(tmp_path):
    val = small_dataset(tmp_path / "val")
    (tmp_path / "val/images/c.jpg").write_bytes(b"no image")
    (tmp_path / "none.json").write_text("[]")
    progress = Told()
    evaluate_predictions(str(tmp_path / "none.json"), opened(val), tmp_path / "run", progress)
    assert "note: not evaluated, for they cannot be used: images: unsupported_format 1" in progress.lines


def test_more_actors_than_gpus_are_refused(finished):
    """`finished`: for its Ray."""
    if ray.cluster_resources().get("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="--actors 1 --gpus 1: they find no room"):
        detect_resources(StageResources(actors=1, gpus=1), cluster_nodes())
