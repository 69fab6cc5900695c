"""The README's way to the X-Paste experiment on LVIS, from nothing: every command, as it is planned."""

import subprocess

import pytest

from tests.backgrounds.material import square, write_dataset
from tests.conftest import seal_discs
from tests.test_cli import XPASTE

# What stands in for weights that only a GPU's owner has.
_EMBEDDED = (
    "sources.diffusion.model=embedded:diffusion",
    "sources.diffusion.size_hw=null",
    "sources.diffusion.dtype=float32",
    "score.model=embedded:clip",
    "segment.methods={grabcut: {kind: grabcut}}",
    "categories.names=[banana, frog]",
)


@pytest.fixture
def lvis(tmp_path):
    """An image of a banana, looked through for frogs, too."""
    image = {"id": 1, "file_name": "1.jpg", "height": 64, "width": 64, "neg_category_ids": [421],
             "not_exhaustive_category_ids": []}  # fmt: skip
    banana = {"id": 1, "image_id": 1, "category_id": 45, "bbox": [4, 4, 20, 20], "area": 400,
              "segmentation": [square(4, 4, 20)]}  # fmt: skip
    categories = [
        {"id": 45, "name": "banana", "frequency": "f"},
        {"id": 421, "name": "frog", "frequency": "c"},
    ]
    return write_dataset(tmp_path, [image], [banana], categories)


def _plan(*arguments, changes=()):
    """What a command tells with --dry-run."""
    sets = [word for change in changes for word in ("--set", change)]
    done = subprocess.run(
        [XPASTE, *arguments, *sets, "--dry-run"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_whole_chain_is_planned_as_one_study(lvis, tmp_path):
    """Without the weights, which only the work itself needs."""
    data = (f"data.train={lvis}", f"data.test={lvis}")
    told = _plan("study", "xpaste-lvis", "--out", tmp_path / "runs", changes=data)
    assert "generated" in told and "real" in told and "x-paste" in told
    assert not (tmp_path / "runs").exists()


def test_each_command_by_hand_is_planned(lvis, tmp_path):
    told = _plan("pool", "build", "--preset", "xpaste", "--out", tmp_path / "pool", changes=_EMBEDDED)
    assert "plan: 100 units of diffusion" in told
    from_nothing = ("train.detector.weights=null",)
    told = _plan("train", "--train", lvis, "--out", tmp_path / "real", changes=from_nothing)
    assert "train resnet50_fpn_v2 for 180,000 iterations of 64 images, 2 categories" in told
    assert "pasted on them: nothing of a pool, copy_rule none" in told
    pool = seal_discs(tmp_path / "sealed", {"banana": 2, "frog": 1}).folder
    told = _plan(
        "train", "--train", lvis, "--paste", pool, "--out", tmp_path / "x-paste", changes=from_nothing
    )
    assert "pasted on them: 3 instances of a pool, copy_rule pool" in told
