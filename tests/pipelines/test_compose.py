"""`xpaste compose` and what goes with it, as a user runs them: the same bytes whatever happens."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO

from tests.backgrounds.material import small_dataset
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.config import DatasetSettings, load
from xpaste_ray.formats.contract import read_spec
from xpaste_ray.formats.dataset import read_images
from xpaste_ray.formats.shards import Shard, find_shards, read_fragment
from xpaste_ray.pipelines.plans import open_plans

XPASTE = Path(sys.executable).with_name("xpaste")
COUNTS = {"banana": 2, "frog": 1, "lion": 3}
SMALL = [
    "--set=compose.canvas.size_hw=[96, 96]",
    "--set=compose.size.rule=image",
    "--set=compose.size.factor=[0.2, 0.5]",
    "--set=compose.blend=[hard, alpha, gaussian]",
    "--set=compose.samples_per_shard=4",
    "--count=40",
    "--seed=3",
]


def _xpaste(*arguments, code=0):
    done = subprocess.run([XPASTE, *map(str, arguments)], capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def _uncounted(command):
    """Without --count, as plans tell their own."""
    return [argument for argument in command if argument != "--count=40"]


def _bytes(dataset):
    """Every file but `run.json`, which tells times, and the lock."""
    files = (path for path in dataset.rglob("*") if path.is_file() and path.name not in ("run.json", ".lock"))
    return {path.relative_to(dataset).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pool, annotated backgrounds, and the dataset that two workers compose of them undisturbed."""
    from tests.conftest import seal_discs

    root = tmp_path_factory.mktemp("compose")
    pool = seal_discs(root / "run", COUNTS).folder
    backgrounds = small_dataset(root / "coco")
    command = ["--pool", pool, "--backgrounds", backgrounds, *SMALL, "--format=coco", "--format=webdataset"]
    shown = _xpaste("compose", *command, "--out", root / "reference", "--workers=2")
    return root, command, shown


@pytest.fixture(scope="module")
def plans(made):
    """The plans of that dataset."""
    root, command, _ = made
    plans = root / "planned" / "plans"
    assert str(plans) in _xpaste("compose", *command, "--out", root / "planned", "--plans-only")
    return plans


def test_dataset_is_whole_and_valid(made):
    root, _, shown = made
    assert "compose" in shown and "40 images" in shown and "backgrounds" in shown
    coco = COCO(str(root / "reference" / "coco" / "annotations.json"))
    assert len(coco.imgs) == 40 and len({a["origin"] for a in coco.anns.values()}) == 2
    assert "is valid: 40 images" in _xpaste("validate", root / "reference")


@pytest.mark.parametrize("workers", [1, 8])
def test_any_number_of_workers_writes_the_same_bytes(made, workers):
    root, command, _ = made
    out = root / f"workers-{workers}"
    _xpaste("compose", *command, "--out", out, f"--workers={workers}")
    assert _bytes(out) == _bytes(root / "reference")


@pytest.mark.faults
def test_killed_worker_is_replaced_and_the_bytes_are_the_same(made):
    root, command, _ = made
    many = [*_uncounted(command), "--count=120", "--set=compose.samples_per_shard=2"]
    out, undisturbed = root / "worker-killed", root / "undisturbed"
    process = _start("compose", *many, "--out", out, "--workers=1")
    _wait(lambda: _compose_workers(process.pid), process)
    (worker,) = _compose_workers(process.pid)
    _wait(lambda: len(find_shards(out)) >= 2, process)
    os.kill(worker, signal.SIGKILL)
    assert process.wait(timeout=200) == 0
    _xpaste("compose", *many, "--out", undisturbed)
    assert _bytes(out) == _bytes(undisturbed)


def _start(*arguments):
    return subprocess.Popen([XPASTE, *map(str, arguments)], stdout=subprocess.DEVNULL)


