"""`xpaste pool select | sweep` on runs whose unit files are written by hand: neither a model nor Ray."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.standins import Source
from xpaste_ray import cli
from xpaste_ray.config import PoolSettings, load
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.pipelines.build import build_pool
from xpaste_ray.pipelines.scores import compact_scores
from xpaste_ray.pipelines.select import select_pool, sweep_pool
from xpaste_ray.pipelines.steps import plan_steps, resolve_inputs
from xpaste_ray.pipelines.units import write_units
from xpaste_ray.pipelines.verify import verify_pool
from xpaste_ray.pool import open_pool
from xpaste_ray.records import Candidate, Proposal, unit_from_row
from xpaste_ray.report import ConsoleProgress
from xpaste_ray.report_selection import bars_of, empty_category_lines
from xpaste_ray.runs import RunDir, made_by, open_parquet, open_run, read_json, write_json
from xpaste_ray.unit_files import write_unit

QUIET = ConsoleProgress()
LOGITS = {"banana": (90, 80, 70, 60), "frog": (58, 57, 56.5, 40)}  # a lion's images are all black
SMALL = ["categories.names=[banana,frog,lion]", "prompts.per_category=4", "sources.diffusion.unit_size=2"]
DISC, DOT = (6, 26), (15, 16)  # rows and columns of a mask, from and to


def settings(*overrides):
    """Of the demo: a bar of 55 and a tolerance of 1."""
    return load(PoolSettings, "demo", [*SMALL, *overrides])


def proposal(method, ordinal, logit, sides=DISC, embedding=None):
    mask = np.zeros((32, 32), np.uint8)
    mask[slice(*sides), slice(*sides)] = 255
    vector = None if embedding is None else np.array(embedding, np.float16)
    area = float((mask > 0).mean())
    scores = (("clip_logit", float(logit)),)
    return Proposal(method, ordinal, mask, area_fraction=area, scores=scores, embedding=vector)


def one_each(prompt):
    """A proposal of an image, after `LOGITS`; bananas 0 and 1 look the same, and so do 2 and 3."""
    if prompt.category == "lion":
        return None
    angle = prompt.index // 2
    return (proposal("m", 0, LOGITS[prompt.category][prompt.index], embedding=(1 - angle, angle)),)


def make_run(root, told, propose=one_each):
    """A run whose images are made, segmented and scored, and nothing else. propose: prompt to proposals, or
    None for a black image."""
    run, inputs = RunDir(root), resolve_inputs(told)
    write_units(run, inputs)
    recipe = plan_steps(inputs)["score"].fingerprint
    for unit in map(unit_from_row, open_parquet(run.units).read().to_pylist()):
        made = []
        for candidate in Source()([Candidate(prompt) for prompt in unit.prompts]):
            proposals = propose(candidate.prompt)
            black = {"status": "rejected", "reason": "black_image", "image": None}
            made.append(replace(candidate, **black if proposals is None else {"proposals": proposals}))
        write_unit(run, unit.round, unit.number, made, recipe, embedding_dim=2)
    return run


@pytest.fixture
def run(tmp_path):
    """A finished one: four bananas and three frogs."""
    made = make_run(tmp_path / "run", settings())
    build_pool(settings(), made.root, QUIET)
    return made


def xpaste(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments], catch_exceptions=False)


def names(run):
    """Of the current pool's instances, such as "banana-0"."""
    pool = open_pool(run.root)
    by_id = {category.id: category.name for category in pool.categories}
    return [
        f"{by_id[int(candidate.split('-')[0])]}-{candidate.split('-')[1]}" for candidate in pool.instance_ids
    ]


def current(run):
    return read_json(run.pool_json)["current"]


def stamps(run):
    return run.pools.stamps()


def test_another_bar_is_sealed_beside_the_first_pool(run):
    first, before = current(run), stamps(run)
    assert names(run) == ["banana-0", "banana-1", "banana-2", "banana-3", "frog-0", "frog-1", "frog-2"]
    done = xpaste("pool", "select", run.root, "--min-clip-logit", 65)
    assert done.exit_code == 0 and "5 instances in" in done.output
    assert names(run) == ["banana-0", "banana-1", "banana-2", "frog-0", "frog-1"]  # frogs: 58 - 1 = 57
    assert current(run) != first and before.items() <= stamps(run).items()
    rejects = open_parquet(run.rejects).read().to_pylist()
    low = [one["id"] for one in rejects if (one["kind"], one["reason"]) == ("candidate", "low_clip_logit")]
    assert len(low) == 3 and verify_pool(run, QUIET) == []


