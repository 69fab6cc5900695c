"""`xpaste longtail` as a user meets it."""

import json
import subprocess

from pycocotools.coco import COCO

from tests.backgrounds.material import small_dataset
from tests.test_cli import XPASTE, _refused


def _longtail(*arguments):
    return subprocess.run(
        [XPASTE, "longtail", *arguments], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_part_and_plot_are_written_and_said(tmp_path):
    out = tmp_path / "part.json"
    told = _longtail(small_dataset(tmp_path), "--max", "2", "--seed", "3", "--out", out)
    assert sorted(COCO(str(out)).getImgIds()) == [7, 9]  # the third shows nothing
    assert (tmp_path / "part.png").read_bytes().startswith(b"\x89PNG")
    assert "2 images, 4 masks of 3 classes, 2 to 1 a class; 0.0% of the masks are too many or too few" in told
    assert told.splitlines()[-2:] == [str(out), str(tmp_path / "part.png")]
    before = out.read_bytes()
    _longtail(tmp_path / "annotations.json", "--max", "2", "--seed", "3", "--out", out)
    assert out.read_bytes() == before


def test_what_would_be_lost_or_is_nothing_is_refused(tmp_path):
    path = small_dataset(tmp_path)
    whole = json.loads(path.read_text())
    assert "holds something else" in _refused("longtail", path, "--max", "1", "--out", path)
    assert json.loads(path.read_text()) == whole
    assert "ends in .json" in _refused("longtail", path, "--out", tmp_path / "part.txt")
    assert "is not a file" in _refused("longtail", tmp_path / "gone.json", "--out", tmp_path / "part.json")
    assert "--min must be" in _refused(
        "longtail", path, "--min", "9", "--max", "2", "--out", tmp_path / "p.json"
    )
    assert not list(tmp_path.glob("p*"))