def _wait(condition, process):
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def _compose_workers(driver):
    """Process ids of the actors that compose, in the Ray that the driver started."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}

    def below(pid):
        return pid == driver or (pid in parents and below(parents[pid]))

    return [int(pid) for pid, _, name in rows if "MapBatches(compose)" in name and below(int(pid))]


@pytest.mark.faults
def test_killed_and_damaged_dataset_is_finished_by_the_same_command(made):
    """A SIGKILL of the driver after the first shards; then an image and a fragment are lost."""
    root, command, _ = made
    out = root / "killed"
    process = _start("compose", *command, "--out", out, "--workers=1")
    _wait(lambda: find_shards(out), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert find_shards(out) and not (out / "dataset.json").exists()
    _xpaste("compose", *command, "--out", out)
    assert _bytes(out) == _bytes(root / "reference")
    (out / "coco" / "images" / "000005.jpg").unlink()
    (out / "fragments" / "00000016-00000019.json").write_text("{}")
    shown = _xpaste("compose", *command, "--out", out)
    assert "8 of 10 shards are done" in shown and _bytes(out) == _bytes(root / "reference")
    assert "is done already" in _xpaste("compose", *command, "--out", out)


def test_plans_can_be_written_rendered_and_looked_at_one_by_one(made, plans):
    root, command, _ = made
    several = [*_uncounted(command), "--out", root / "rendered", "--from-plans", plans]
    _xpaste("compose", *several, "--seed=99")
    assert "--count goes without" in _xpaste("compose", *several, "--count=8", code=2)
    for shard in (Shard(0, 3), Shard(36, 39)):
        first, second = (read_fragment(root / name, shard) for name in ("reference", "rendered"))
        assert (first.samples, first.counts) == (second.samples, second.counts)
        images = [
            list(read_images(root / name, shard, read_spec(root / name)))
            for name in ("reference", "rendered")
        ]
        assert images[0] == images[1]
    one = ["--pool", command[1], "--backgrounds", command[3], "--plans", plans, "--sample=21"]
    told = json.loads(_xpaste("render", *one, "--out", root / "21.jpg"))
    assert told["index"] == 21
    assert (root / "21.jpg").read_bytes() == (root / "reference/coco/images/000021.jpg").read_bytes()
    assert "it has 0 to 39" in _xpaste("render", *one[:-1], "--sample=40", "--out", root / "x.png", code=2)
    worse = [*one, "--out", root / "worse.jpg", "--set=compose.output.quality=10"]
    _xpaste("render", *worse)
    assert (root / "worse.jpg").stat().st_size < (root / "21.jpg").stat().st_size / 2


@pytest.mark.faults
def test_what_a_worker_meets_is_told_as_an_error_not_as_a_trace(made, plans, tmp_path):
    """Plans of another pool, and a background that changed since it was indexed."""
    from tests.conftest import seal_discs

    _, command, _ = made
    other = seal_discs(tmp_path / "other", {"lion": 1}).folder
    foreign = ["--pool", other, *_uncounted(command)[2:], "--out", tmp_path / "a", "--from-plans", plans]
    photos = tmp_path / "photos"
    shutil.copytree(Path(command[3]).parent / "images", photos)
    _xpaste("backgrounds", "index", photos)
    changed = sorted(photos.iterdir())[0]
    status = changed.stat()
    changed.write_bytes(changed.read_bytes()[:-2] + b"??")
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))  # so that the index is not made again
    replaced = [*command[:2], "--backgrounds", photos, *command[4:], "--out", tmp_path / "b"]
    for arguments, named in (
        (foreign, "render it with the pool that it was planned with"),
        (replaced, f"{changed.name} has changed"),
    ):
        error = _xpaste("compose", *arguments, code=2)
        assert named in error and "Traceback" not in error and error.count("error:") == 1


def test_unfinished_plans_are_refused_and_edited_ones_are_another_dataset(made, plans, tmp_path):
    _, command, _ = made
    edited = tmp_path / "plans"
    shutil.copytree(plans, edited)
    arguments = [*_uncounted(command), "--out", tmp_path / "out", "--from-plans", edited]
    _xpaste("compose", *arguments)
    file = sorted(edited.glob("*.parquet"))[-1]
    table = pq.read_table(file)
    wider = table.set_column(
        table.schema.get_field_index("mask_rate"), "mask_rate", pa.array([2.0] * len(table))
    )
    pq.write_table(wider.cast(table.schema), file)
    assert "plans: " in _xpaste("compose", *arguments, code=2)
    file.unlink()
    assert f"{file} is missing" in _xpaste("compose", *arguments, code=2)
    (edited / "plans.json").unlink()
    assert "holds only some of its plans" in _xpaste("compose", *arguments, code=2)


def test_conversion_to_every_other_format_is_valid(made):
    root, _, _ = made
    formats = [f"--format={name}" for name in ("lvis", "yolo", "voc", "parquet")]
    assert "40 images" in _xpaste("convert", root / "reference", "--out", root / "converted", *formats)
    assert "is valid" in _xpaste("validate", root / "converted")


def test_stream_of_ray_data_gives_the_samples_of_the_compositor(made):
    import ray

    from xpaste_ray.pipelines.dataset import open_job
    from xpaste_ray.pipelines.stream import DetectionBatch, composed_samples

    _, command, _ = made
    overrides = [option.removeprefix("--set=") for option in SMALL if option.startswith("--set=")]
    settings = load(
        DatasetSettings,
        "xpaste",
        [*overrides, "compose.count=20", f"compose.backgrounds={command[3]}", "seed=3"],
    )
    job = open_job(settings, command[1])
    compositor = Compositor(job.pool, job.backgrounds, job.settings, 3)
    try:
        stream = composed_samples(job, actors=2)
        batches = list(stream.iter_torch_batches(batch_size=8, collate_fn=DetectionBatch()))
    finally:
        ray.shutdown()
    found = {
        t["image_id"]: (i, t) for images, targets in batches for i, t in zip(images, targets, strict=True)
    }
    assert sorted(found) == list(range(20))
    for number in (0, 7, 19):
        composed = compositor.compose(number)
        image, target = found[number]
        assert np.array_equal(image.permute(1, 2, 0), composed.image)
        assert target["area"].tolist() == [a.area for a in composed.sample.annotations]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--pool=/no/such/pool"], "holds no sealed pool"),
        (["--backgrounds=/no/such/folder"], "/no/such/folder"),
        (["--set=compose.size.table=/no/table.json"], "size.table: /no/table.json is not a file"),
        (["--format=cocoo"], "compose.output.formats"),
        (["--exclude-categories=dgo"], "unknown category 'dgo'"),
        (["--preset=xpast"], "did you mean 'xpaste'?"),
        (["--from-plans=/tmp"], "holds no plans"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(made, changes, message):
    root, command, _ = made
    if changes[0].startswith("--from-plans"):
        command = _uncounted(command)
    error = _xpaste("compose", *command, "--out", root / "refused", *changes, code=2)
    assert message in error and "Traceback" not in error and error.count("error:") == 1
    assert not (root / "refused" / "fragments").exists()


def test_other_settings_and_foreign_folders_are_refused(made):
    root, command, _ = made
    error = _xpaste("compose", *command, "--seed=4", "--out", root / "reference", code=2)
    assert "seed: 3 -> 4" in error and "another --out" in error
    (root / "foreign").mkdir()
    (root / "foreign" / "thesis.tex").touch()
    assert "thesis.tex" in _xpaste("compose", *command, "--out", root / "foreign", code=2)


def test_sizes_are_fitted_and_used(made):
    root, command, _ = made
    annotations = root / "reference" / "coco" / "annotations.json"
    assert "categories in" in _xpaste("sizes", "fit", annotations, "--out", root / "sizes.json")
    table = json.loads((root / "sizes.json").read_text())
    assert set(table) > {"45", "overall"} and 0.1 < table["45"][0] < 0.6
    again = ["compose", *command, f"--set=compose.size.table={root / 'sizes.json'}",
             "--set=compose.size.rule=prior", "--out", root / "fitted", "--plans-only"]  # fmt: skip
    _xpaste(*again)
    (root / "elsewhere").mkdir()
    moved = (root / "sizes.json").rename(root / "elsewhere" / "sizes.json")
    _xpaste(*again, f"--set=compose.size.table={moved}")
    moved.write_text(json.dumps(table | {"overall": [0.5, 0.1]}))
    assert "size.table: " in _xpaste(*again, f"--set=compose.size.table={moved}", code=2)


def test_backgrounds_can_be_named_in_every_way(made, tmp_path):
    """Images apart from their JSON file, a Parquet column of any name, and excluded categories."""
    _, command, _ = made
    file = Path(command[3])
    apart = tmp_path / "apart"
    shutil.copytree(file.parent / "images", apart)
    alone = tmp_path / "alone.json"
    alone.write_bytes(file.read_bytes())
    few = [*command[:2], *SMALL[:-2], "--count=8", "--plans-only"]
    _xpaste("compose", *few, "--backgrounds", alone, "--images", apart, "--out", tmp_path / "a")
    data = [path.read_bytes() for path in sorted(apart.iterdir())]
    pq.write_table(pa.table({"photo": data, "thumbnail": data}), tmp_path / "photos.parquet")
    parquet = ["--backgrounds", tmp_path / "photos.parquet"]
    error = _xpaste("compose", *few, *parquet, "--out", tmp_path / "b", code=2)
    assert "photo, thumbnail" in error
    _xpaste("compose", *few, *parquet, "--column=photo", "--out", tmp_path / "b")
    _xpaste("compose", *few, "--backgrounds", file, "--exclude-categories=dog", "--out", tmp_path / "c")
    plans = open_plans(tmp_path / "c" / "plans")
    used = {plan.background_id for shard in plans.shards for plan in plans.read(shard)}
    coco = COCO(str(file))
    (dog,) = coco.getCatIds(catNms=["dog"])
    assert used and not used & {coco.imgs[number]["file_name"] for number in coco.getImgIds(catIds=[dog])}


def test_backgrounds_are_indexed_once(made):
    root, _, _ = made
    broken = root / "photos"
    broken.mkdir()
    (broken / "broken.jpg").write_bytes(b"not an image")
    (broken / "good.jpg").write_bytes((root / "reference/coco/images/000000.jpg").read_bytes())
    shown = _xpaste("backgrounds", "index", broken)
    assert "1 usable images" in shown and "broken.jpg: " in shown
