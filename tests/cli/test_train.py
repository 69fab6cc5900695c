"""`xpaste train` as a user meets it."""

import subprocess

import pytest

from tests.test_cli import XPASTE, _refused
from tests.training.material import disc_dataset


@pytest.fixture
def discs(tmp_path):
    return disc_dataset(tmp_path / "discs", 3)


def test_dry_run_tells_what_would_be_trained_on_what(discs, tmp_path):
    told = subprocess.run(
        [XPASTE, "train", "--preset", "demo", "--train", discs, "--mix", f"{discs}:0.25", "--val", discs,
         "--out", tmp_path / "run", "--dry-run"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert "train resnet18_fpn for 600 iterations of 4 images, 3 categories" in told
    assert "images    3, pasted on them: nothing of a pool, copy_rule none" in told
    assert "beside    25% of" in told and "validated on 3 images" in told
    assert not (tmp_path / "run").exists()


def test_wrong_use_says_what_to_do(discs, tmp_path):
    run = ("--preset", "demo", "--out", tmp_path / "run")
    assert "write it as DATASET:SHARE" in _refused("train", "--train", discs, "--mix", str(discs), *run)
    assert "is not a folder, a COCO or LVIS file" in _refused("train", "--train", tmp_path / "gone", *run)
    assert "train.detector.arch" in _refused(
        "train", "--train", discs, "--set", "train.detector.arch=resnet999", *run
    )
