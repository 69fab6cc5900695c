"""The whole of EM-Paste in one command: every part is made, joined to the next, and found done later."""

import json

import cv2
import pytest
from typer.testing import CliRunner

from xpaste_ray.cli import app
from xpaste_ray.embedded import LABELLED_DIR
from xpaste_ray.formats.validate import validate
from xpaste_ray.pool import open_pool

pytestmark = pytest.mark.faults  # minutes on two cores

IMAGES = 8


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Of a small form: a few of the shipped images, no training, few steps."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "images").mkdir()
    rows = (LABELLED_DIR / "labels.csv").read_text().splitlines()[: IMAGES + 1]
    for row in rows[1:]:
        name = row.partition(",")[0]
        (folder / name).write_bytes((LABELLED_DIR / name).read_bytes())
    (folder / "labels.csv").write_text("\n".join(rows))
    told = [
        f"foregrounds.images.path={folder / 'labels.csv'}",
        f"contexts.images.path={folder / 'labels.csv'}",
        "foregrounds.classifier={kind: clip, model: embedded:clip}",
        "foregrounds.segment.methods={slic: {kind: slic, segments: [40], max_masks: 10}}",
        "contexts.fraction=0.25", "contexts.per_caption=2", "contexts.select.keep=1",
        "contexts.source.steps=2", "contexts.source.unit_size=2", "compose.count=9",
    ]  # fmt: skip
    return [part for one in told for part in ("--set", one)]


def test_every_part_is_made_joined_to_the_next_and_found_done_later(options, tmp_path):
    out = tmp_path / "run"
    command = ["demo", "--preset", "empaste-demo", "--out", str(out), *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    for name in ("foregrounds.png", "contexts.png", "preview.jpg"):
        assert cv2.imread(str(out / name)) is not None, name
    told = json.loads((out / "report.json").read_text())
    assert [chapter["name"] for chapter in told["chapters"]] == ["foregrounds", "contexts", "dataset"]

    report = validate(out / "dataset")
    assert report.errors == 0 and report.images == 9
    told = json.loads((out / "dataset" / "annotations.json").read_text())
    contexts = [one for one in told["images"] if one["background_id"].startswith("context:")]
    assert len(contexts) == 3  # two originals for each context
    pool = open_pool(out / "foregrounds")
    pasted = {one["source_id"] for one in told["annotations"] if one["origin"] == "pool"}
    assert pasted and pasted <= set(pool.instance_ids)
    assert any(one["origin"] == "background" for one in told["annotations"])  # masks of the originals stay

    before = (out / "dataset" / "annotations.json").read_bytes()
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0 and again.output.count("is done already") == 3
    assert (out / "dataset" / "annotations.json").read_bytes() == before
