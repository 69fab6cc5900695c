import numpy as np
import pyarrow.compute as pc

from tests.conftest import CATEGORIES, prompt
from tests.pipelines.foreground_runs import WIDTH, make_run, planted, proposal
from tests.pipelines.progress import Told
from tests.selection.tables import check_balance
from xpaste_ray.config import CutoutSettings, ResourceSettings, WorkerResources
from xpaste_ray.config.em import EmSettings
from xpaste_ray.pipelines import refine
from xpaste_ray.pipelines.outcomes import count_outcomes, made_in
from xpaste_ray.pipelines.refine import choose_foregrounds
from xpaste_ray.pool import open_pool, seal_pool
from xpaste_ray.records import Candidate

RESOURCES = ResourceSettings(source="auto", segment="auto", score="auto", compose=WorkerResources(actors=1))


def choose(run, progress=None, **options):
    return choose_foregrounds(run, EmSettings(**options), "classified", RESOURCES, progress or Told())


def right(found):
    """How many of the kept segments are those of their category."""
    return pc.sum(pc.equal(found.selection.kept["ordinal"], 3)).as_py()


def same(one, other):
    return (
        one.selection.kept.equals(other.selection.kept)
        and one.selection.rejects.equals(other.selection.rejects)
        and one.logs == other.logs
        and np.array_equal(one.choices, other.choices)
    )


def test_what_is_chosen_of_a_run_is_mended_and_balances(tmp_path):
    """36 images with segments, of which step 1 is wrong in some; one that could not be read."""
    run = make_run(tmp_path, planted())
    before, after = choose(run, iterations=0), choose(run)
    assert 20 <= right(before) < 34 and right(after) == 36 == after.selection.kept.num_rows
    check_balance(after.selection)
    told = count_outcomes(after.selection.rejects, made_in(run), {"candidate": 36, "proposal": 36})
    assert told["candidates"] == {"made": 37, "kept": 36, "rejected": {"unreadable": 1}}
    assert told["proposals"]["rejected"] == {"area_too_small": 12, "not_chosen": 144}
    assert [log.category for log in after.logs] == [category.name for category in CATEGORIES]


def test_another_choice_reads_the_features_again_and_no_unit_file(tmp_path):
    run = make_run(tmp_path, planted())
    choose(run)
    for name in run.unit_sizes():
        run.unit_file(name).remove()
    stamps, progress = run.features.stamps(), Told()
    found = choose(run, progress, distance="cosine", nearest=1, iterations=2)
    assert found.selection.kept.num_rows == 36 and run.features.stamps() == stamps
    assert progress.lines == ["choosing among 180 segments of 3 categories"]


def test_categories_on_ray_choose_the_same(tmp_path, monkeypatch):
    """Tasks in other processes, with another number of threads."""
    run = make_run(tmp_path, planted())
    here = choose(run, objects="many", feature_dims=4)
    monkeypatch.setattr(refine, "_SEGMENTS_FOR_RAY", 1)
    monkeypatch.setattr(refine, "_refine", None)  # not here
    assert same(choose(run, objects="many", feature_dims=4), here)


def test_what_is_kept_can_be_sealed(tmp_path):
    """Of two photographs of a frog; the segment of the second one is the upper half of it."""
    full, half = np.full((16, 16), 255, np.uint8), np.zeros((16, 16), np.uint8)
    half[:8] = 255
    made = [
        Candidate(
            prompt(CATEGORIES[1], index),
            image=np.full((16, 16, 3), 50, np.uint8),
            proposals=(proposal(0, 0.1, 0.9, np.ones(WIDTH), mask), proposal(1, 0.2, 0.9, np.zeros(WIDTH))),
        )
        for index, mask in enumerate((full, half))
    ]
    run = make_run(tmp_path / "run", made)
    found = choose(run)
    assert seal_pool(
        found.selection.kept, run.unit_file, CATEGORIES, CutoutSettings(), "print", tmp_path / "pool"
    ) == []  # fmt: skip
    pool = open_pool(tmp_path / "pool")
    assert pool.instance_ids == [f"{one.prompt.candidate_id}-sam-0" for one in made]


def test_a_run_without_a_segment_chooses_nothing(tmp_path):
    found = choose(make_run(tmp_path, planted(images=0)))
    assert found.selection.kept.num_rows == 0 and found.logs == ()
    assert found.selection.rejects["reason"].to_pylist() == ["unreadable"]
