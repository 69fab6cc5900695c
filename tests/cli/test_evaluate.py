"""`xpaste evaluate` as a user meets it."""

import json

import pytest

from tests.backgrounds.material import small_dataset
from tests.test_cli import _refused, _run
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.evaluation import Prediction, truth_of, write_predictions


@pytest.fixture
def data(tmp_path):
    """A dataset, and its cat and one of its cups as what some tool predicted."""
    val = small_dataset(tmp_path / "val")
    truth = truth_of(open_or_index(resolve_source(val), tmp_path / "cache"))
    found = [
        Prediction(image.id, one.category_id, one.bbox_xywh, 0.9, image.size_hw, one.rle["counts"].decode())
        for image in truth.images[:1] for one in image.objects
    ]  # fmt: skip
    write_predictions(tmp_path / "results.json", found)
    return tmp_path, str(val), str(tmp_path / "results.json")


def test_given_predictions_become_figures(data):
    """The cat is found, the dog is not, and of two cups one: precision is 1 up to a recall of a half."""
    folder, val, results = data
    out = folder / "run"
    done = _run("evaluate", "--predictions", results, "--val", val, "--out", out)
    assert done.returncode == 0, done.stderr
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines()]
    assert ["masks", "50.2", "50.2", "50.2", "50.2", "-", "-", "-", "-", "-"] in lines
    assert ["cup", "", "2", "2", "50.5", "50.5"] in lines and ["dog", "", "1", "1", "0.0", "0.0"] in lines
    assert "3 predictions" not in done.stdout
    assert "2 predictions for 4 objects in 3 images, by COCO's rules" in " ".join(done.stdout.split())
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert names == {"run.json", "evaluation.json", "per_category.csv", "sheet.jpg"}
    assert json.loads((out / "evaluation.json").read_text())["segm"]["ap"] == pytest.approx(
        1.505 / 3, abs=1e-3
    )
    again = _run("evaluate", "--predictions", results, "--val", val, "--out", out)
    assert again.returncode == 0 and "is done already: nothing to do" in again.stdout
    assert ["cup", "", "2", "2", "50.5", "50.5"] in [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in again.stdout.splitlines()
    ]


def test_wrong_use_names_the_option(data):
    folder, val, results = data
    out = ("--out", folder / "run")
    both = _refused("evaluate", "--val", val, *out, "--predictions", results, "--weights", "w")
    assert "give either --weights" in both and "or --predictions" in both
    assert "give either --weights" in _refused("evaluate", "--val", val, *out)
    given = ("evaluate", "--val", val, *out, "--predictions", results)
    assert "--actors and --gpus go with --weights" in _refused(*given, "--actors", "2")
    detector = ("evaluate", "--val", val, *out, "--weights", "none")
    assert "--gpus goes with --actors" in _refused(*detector, "--gpus", "1")
    assert "--gpus 0.3: give eighths of a GPU" in _refused(*detector, "--actors", "1", "--gpus", "0.3")
    assert "--weights none is not a folder" in _refused(*detector)


def test_images_that_are_not_annotated_are_refused(data):
    folder, _, results = data
    told = _refused(
        "evaluate", "--val", folder / "val/images", "--out", folder / "run", "--predictions", results
    )
    assert "--val: " in told and "has no annotations: give a COCO or LVIS file" in told


def test_images_that_are_not_found_are_asked_for(data):
    folder, val, results = data
    (folder / "val/images").rename(folder / "elsewhere")
    given = ("evaluate", "--val", val, "--out", folder / "run", "--predictions", results)
    assert "--val-images DIR" in _refused(*given)
    assert _run(*given, "--val-images", folder / "elsewhere").returncode == 0


def test_predictions_of_another_dataset_are_refused(data):
    folder, val, results = data
    entries = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps([{**entries[0], "image_id": 70}]))
    told = _refused("evaluate", "--predictions", results, "--val", val, "--out", folder / "run")
    assert "entry 0 (from 0): image_id 70 is not among the 3 usable images of --val" in told


def test_help_tells_of_both_ways():
    told = " ".join(_run("evaluate", "--help").stdout.replace("│", " ").split())
    assert "--weights" in told and "--predictions" in told and "COCO results" in told
