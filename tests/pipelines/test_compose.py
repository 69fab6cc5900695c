"""`xpaste compose` and what goes with it, as a user runs them: the same bytes whatever happens."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.backgrounds.material import small_dataset
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.config import DatasetSettings, load
from xpaste_ray.formats.contract import read_spec
from xpaste_ray.formats.dataset import read_images
from xpaste_ray.formats.shards import Shard, find_shards, read_fragment

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


def test_dataset_is_whole_and_valid(made):
    root, _, shown = made
    assert "compose" in shown and "40 images" in shown and "backgrounds" in shown
    coco = COCO(str(root / "reference" / "coco" / "annotations.json"))
    assert len(coco.imgs) == 40 and len({a["origin"] for a in coco.anns.values()}) == 2
    assert "is valid: 40 images" in _xpaste("validate", root / "reference")


def test_one_worker_writes_the_same_bytes(made):
    root, command, _ = made
    _xpaste("compose", *command, "--out", root / "one", "--workers=1")
    assert _bytes(root / "one") == _bytes(root / "reference")


def test_killed_and_damaged_dataset_is_finished_by_the_same_command(made):
    """A SIGKILL of the driver after the first shards; then an image and a fragment are lost."""
    root, command, _ = made
    out = root / "killed"
    process = subprocess.Popen(
        [XPASTE, *map(str, ["compose", *command, "--out", out, "--workers=1"])], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not find_shards(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
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


def test_plans_can_be_written_rendered_and_looked_at_one_by_one(made):
    root, command, _ = made
    plans = root / "planned" / "plans"
    assert str(plans) in _xpaste("compose", *command, "--out", root / "planned", "--plans-only")
    _xpaste("compose", *command, "--out", root / "rendered", "--from-plans", plans, "--seed=99")
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


def test_conversion_to_every_other_format_is_valid(made):
    root, _, _ = made
    formats = [f"--format={name}" for name in ("lvis", "yolo", "voc", "parquet")]
    assert "40 images" in _xpaste("convert", root / "reference", "--out", root / "converted", *formats)
    assert "is valid" in _xpaste("validate", root / "converted")


def test_stream_of_ray_data_gives_the_samples_of_the_compositor(made):
    import ray

    from xpaste_ray.pipelines import ray_profile
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
        ray_profile.start_ray(2)
        ray_profile.configure_data(lambda stage, done: None)
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
    _xpaste("compose", *command, f"--set=compose.size.table={root / 'sizes.json'}",
            "--set=compose.size.rule=prior", "--out", root / "fitted", "--plans-only")  # fmt: skip


def test_backgrounds_are_indexed_once(made):
    root, _, _ = made
    broken = root / "photos"
    broken.mkdir()
    (broken / "broken.jpg").write_bytes(b"not an image")
    (broken / "good.jpg").write_bytes((root / "reference/coco/images/000000.jpg").read_bytes())
    shown = _xpaste("backgrounds", "index", broken)
    assert "1 usable images" in shown and "broken.jpg: " in shown