def test_run_json_says_what_was_selected_and_keeps_what_was_built(run):
    built = read_json(run.run_json)
    select_pool(str(run.root), QUIET, (), {"select.min_clip_logit": 65.0})
    told = read_json(run.run_json)
    assert told["settings"] == built["settings"] and told["steps"] == built["steps"]
    assert told["selection"]["settings"]["select"]["min_clip_logit"] == 65
    assert told["counts"]["candidates"] == {
        "made": 12, "kept": 5, "rejected": {"black_image": 4, "low_clip_logit": 3}
    }  # fmt: skip
    assert len(told["times"]) == 2


def test_building_again_points_back_at_its_own_pool(run):
    """Without a model, without Ray, and without sealing anything."""
    first = current(run)
    select_pool(str(run.root), QUIET, ["select.min_clip_logit=65"])
    before = stamps(run)
    assert not build_pool(settings(), run.root, QUIET).already_done
    assert current(run) == first and stamps(run) == before
    assert "selection" not in read_json(run.run_json) and verify_pool(run, QUIET) == []
    assert build_pool(settings(), run.root, QUIET).already_done


def test_selecting_without_options_goes_back_to_the_builds_selection(run):
    first, rejects = current(run), run.rejects.read_bytes()
    select_pool(str(run.root), QUIET, ["select.min_clip_logit=65"])
    before = stamps(run)
    summary = select_pool(str(run.root), QUIET)
    assert current(run) == first and stamps(run) == before and run.rejects.read_bytes() == rejects
    assert summary.counts["proposals"] == {"made": 8, "kept": 7, "rejected": {"low_clip_logit": 1}}
    assert "selection" not in read_json(run.run_json)
    assert build_pool(settings(), run.root, QUIET).already_done


def test_options_do_not_add_up_over_commands(run):
    select_pool(str(run.root), QUIET, (), {"select.min_clip_logit": 85.0})
    select_pool(str(run.root), QUIET, (), {"select.max_per_category": 1})
    assert names(run) == ["banana-0", "frog-0"]
    assert read_json(run.run_json)["selection"]["settings"]["select"]["min_clip_logit"] == 55


def test_scores_that_changed_are_selected_anew(run):
    """As after --retry-failed: the settings are the same, a unit is not."""
    first, before, was = current(run), stamps(run), open_pool(run.root).fingerprint
    assert len(names(run)) == 7
    make_run(run.root, settings(), lambda prompt: (proposal("m", 0, 99),))
    run.scores.remove()
    build_pool(settings(), run.root, QUIET)
    assert len(names(run)) == 12 and verify_pool(run, QUIET) == []
    assert current(run) != first and before.items() <= stamps(run).items()
    assert open_pool(run.root).fingerprint != was


def test_scores_that_changed_are_not_done_until_their_pool_is_sealed(run):
    """A retry that was killed after it had gathered the scores. All else is as the settings say."""
    first = current(run)
    make_run(run.root, settings(), lambda prompt: (proposal("m", 0, 99),))
    compact_scores(run, made_by(run.scores))
    (finding,) = verify_pool(run, QUIET)
    assert finding.line(run).startswith("pool.json: not of the run's scores and selection: build again, ")
    assert not build_pool(settings(), run.root, QUIET).already_done
    assert current(run) != first and len(names(run)) == 12
    assert build_pool(settings(), run.root, QUIET).already_done and verify_pool(run, QUIET) == []


def test_same_scores_are_the_same_pool_wherever_they_are(run, tmp_path):
    again = make_run(tmp_path / "again", settings())
    build_pool(settings(), again.root, QUIET)
    assert current(again) == current(run) and again.scores.read_bytes() == run.scores.read_bytes()


def test_a_pool_whose_rejects_are_damaged_is_sealed_again(run):
    file = run.root / current(run) / "rejects.parquet"
    good = file.read_bytes()
    file.write_whole(good[:20] + bytes(40) + good[60:])
    select_pool(str(run.root), QUIET)
    assert file.read_bytes() == good and verify_pool(run, QUIET) == []


def test_one_at_a_time_works_in_a_run(run):
    with open_run(run.root), pytest.raises(ConfigError, match="another xpaste is at work there"):
        select_pool(str(run.root), QUIET)


