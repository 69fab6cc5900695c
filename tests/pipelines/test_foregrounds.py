"""Images with labels become a pool and annotations, through a real Ray: the same bytes however wide and
however often, another choice without a model, nothing lost."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from typer.testing import CliRunner

from tests.conftest import seal_discs
from tests.pipelines.progress import Told
from xpaste_ray.cli import app
from xpaste_ray.config import ForegroundSettings, load
from xpaste_ray.embedded.labelled import SHIPPED_STYLE, labelled_scene
from xpaste_ray.errors import ConfigError
from xpaste_ray.foregrounds.record import read_choices, read_refinement
from xpaste_ray.pipelines.foreground_picture import foreground_picture
from xpaste_ray.pipelines.foregrounds import make_foregrounds
from xpaste_ray.pipelines.select import select_pool
from xpaste_ray.pipelines.verify import verify_pool
from xpaste_ray.pool import current_pool, open_pool
from xpaste_ray.pool.merge import merge_pools
from xpaste_ray.runs import RunDir, open_parquet, read_json
from xpaste_ray.storage import locate

pytestmark = pytest.mark.faults  # minutes on two cores

IMAGES = 12
CLIP = "foregrounds.classifier={kind: clip, model: embedded:clip, micro_batch: 8}"
FEW = "foregrounds.segment.methods.slic={kind: slic, segments: [40], max_masks: 12}"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Twelve labelled images, one that is no image, and one without a label."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = ["path,category"]
    for index in range(IMAGES):
        scene = labelled_scene(5, index, SHIPPED_STYLE)
        cv2.imwrite(str(folder / f"{index:02d}.png"), scene.image[..., ::-1])
        rows.append(f"{index:02d}.png,{';'.join(scene.labels)}")
    (folder / "broken.png").write_bytes(b"no image")
    rows += ["broken.png,frog", "00.png,", "gone.png,frog"]
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder / "labels.csv"


def _settings(images, *overrides, actors=1):
    given = {"foregrounds.images.path": str(images)}
    given |= {f"resources.{stage}": {"actors": actors} for stage in ("fetch", "segment", "score")}
    return load(ForegroundSettings, "empaste-demo", [CLIP, FEW, *overrides], given)


def _bytes(out):
    """Of everything but `run.json`, whose times differ."""
    files = (path for path in Path(out).rglob("*") if path.is_file())
    return {
        str(p.relative_to(out)): p.read_bytes() for p in files if p.name not in ("run.json", ".lease.json")
    }


@pytest.fixture(scope="module")
def made(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("foregrounds") / "run"
    return out, make_foregrounds(_settings(images), out, Told())


def test_kept_and_rejected_are_what_was_made(made):
    out, summary = made
    counts = summary.counts
    assert counts["images"]["usable"] == IMAGES + 1  # broken.png is listed; what it is, reading tells
    assert counts["images"]["rejected"] == {"missing_image": 1}
    for kind in ("candidates", "proposals"):
        told = counts[kind]
        assert told["made"] == told["kept"] + sum(told["rejected"].values())
    assert counts["candidates"]["rejected"]["unsupported_format"] == 1
    assert counts["proposals"]["kept"] == len(open_pool(out))


def test_instances_tell_the_image_and_the_box_that_they_come_from(made, images):
    pool = open_pool(made[0])
    one = pool.provenance(0)
    image = cv2.imread(str(images.parent / one["uri"]))
    left, top, width, height = one["source_box_xywh"]
    assert one["source_size_hw"] == list(image.shape[:2])
    assert left + width <= image.shape[1] and top + height <= image.shape[0]
    assert set(dict(one["scores"])) == {"cam_distance", "class_score"}


def test_annotations_are_the_instances_as_masks_of_the_images(made):
    out, summary = made
    coco, pool = COCO(str(out / "annotations.json")), open_pool(out)
    told = coco.loadAnns(coco.getAnnIds())
    assert {one["instance_id"] for one in told} == set(pool.instance_ids)
    for one in told:
        box = pool.provenance(pool.row_of_id[one["instance_id"]])["source_box_xywh"]
        assert np.abs(np.subtract(box, one["bbox"])).max() <= 1  # a soft rim is in the cut-out only
    assert summary.counts["annotations"] == {"images": len(coco.imgs), "annotations": len(told)}


def test_a_finished_run_says_so_and_changes_nothing(made, images):
    before = _bytes(made[0])
    assert make_foregrounds(_settings(images), made[0], Told()).already_done
    assert _bytes(made[0]) == before


def test_two_actors_make_the_bytes_of_one(made, images, tmp_path):
    make_foregrounds(_settings(images, actors=2), tmp_path / "run", Told())
    assert _bytes(tmp_path / "run") == _bytes(made[0])


def test_other_options_of_the_choice_need_no_model(made, images, tmp_path):
    """Unit files stay; a second pool lies beside the first, and annotations follow it."""
    out = made[0]
    before, first = _bytes(out), current_pool(out).name
    make_foregrounds(_settings(images, "foregrounds.em.iterations=0"), out, Told())
    after, second = _bytes(out), current_pool(out).name
    assert second != first and json.loads((out / "annotations.json").read_text())["info"]["recipe"] == second
    for name, data in before.items():
        if name.startswith(("candidates", f"pools/{first}", "scores", "units")):
            assert after[name] == data, name
    choices = read_choices(current_pool(out))
    assert all(len(steps) == 1 for steps in choices.values())  # step 1 alone
    make_foregrounds(_settings(images), out, Told())  # and back, by pointing
    assert _bytes(out)["annotations.json"] == before["annotations.json"]


def test_the_record_tells_each_category_and_each_step(made, images):
    folder = current_pool(made[0])
    told = {one["category"]: one for one in read_refinement(folder)}
    pairs = sum(one["images"] for one in told.values())
    scores = open_parquet(RunDir(made[0]).scores).read(["candidate_id", "status"])
    usable = scores.filter([status == "ok" for status in scores["status"].to_pylist()])
    assert pairs == len(set(usable["candidate_id"].to_pylist()))
    for one in told.values():
        assert one["fallback"] or 1 <= len(one["iterations"]) <= 3


def test_other_models_are_refused_and_named(made, images):
    with pytest.raises(ConfigError, match=r"foregrounds.segment.methods.slic.segments: \[40\] -> \[50\]"):
        other = "foregrounds.segment.methods.slic={kind: slic, segments: [50], max_masks: 12}"
        make_foregrounds(_settings(images, other), made[0], Told())


def test_verify_reads_the_run_as_it_reads_a_pools(made):
    assert verify_pool(RunDir(made[0]), Told()) == []


def test_selecting_as_from_a_pool_says_what_to_run_instead(made):
    with pytest.raises(ConfigError, match="xpaste foregrounds"):
        select_pool(str(made[0]), Told())


def test_it_meets_a_pool_of_another_kind_in_one(made, tmp_path):
    other = seal_discs(tmp_path / "discs", {"banana": 2})
    counts = merge_pools([open_pool(made[0]), other], locate(tmp_path / "both"))
    both = open_pool(tmp_path / "both")
    assert len(both) == len(open_pool(made[0])) + 2, counts
    banana = next(one.id for one in both.categories if one.name == "banana")
    sources = [both.provenance(row)["source"] for row in both.rows_by_category[banana]]
    assert {"images", "hand"} == set(sources)


def test_the_picture_shows_a_row_for_each_image(made, images):
    drawn = foreground_picture(RunDir(made[0]), _settings(images), rows=3)
    one = foreground_picture(RunDir(made[0]), _settings(images), rows=1)
    assert drawn.shape[0] > 2 * one.shape[0] and drawn.shape[1] == one.shape[1]


def test_a_classifier_is_trained_on_the_labels_once(images, tmp_path):
    resnet = "foregrounds.classifier={kind: resnet, arch: resnet18, side_px: 32, epochs: 1, micro_batch: 8}"
    settings = _settings(images, resnet)
    make_foregrounds(settings, tmp_path / "run", Told())
    trained = RunDir(tmp_path / "run").classifier
    weights = (trained / "model.safetensors").read_bytes()
    assert (trained / "loss.png").exists() and (trained / "training.json").exists()
    (tmp_path / "run" / "pool.json").unlink()
    make_foregrounds(settings, tmp_path / "run", Told())
    assert (trained / "model.safetensors").read_bytes() == weights
    assert read_json(tmp_path / "run" / "run.json")["steps"]["score"]["settings"]["foregrounds"]["classifier"]


def test_the_command_has_the_same_settings_and_finds_all_done(made, images):
    before = _bytes(made[0])
    told = ["foregrounds", "--images", str(images), "--out", str(made[0]), "--preset", "empaste-demo"]
    result = CliRunner().invoke(app, [*told, "--set", CLIP, "--set", FEW])
    assert result.exit_code == 0, result.output
    assert "is done already" in result.output and "annotations.json" in result.output
    assert "F-EM: images whose segment changed" in result.output
    assert _bytes(made[0]) == before
