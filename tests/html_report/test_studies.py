"""What a report says of a study, a training and an evaluation."""

import pytest

from tests.studies.test_results import trained
from xpaste_ray.errors import ConfigError
from xpaste_ray.evaluation import CategoryScores, Evaluation, Scores
from xpaste_ray.html_report.blocks import Curves, Figures, Table
from xpaste_ray.html_report.sections import gather
from xpaste_ray.html_report.write import write_report
from xpaste_ray.models.detector_record import DetectorRecord, Validated, Window
from xpaste_ray.runs import write_json
from xpaste_ray.studies import TrainedOnce, results_of


def section(folder, key):
    (chapter,) = gather(str(folder)).chapters
    (found,) = [one for one in chapter.sections if one.key == key]
    return found


def blocks(section, kind):
    return [one for one in section.blocks if isinstance(one, kind)]


def write_study(folder, seeds=(0,), **arms):
    write_json(folder / "study.json", results_of("tiny", "A title", seeds, "real", arms).to_json({}))
    return folder


@pytest.fixture
def study(tmp_path):
    arms = {
        "real": {
            0: trained(0.30, validated=((20, 0.1), (40, 0.3))),
            1: trained(0.32, validated=((20, 0.2), (40, 0.5))),
        },
        "pasted": {0: trained(0.31), 1: trained(0.35)},
    }
    return write_study(tmp_path, (0, 1), **arms)


def test_study_is_told_by_means_and_differences(study):
    means, differences = blocks(section(study, "study"), Table)
    assert means.rows == (("real", "31.0 ± 1.4"), ("pasted", "33.0 ± 2.8"))
    assert differences.rows == (("pasted", "+2.0 [-10.7, +14.7]"),)
    (figures,) = blocks(section(study, "study"), Figures)
    assert {one.name: one.value for one in figures.figures} == {"arms": 2, "trainings": 4}


def test_validation_of_a_study_is_the_mean_over_seeds(study):
    (curves,) = blocks(section(study, "study"), Curves)
    assert curves.xs == (20.0, 40.0)
    assert {one.name: one.values for one in curves.series} == {
        "real": (pytest.approx(15), pytest.approx(40)),
        "pasted": (None, None),
    }


def test_trainings_that_were_judged_once_have_no_curve(tmp_path):
    write_study(tmp_path, real={0: trained(0.30, validated=((40, 0.3),))})
    assert blocks(section(tmp_path, "study"), Curves) == []


def test_masks_and_boxes_are_told_apart(tmp_path):
    boxes = TrainedOnce("arms/x/seed-0", {"segm": {"ap": 0.3}, "bbox": {"ap": 0.4}}, ())
    write_study(tmp_path, real={0: boxes})
    masks, boxes = blocks(section(tmp_path, "study"), Table)
    assert [one.name for one in masks.columns] == ["arm", "mask AP"] and masks.rows == (("real", "30.0"),)
    assert [one.name for one in boxes.columns] == ["arm", "box AP"] and boxes.rows == (("real", "40.0"),)


def test_study_has_no_empty_summary_before_it(study):
    (chapter,) = gather(str(study)).chapters
    assert [one.key for one in chapter.sections] == ["study"]


def test_page_of_a_study_is_written(study):
    assert "Study tiny" in write_report(str(study)).read_text()


def test_damaged_study_is_refused(study):
    write_json(study / "study.json", {"kind": "xpaste study", "name": "tiny"})
    with pytest.raises(ConfigError, match=r"study.json is damaged"):
        gather(str(study))


def test_training_is_told_by_its_losses_and_its_validation(tmp_path):
    windows = tuple(Window(at, 0.1, {"loss_mask": 2 / at, "loss_box_reg": 1.0}) for at in (20, 40))
    found = Validated(40, {"ap": 0.25, "rare": None}, {"ap": 0.3})
    (tmp_path / "detector").mkdir()
    record = DetectorRecord("recipe", 40, windows, (found,))
    (tmp_path / "detector" / "training.json").write_text(record.text())
    write_json(tmp_path / "run.json", {"settings": {}, "steps": {}, "versions": {}, "times": []})
    losses, precisions = blocks(section(tmp_path, "training"), Curves)
    assert {one.name: one.values for one in losses.series}["mask"] == (0.1, 0.05)
    assert [(one.name, one.values) for one in precisions.series] == [("AP", (25.0,))]


def _scores(**told):
    names = ("ap", "ap50", "ap75", "small", "medium", "large", "rare", "common", "frequent")
    return Scores(**{name: told.get(name) for name in names})


def test_evaluation_is_told_by_bucket_and_by_category_the_worst_first(tmp_path):
    categories = (
        CategoryScores(1, "cat", "f", 3, 4, 0.5, 0.6),
        CategoryScores(2, "dog", "r", 1, 1, 0.25, 0.125),
        CategoryScores(3, "cup", None, 0, 0, None, None),
    )
    found = Evaluation(_scores(ap=0.375, rare=0.25), _scores(ap=0.3625), categories)
    write_json(tmp_path / "evaluation.json", found.to_json())
    counts = {"images": {"usable": 4, "rejected": {}}, "objects": 5, "predictions": 9, "federated": False}
    write_json(
        tmp_path / "run.json", {"settings": {}, "steps": {}, "versions": {}, "times": [], "counts": counts}
    )
    together, by_category = blocks(section(tmp_path, "evaluation"), Table)
    assert together.rows[0][:2] == ("masks", 37.5) and together.rows[0][7] == 25.0
    assert together.rows[1][:3] == ("boxes", 36.2, None)
    assert by_category.rows == (("dog", 2, "r", 1, 1, 25.0, 12.5), ("cat", 1, "f", 3, 4, 50.0, 60.0))
    assert "Evaluation" in write_report(str(tmp_path)).read_text()


def test_damaged_evaluation_is_refused(tmp_path):
    write_json(tmp_path / "run.json", {"settings": {}, "steps": {}, "versions": {}, "times": []})
    write_json(tmp_path / "evaluation.json", {"segm": {}})
    with pytest.raises(ConfigError, match="evaluation.json is damaged"):
        gather(str(tmp_path))