def test_all_options_of_the_command(run):
    def kept(*options):
        done = xpaste("pool", "select", run.root, *options)
        assert done.exit_code == 0, done.output
        return names(run)

    assert kept("--rule", "threshold", "--min-cosine", "0.6") == ["banana-0", "banana-1", "banana-2"]
    assert kept("--tolerance", 0, "--min-clip-logit", 99) == ["banana-0", "frog-0"]
    assert kept("--min-area", 0.5) == kept("--max-area", 0.3) == []  # all have 0.39
    assert len(kept("--max-per-category", 2, "--pick", "random")) == 4
    assert kept("--set", "select.max_duplicate_cosine=0.9") == ["banana-0", "banana-2", "frog-0", "frog-2"]
    assert kept("--proposals", "many", "--set", "cutout.max_side_px=8") == kept()
    assert verify_pool(run, QUIET) == []


def test_neither_torch_nor_ray_is_loaded(run):
    code = (
        "import sys; from xpaste_ray.cli import main\n"
        f"sys.argv[1:] = ['pool', 'select', '{run.root}', '--min-clip-logit', '65']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
    assert len(names(run)) == 5


def test_a_category_without_an_instance_is_told_with_its_reasons(run):
    done = xpaste("pool", "select", run.root, "--rule", "threshold", "--min-cosine", "0.65")
    assert "no instance of frog (4 candidates: low_clip_logit 4)" in done.output
    assert "no instance of lion (4 candidates: black_image 4)" in done.output
    manifest = json.loads((run.root / current(run) / "manifest.json").read_text())
    counts = {entry["name"]: entry["instances"] for entry in manifest["categories"]}
    assert counts == {"banana": 3, "frog": 0, "lion": 0}
    assert build_pool(settings(), run.root, QUIET).counts["empty_categories"] == {"lion": {"black_image": 4}}


def test_of_many_categories_without_an_instance_twenty_are_named():
    lines = list(empty_category_lines({f"c{i}": {"black_image": 1} for i in range(23)}))
    assert lines[0] == "no instance of c0 (1 candidate: black_image 1)" and len(lines) == 21
    assert lines[-1] == "... and of 3 more categories"
    assert list(empty_category_lines({"owl": {"nsfw": 2, "low_clip_logit": 1010}, "cow": {}})) == [
        "no instance of owl (1,012 candidates: low_clip_logit 1,010, nsfw 2)",
        "no instance of cow (0 candidates)",
    ]


def test_candidates_and_proposals_balance_each_by_itself_with_many_of_a_candidate(tmp_path):
    """Bananas have two good ones; of frogs one cannot be cut out: a single pixel; of lions none can."""
    told = settings("select.proposals=many", "select.min_area_fraction=0", "prompts.per_category=2")

    def propose(prompt):
        first = DOT if prompt.category == "lion" else DISC
        second = DISC if prompt.category == "banana" else DOT
        return proposal("m", 0, 90, first), proposal("m", 1, 80, second)

    run = make_run(tmp_path / "run", told, propose)
    counts = build_pool(told, run.root, QUIET).counts
    assert names(run) == ["banana-0", "banana-0", "banana-1", "banana-1", "frog-0", "frog-1"]
    (reason,) = counts["proposals"]["rejected"]
    assert counts["proposals"] == {"made": 12, "kept": 6, "rejected": {reason: 6}}
    assert counts["candidates"] == {"made": 6, "kept": 4, "rejected": {reason: 2}}
    assert counts["empty_categories"] == {"lion": {reason: 2}}
    assert verify_pool(run, QUIET) == []


def test_a_run_in_an_object_store_is_selected_from_there(s3):
    run = make_run(f"{s3()}/lvis", settings())
    build_pool(settings(), run.root, QUIET)
    select_pool(str(run.root), QUIET, (), {"select.min_clip_logit": 65.0})
    assert len(names(run)) == 5 and verify_pool(run, QUIET) == []
    done = xpaste("pool", "sweep", run.root, "--min-clip-logit", "55:65:10")
    assert done.exit_code == 0 and (run.root / "sweep.png").exists()


def test_a_run_that_was_killed_is_to_be_built_first(run):
    run.scores.remove()
    with pytest.raises(ConfigError, match="scores are missing or out of date: run its build again"):
        select_pool(str(run.root), QUIET)
    with pytest.raises(ConfigError, match="scores are missing or out of date: run its build again"):
        sweep_pool(str(run.root), [55])
    build_pool(settings(), run.root, QUIET)
    run.pool_json.remove()
    with pytest.raises(ConfigError, match="has no pool yet: run its build again"):
        select_pool(str(run.root), QUIET)


def test_a_damaged_unit_is_told_with_the_way_to_mend_it(run):
    name = next(iter(run.unit_sizes()))
    data = bytearray(run.unit_file(name).read_bytes())
    data[10:400] = bytes(390)
    run.unit_file(name).write_whole(bytes(data))
    with pytest.raises(RunError, match="(?s)is damaged .*`xpaste pool verify .* --repair`"):
        select_pool(str(run.root), QUIET, (), {"select.max_per_category": 2})


def test_what_is_no_run_is_left_alone(tmp_path):
    with pytest.raises(ConfigError, match="is not a run: run.json is missing"):
        select_pool(str(tmp_path / "none"), QUIET)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("score.micro_batch=2", "only select and cutout can be changed of a run that is made"),
        ("select.min_clip=2", "unknown option 'select.min_clip'"),
        ("select.max_nsfw=0.5", "select.max_nsfw needs score.nsfw"),
    ],
)
def test_other_settings_are_refused_and_change_nothing(run, override, message):
    before, record = stamps(run), run.run_json.read_bytes()
    with pytest.raises(ConfigError, match=message):
        select_pool(str(run.root), QUIET, [override])
    assert stamps(run) == before and run.run_json.read_bytes() == record


