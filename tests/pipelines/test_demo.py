"""The whole chain on a real local Ray: the same bytes whatever happens on the way."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from xpaste_ray.embedded import PHOTOS_DIR
from xpaste_ray.pool import open_pool
from xpaste_ray.runs import RunDir, made_by
from xpaste_ray.unit_files import read_unit, write_unit

XPASTE = Path(sys.executable).with_name("xpaste")
DEADLINE_S = 240

SMALL = [
    "categories.names=[banana,frog,lion,pear,teapot,umbrella]",
    "prompts.per_category=4",
    "sources.diffusion.steps=6",
    "sources.diffusion.unit_size=4",
    "select.min_clip_logit=10",
    "compose.count=60",
    "compose.canvas.size_hw=[128, 128]",
    "compose.samples_per_shard=1",
]
TELL_TIMES = ("run.json", "report.html", "report.json")
ONE_ACTOR = [f"resources.{stage}.actors=1" for stage in ("source", "segment", "score", "compose")]


def _command(out, *overrides):
    return [str(XPASTE), "demo", "--out", str(out), *(f"--set={o}" for o in (*SMALL, *overrides))]


def _run(out, *overrides):
    done = subprocess.run(_command(out, *overrides), capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _bytes(run):
    """Every file of a run but those that tell times."""
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in TELL_TIMES)
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def _assert_same(first, second):
    one, two = _bytes(first), _bytes(second)
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """An undisturbed run with two actors a stage."""
    out = tmp_path_factory.mktemp("demo") / "reference"
    out.with_suffix(".txt").write_text(_run(out))
    return out


def test_run_leaves_the_documented_tree(reference):
    run = json.loads((reference / "run.json").read_text())
    assert set(run) == {"format", "settings", "steps", "versions", "times", "counts"}
    pointer = json.loads((reference / "pool.json").read_text())
    manifest = json.loads((reference / pointer["current"] / "manifest.json").read_text())
    assert pointer["current"] == f"pools/{manifest['fingerprint']}"
    for name in (
        "units.parquet",
        "scores",
        "rejects.parquet",
        "preview.jpg",
        "dataset/annotations.json",
        "report.html",
    ):
        assert (reference / name).exists(), name
    assert len(list((reference / "dataset" / "images").glob("*.jpg"))) == 60


def test_closing_table_names_every_stage_and_reason(reference):
    shown = reference.with_suffix(".txt").read_text()
    for word in ("source", "segment", "score", "select+seal", "compose", "candidates", "proposals"):
        assert word in shown
    assert "annotations.json" in shown
    for stage, total in (("source", 8), ("segment", 8), ("score", 8), ("write", 8), ("compose", 60)):
        assert f"{stage} {total} of {total} " in shown  # progress reaches its end for every stage


def test_kept_plus_rejected_is_made(reference):
    counts = json.loads((reference / "run.json").read_text())["counts"]
    assert counts["candidates"]["made"] == 24
    for kind in ("candidates", "proposals"):
        outcome = counts[kind]
        assert outcome["kept"] + sum(outcome["rejected"].values()) == outcome["made"]
    rejects = pq.read_table(reference / "rejects.parquet")["kind"].to_pylist()
    assert rejects.count("candidate") == sum(counts["candidates"]["rejected"].values())
    assert len(open_pool(reference)) == counts["proposals"]["kept"]


def test_every_prompt_is_in_the_candidates_once(reference):
    asked = [
        p["candidate_id"]
        for row in pq.read_table(reference / "units.parquet")["prompts"].to_pylist()
        for p in row
    ]
    made = pq.read_table(reference / "candidates")["candidate_id"].to_pylist()
    assert sorted(made) == sorted(asked) and len(set(made)) == 24


def test_dataset_is_exact(reference):
    coco = COCO(str(reference / "dataset" / "annotations.json"))
    assert len(coco.imgs) == 60 and len(coco.anns) > 0
    for image in coco.imgs:
        total = np.zeros((128, 128), int)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image)):
            mask = coco.annToMask(annotation)
            total += mask
            assert annotation["area"] == mask.sum() and annotation["iscrowd"] == 0
            assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()
            assert coco.cats[annotation["category_id"]]["name"]
        assert total.max() <= 1


def test_annotations_lead_back_to_their_prompts(reference):
    pool = open_pool(reference)
    annotation = json.loads((reference / "dataset" / "annotations.json").read_text())["annotations"][0]
    told = pool.provenance(pool.row_of_id[annotation["instance_id"]])
    assert told["text"].startswith("a photo of a single ") and told["model"].startswith("embedded:diffusion@")
    assert told["category_id"] == annotation["category_id"]


def test_python_of_the_readme_works(reference, capsys):
    """Its snippets, with the run at hand in place of the demo's and the shipped photographs; that of the
    service, which is marked as an example, is run by the tests of its client."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    snippets = re.findall(r"(?<!-->\n)```python\n(.*?)```", readme, flags=re.DOTALL)
    assert len(snippets) == 3
    names = {}
    for code in snippets:
        exec(code.replace("runs/demo", str(reference)).replace("photos/", str(PHOTOS_DIR)), names)
    assert "a photo of a single" in capsys.readouterr().out
    try:
        images, targets = next(iter(names["batches"]))
    finally:
        ray.shutdown()
    assert [image.shape[0] for image in images] == [3, 3] and {"boxes", "masks"} <= targets[0].keys()
    assert names["dataset"][0][0].dtype == torch.float32


