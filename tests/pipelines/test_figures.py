"""The figures of a sitting, by hand."""

import pyarrow as pa
import pytest

from tests.conftest import seal_discs
from xpaste_ray.pipelines.figures import Figures, StageFigures, acceptance
from xpaste_ray.pipelines.pool import kept_of
from xpaste_ray.records import SCORES, unit_id


def _on_gpus():
    """100 s on 8 GPUs: source at 0.75 of each is busy 760 of 800 s, score at 0.25 of each 40 of 800 s."""
    figures = Figures()
    stages = {
        "source": StageFigures(3200, 760.0, 100.0, actors=8, gpus=6.0, load_s=24.0),
        "segment": StageFigures(3200, 180.0, 100.0, actors=4),
        "score": StageFigures(3200, 40.0, 100.0, actors=8, gpus=2.0, deaths=1),
    }
    figures.note_pass(stages, 100.0)
    figures.acceptance = acceptance(2400, figures.stages)
    figures.stages["select+seal"] = StageFigures(3200, 2.0, 2.0)  # by the driver
    return figures


def test_bottleneck_is_the_stage_whose_actors_are_busiest():
    figures = _on_gpus()
    busy = {stage: figures.busy_fraction(stage) for stage in figures.stages}
    assert busy == {"source": 0.95, "segment": 0.45, "score": 0.05, "select+seal": None}
    assert figures.bottleneck == "source"


def test_bottleneck_of_a_sequential_run_is_the_stage_that_takes_longest():
    figures = Figures()
    for stage, wall_s in (("source", 60.0), ("segment", 90.0), ("score", 50.0)):
        one = StageFigures(100, 0.9 * 2 * wall_s, wall_s, actors=2)
        figures.note_pass({stage: one}, wall_s)
    assert figures.work_s == 200.0 and figures.bottleneck == "segment"
    assert figures.busy_fraction("segment") == pytest.approx(0.9 * 90 / 200)


def test_nothing_was_the_bottleneck_of_a_sitting_that_only_selected():
    figures = Figures()
    figures.stages["select+seal"] = StageFigures(3200, 2.0, 2.0)
    assert figures.bottleneck is None and figures.record()["bottleneck"] is None


def test_images_per_second_of_an_actor_at_work_and_of_a_gpu_all_in_all():
    source = _on_gpus().stages["source"]
    assert source.images_per_actor_second == pytest.approx(3200 / 760)
    assert source.images_per_gpu_second == pytest.approx(3200 / 600)
    assert _on_gpus().stages["segment"].images_per_gpu_second is None


def test_accepted_instances_are_told_per_gpu_second_and_without_gpus_per_core_second():
    assert _on_gpus().acceptance.per_second == ("gpu", 3.0)  # 2400 in 100 s of 8 GPUs
    sequential = {"source": StageFigures(9, 5, 60.0, 2, gpus=2.0), "score": StageFigures(9, 5, 30.0, 1, 1.0)}
    assert acceptance(300, sequential).per_second == ("gpu", 2.0)  # 150 GPU-seconds
    on_cores = {"source": StageFigures(9, 40.0, 30.0, 2, threads=2), "score": StageFigures(9, 20.0, 30.0, 1)}
    assert acceptance(300, on_cores).per_second == ("core", 3.0)  # 40 s on two cores, 20 s on one


def test_record_of_a_sitting():
    record = _on_gpus().record()
    source = {"images": 3200, "busy_s": 760.0, "wall_s": 100.0, "actors": 8, "gpus": 6.0}
    assert record["stages"]["source"] == {**source, "images_per_gpu_second": pytest.approx(3200 / 600)}
    assert record["busy_s"] == {"source": 760.0, "segment": 180.0, "score": 40.0, "select+seal": 2.0}
    assert record["load_s"] == {"source": 24.0} and record["deaths"] == {"score": 1}
    assert record["bottleneck"] == "source" and record["accepted_per_gpu_second"] == 3.0


def test_only_instances_of_the_units_of_this_sitting_count(tmp_path):
    pool = seal_discs(tmp_path / "run", {"banana": 2, "frog": 1})
    names = [name.rsplit("-", 2) for name in pool.instance_ids]
    rows = [
        {"round": 0, "unit": number, "candidate_id": candidate, "category_id": 1, "category": "c", "index": 0,
         "candidate_status": "ok", "method": method, "ordinal": int(ordinal)}
        for number, (candidate, method, ordinal) in enumerate(names)
    ]  # fmt: skip
    rows.append({**rows[0], "candidate_id": "not-kept"})
    scores = pa.Table.from_pylist(rows, schema=SCORES)
    assert len(pool) == 3
    assert kept_of({unit_id(0, 0), unit_id(0, 2)}, pool, scores) == 2
    assert kept_of(set(), pool, scores) == 0