def test_sweep_prints_and_writes_what_each_bar_would_keep(run):
    """Best 90 and 58, tolerance 1; bars 55, 60 ... 75."""
    before = stamps(run)
    done = xpaste("pool", "sweep", run.root, "--min-clip-logit", "55:75:5")
    assert done.exit_code == 0 and "7 (58.3%)" in done.output and "of 12" in done.output
    rows = list(csv.DictReader((run.root.path / "sweep.csv").open()))
    assert [(row["min_clip_logit"], row["kept"]) for row in rows] == [
        ("55", "7"), ("60", "6"), ("65", "5"), ("70", "5"), ("75", "4")
    ]  # fmt: skip
    assert rows[0] == {
        "min_clip_logit": "55",
        "source": "all",
        "made": "12",
        "kept": "7",
        "share": "0.583333",
    }
    assert (run.root.path / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    assert stamps(run) == before
    kept = select_pool(str(run.root), QUIET, ["select.min_clip_logit=70"]).counts["proposals"]["kept"]
    assert kept == 5


def test_sweep_tells_sources_apart(tmp_path):
    """Two that take turns: of each category images 0 and 2 are of one, 1 and 3 of the other."""
    two = ["sources.other={kind: diffusion, model: embedded:diffusion, steps: 5, guidance_scale: 2.0, "
           "dtype: float32, unit_size: 2, threads: 1}"]  # fmt: skip
    told = settings(*two)
    run = make_run(tmp_path / "run", told)
    build_pool(told, run.root, QUIET)
    swept, _ = sweep_pool(str(run.root), [55, 65])
    assert swept.made == {"diffusion": 6, "other": 6}
    assert swept.kept == {"diffusion": (4, 3), "other": (3, 2)}
    done = xpaste("pool", "sweep", run.root, "--min-clip-logit", "55:65:10", "--out", tmp_path / "mine.png")
    assert "diffusion, of 6" in done.output and "all, of 12" in done.output
    assert (tmp_path / "mine.csv").read_text().splitlines()[-1] == "65,all,12,5,0.416667"


def test_sweep_needs_a_rule_with_a_bar(run):
    with pytest.raises(ConfigError, match="add --set select.rule=bar"):
        sweep_pool(str(run.root), [55], ["select.rule=threshold"])


def test_bars_have_both_ends():
    assert bars_of("19:20:0.5") == [19, 19.5, 20] and bars_of("0:0.3:0.1") == [0, 0.1, 0.2, 0.3]
    assert bars_of("5:5:1") == [5] and len(bars_of("19:28:0.5")) == 19
    for wrong in ("19", "19:28", "28:19:1", "19:28:0", "19:28:-1", "a:b:c", "0:1e9:1"):
        with pytest.raises(ConfigError, match="from:to:step"):
            bars_of(wrong)


def test_a_demos_settings_are_a_runs_settings_too(run):
    """`xpaste demo` writes those of its dataset beside them."""
    record = read_json(run.run_json)
    record["settings"]["compose"] = {"count": 3}
    write_json(run.run_json, record)
    select_pool(str(run.root), QUIET, ["select.min_clip_logit=65"])
    assert len(names(run)) == 5