def test_nothing_tells_where_it_was_made(reference):
    for name, data in _bytes(reference).items():
        assert str(reference).encode() not in data, name
    for name in ("report.html", "report.json"):
        assert str(reference) not in (reference / name).read_text(), name


def test_done_run_says_so_and_changes_nothing(reference):
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*")}
    began = time.monotonic()
    assert "is done already" in _run(reference)
    assert time.monotonic() - began < 20  # no Ray, no model: seconds
    assert {path: path.stat().st_mtime_ns for path in reference.rglob("*")} == before


def test_report_that_is_gone_is_written_again_and_tells_the_same(reference):
    told = (reference / "report.html").read_bytes()
    (reference / "report.html").unlink()
    shown = _run(reference)
    assert "is done already" in shown and str(reference / "report.html") in shown
    assert (reference / "report.html").read_bytes() == told


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("sources.diffusion.steps=7", "sources.diffusion.steps: 6 -> 7"),
        ("select.min_clip_logit=11", "select.min_clip_logit: 10.0 -> 11.0"),
        ("compose.instances=[1, 2]", "compose.instances: [1, 8] -> [1, 2]"),
        ("seed=1", "  seed: 0 -> 1"),
    ],
)
def test_other_settings_are_refused_by_name(reference, override, line):
    done = subprocess.run(_command(reference, override), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and line in done.stderr and "another --out" in done.stderr


@pytest.mark.faults
def test_torn_and_foreign_files_are_made_again(reference, tmp_path):
    """A unit file that lost its end, and a fragment of another recipe, do not count as done."""
    out = tmp_path / "run"
    shutil.copytree(reference, out)
    unit = out / "candidates" / "00002" / "unit-00001.parquet"
    unit.write_bytes(unit.read_bytes()[:-100])
    fragment = sorted((out / "dataset" / "fragments").iterdir())[7]
    fragment.write_text(json.dumps(json.loads(fragment.read_text()) | {"recipe": "other"}))
    _run(out)
    _assert_same(reference, out)


def test_dataset_of_scores_that_changed_holds_no_shard_of_the_earlier_pool(reference, tmp_path):
    """As when a unit that lost an image is made again: here its images are rejected afterwards."""
    run = RunDir(shutil.copytree(reference, tmp_path / "run"))
    name = "00002/unit-00001"
    recipe = made_by(run.unit_file(name))
    lost = [
        replace(one, status="rejected", reason="unreachable", image=None, proposals=())
        for one in read_unit(run, name)
    ]
    write_unit(run, 2, 1, lost, recipe, 128)
    run.scores.remove()
    before = {path.name: path.read_text() for path in (run.dataset / "fragments").iterdir()}
    _run(run.root.path)
    after = {path.name: path.read_text() for path in (run.dataset / "fragments").iterdir()}
    assert sorted(after) == sorted(before)
    assert not {json.loads(one)["recipe"] for one in before.values()} & {
        json.loads(one)["recipe"] for one in after.values()
    }


def test_one_actor_makes_the_same_bytes_as_two(reference, tmp_path):
    _run(tmp_path / "run", *ONE_ACTOR)
    _assert_same(reference, tmp_path / "run")


def _kill_when(out, condition, *overrides):
    """Start the run, SIGKILL its driver as soon as the condition holds, and wait for it to end."""
    process = subprocess.Popen(
        _command(out, *overrides), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)


@pytest.mark.faults
def test_run_killed_at_three_moments_ends_with_the_same_bytes(reference, tmp_path):
    out = tmp_path / "run"

    def units():
        return len(list(out.glob("candidates/*/unit-*.parquet")))

    _kill_when(out, lambda: units() >= 1)
    assert units() < 8
    _kill_when(out, lambda: units() >= 5, "resources.source.actors=1")
    assert units() < 8
    _kill_when(out, lambda: list(out.glob("dataset/fragments/*.json")), "resources.source.actors=1")
    assert not (out / "dataset" / "annotations.json").exists()
    shown = _run(out, "resources.source.actors=1")
    assert "60 images" in shown
    _assert_same(reference, out)
