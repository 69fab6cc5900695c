"""`xpaste sizes fit` as a user meets it."""

import json
import subprocess

import pytest

from tests.test_cli import XPASTE, _refused

FILE = {
    "images": [{"id": 1, "height": 100, "width": 100}],
    "annotations": [
        {"image_id": 1, "category_id": 3, "bbox": [0, 0, 20, 20]},
        {"image_id": 2, "category_id": 3, "bbox": [0, 0, 20, 20]},
    ],
}


def _fit(folder, *arguments):
    return subprocess.run(
        [XPASTE, "sizes", "fit", *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_the_table_goes_into_the_current_folder_and_says_so(tmp_path):
    (tmp_path / "annotations.json").write_text(json.dumps(FILE))
    done = _fit(tmp_path, "annotations.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "annotations left out: unknown_image 1",
        "1 categories in sizes.json: compose with --set compose.size.table=sizes.json",
    ]
    assert json.loads((tmp_path / "sizes.json").read_text())["3"] == pytest.approx([0.2, 0.0])


def test_a_file_that_is_there_is_kept(tmp_path):
    (tmp_path / "annotations.json").write_text(json.dumps(FILE))
    assert _fit(tmp_path, "annotations.json", "--out", "annotations.json").returncode == 2
    assert json.loads((tmp_path / "annotations.json").read_text()) == FILE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a file"),
        ("{}", "no COCO or LVIS file"),
        ("[]", "does not hold a JSON object"),
        ("{", "is not readable"),
        (json.dumps({"images": [], "annotations": []}), "no boxes to fit sizes from"),
    ],
)
def test_what_sizes_cannot_be_fitted_from_is_refused(tmp_path, text, message):
    path = tmp_path / "annotations.json"
    if text is not None:
        path.write_text(text)
    assert message in _refused("sizes", "fit", path, "--out", tmp_path / "sizes.json")
    assert not (tmp_path / "sizes.json").exists()
