"""`xpaste pool build` on a real local Ray, with stand-ins for the models."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.pipelines.progress import Told
from tests.standins import Fault, code
from xpaste_ray import cli
from xpaste_ray.config import PoolSettings, load
from xpaste_ray.errors import ConfigError
from xpaste_ray.pipelines.build import BuildOptions, build_pool, plan_pool
from xpaste_ray.pipelines.steps import resolve_inputs
from xpaste_ray.pipelines.units import names_of, planned, unit_names, write_units
from xpaste_ray.runs import RunDir

XPASTE = Path(sys.executable).with_name("xpaste")
SMALL = [
    "categories.names=[banana,frog,lion,pear,teapot]", "prompts.per_category=4",
    "sources.diffusion.unit_size=2",
    *(f"resources.{stage}.actors=1" for stage in ("source", "segment", "score")),
]  # fmt: skip


def _settings(*overrides):
    return load(PoolSettings, "demo", [*SMALL, *overrides])


def _bytes(run):
    files = (path for path in run.rglob("*") if path.is_file() and path.name != "run.json")
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    out = tmp_path_factory.mktemp("build") / "reference"
    build_pool(_settings(), out, Told(), BuildOptions(code=code()))
    return out


def test_one_stage_after_the_other_makes_the_same_bytes(reference, tmp_path):
    told = Told()
    summary = build_pool(_settings(), tmp_path / "run", told, BuildOptions("sequential", code=code()))
    assert any("this stage by itself" in line for line in told.lines)
    assert summary.counts["candidates"]["made"] == 20
    assert _bytes(tmp_path / "run") == _bytes(reference)


def test_another_rule_selects_anew_and_leaves_the_first_pool(reference, tmp_path):
    settings = _settings("select.min_clip_logit=80", "select.tolerance=0")
    out = tmp_path / "run"
    build_pool(_settings(), out, Told(), BuildOptions(code=code()))
    first = json.loads((out / "pool.json").read_text())["current"]
    units = {path: path.stat().st_mtime_ns for path in out.glob("candidates/*/*")}
    fewer = build_pool(settings, out, Told(), BuildOptions(code=code()))
    assert {path: path.stat().st_mtime_ns for path in out.glob("candidates/*/*")} == units
    assert 0 < fewer.counts["proposals"]["kept"] < 20 and (out / first / "manifest.json").exists()
    assert json.loads((out / "pool.json").read_text())["current"] != first


def test_more_prompts_a_category_only_add_units(reference, tmp_path):
    out = tmp_path / "run"
    build_pool(_settings("prompts.per_category=2"), out, Told(), BuildOptions(code=code()))
    before = {path: path.stat().st_mtime_ns for path in out.glob("candidates/*/*")}
    build_pool(_settings(), out, Told(), BuildOptions(code=code()))
    after = {path: path.stat().st_mtime_ns for path in out.glob("candidates/*/*")}
    assert len(before) == 6 and len(after) == 12 and before.items() <= after.items()
    pools = {name: data for name, data in _bytes(out).items() if name.startswith("pools/")}
    assert _bytes(reference).items() <= _bytes(out).items() and len(pools) > 3


def test_plan_is_told_and_nothing_is_written(tmp_path):
    told = Told()
    plan_pool(_settings("resources.source=auto"), tmp_path / "run", told, BuildOptions(code=code()))
    assert "plan: 12 units of diffusion, all stages at once" in told.lines[-1] and "source" in told.lines[-1]
    assert not (tmp_path / "run").exists()


def test_what_the_cluster_can_never_hold_is_refused_at_once(tmp_path):
    with pytest.raises(ConfigError, match=r"resources.source: 3 actors with 1 GPUs .*3 of them find no room"):
        plan_pool(
            _settings("resources.source={actors: 3, gpus: 1}"),
            tmp_path / "run",
            Told(),
            BuildOptions(code=code()),
        )
    with pytest.raises(ConfigError, match="the actors need .* CPUs"):
        plan_pool(_settings("resources.score={actors: 900, cpus: 1}"), tmp_path / "run", Told())
    with pytest.raises(ConfigError, match="the actors need .* CPUs"):
        plan_pool(_settings("resources.score={actors: 1, cpus: 5000}"), tmp_path / "run", Told())


@pytest.mark.parametrize(("categories", "per_category", "unit_size"), [(5, 4, 2), (4, 1, 4), (5, 2, 8)])
def test_units_are_known_before_the_work_list_is_written(tmp_path, categories, per_category, unit_size):
    names = ["banana", "frog", "lion", "pear", "teapot"][:categories]
    settings = _settings(
        f"categories.names={names}",
        f"prompts.per_category={per_category}",
        f"sources.diffusion.unit_size={unit_size}",
    )
    inputs, run = resolve_inputs(settings), RunDir(tmp_path)
    write_units(run, inputs)
    assert names_of(planned(inputs)) == unit_names(run)


def test_command_takes_a_file_of_names(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("banana  # yellow\n\n# none\nfrog\n")
    command = [XPASTE, "pool", "build", "--dry-run", "--out", tmp_path / "run", "--categories", names]
    done = subprocess.run(
        [*command, "--set=sources.diffusion.unit_size=1"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "plan: 16 units" in done.stdout, done.stderr
    names.write_text("bananna\n")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "none of its names is a" in done.stderr


def test_command_plans_one_stage_after_the_other_for_all_cores(tmp_path):
    """`auto` counts for every stage, whatever the preset or --set say, and each has the machine to itself."""
    done = subprocess.run(
        [XPASTE, "pool", "build", "--dry-run", "--out", tmp_path / "run", "--plan", "sequential",
         "--resources", "auto", "--set", "resources.source.actors=99"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and "units, this stage by itself" in done.stdout, done.stderr
    cores = len(os.sched_getaffinity(0))
    actors = re.findall(r"^  (source|segment|score) +(\d+) actor", done.stdout, re.MULTILINE)
    assert actors == [(stage, str(cores)) for stage in ("source", "segment", "score")]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("options", "units"), [((), 0), (("--retry-failed",), 1)])
def test_command_runs_units_with_a_passing_failure_again_on_demand_only(lossy, options, units):
    command = ["pool", "build", "--dry-run", "--out", str(lossy), *(f"--set={one}" for one in SMALL)]
    done = CliRunner().invoke(cli.app, [*command, *options], catch_exceptions=False)
    assert done.exit_code == 0 and f"plan: {units} units of diffusion, all stages at once" in done.output, (
        done.output
    )


@pytest.fixture(scope="module")
def lossy(tmp_path_factory):
    """A run that lost an image to a failure that may have passed."""
    folder = tmp_path_factory.mktemp("lossy")
    fault = Fault("pass", ("banana-0",), folder)
    build_pool(_settings(), folder / "run", Told(), BuildOptions(code=code(source={"fault": fault})))
    return folder / "run"
