"""`xpaste compose --contexts`, as a user runs it: originals and contexts in one dataset."""

import json
import shutil
from collections import Counter

import pytest

from tests.backgrounds.material import encoded, picture, small_dataset
from tests.conftest import seal_discs
from tests.pipelines.test_compose import COUNTS, SMALL, _bytes, _xpaste
from xpaste_ray.pipelines.plans import open_plans
from xpaste_ray.runs import read_json

KEPT = "kept/0123456789abcdef"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pool, originals with objects, a run of contexts, and what two workers compose of them."""
    root = tmp_path_factory.mktemp("contexts")
    pool, originals = seal_discs(root / "run", COUNTS).folder, small_dataset(root / "coco")
    images = root / "contexts" / KEPT / "images"
    images.mkdir(parents=True)
    for number in range(2):
        (images / f"{number}.jpg").write_bytes(encoded(picture(seed=number), "JPEG"))
    (images / "2.jpg").write_bytes(b"")
    (root / "contexts" / "contexts.json").write_text(json.dumps({"current": KEPT}))
    command = ["--pool", pool, "--backgrounds", originals, "--contexts", root / "contexts", *SMALL[:-2],
               "--count=24", "--seed=3", "--format=coco",
               "--set=compose.background_draw=in-turn", "--set=compose.mix=[2, 1]"]  # fmt: skip
    shown = _xpaste("compose", *command, "--out", root / "reference", "--workers=2")
    return root, command, shown


def _annotations(dataset):
    return json.loads((dataset / "annotations.json").read_text())


def test_originals_and_contexts_come_in_their_ratio(made):
    """Of 24 images 16 are on originals, 8 on contexts; each of these is used alike, to one."""
    root, _, shown = made
    written = _annotations(root / "reference")
    used = Counter(image["background_id"] for image in written["images"])
    assert used == {"a.jpg": 6, "b.jpg": 5, "c.jpg": 5, "context:0.jpg": 4, "context:1.jpg": 4}
    assert "24 images in" in shown and "8 of them on contexts" in shown
    on_context = {i["id"] for i in written["images"] if i["background_id"].startswith("context:")}
    origins = {(a["image_id"] in on_context, a["origin"]) for a in written["annotations"]}
    assert origins == {(False, "background"), (False, "pool"), (True, "pool")}
    assert "is valid: 24 images" in _xpaste("validate", root / "reference")


def test_the_record_tells_how_many_there_were(made):
    counts = read_json(made[0] / "reference" / "run.json")["counts"]
    assert counts["backgrounds"] == {"usable": 3, "rejected": {}, "rejected_annotations": {}}
    assert counts["contexts"]["usable"] == 2 and sum(counts["contexts"]["rejected"].values()) == 1
    assert counts["dataset"]["on_contexts"] == 8 and counts["dataset"]["images"] == 24


def test_one_worker_writes_the_bytes_of_two(made):
    root, command, _ = made
    _xpaste("compose", *command, "--out", root / "one", "--workers=1")
    assert _bytes(root / "one") == _bytes(root / "reference")
    assert "is done already" in _xpaste("compose", *command, "--out", root / "one")


def test_contexts_that_moved_are_the_same_and_others_are_another_dataset(made):
    """The folder of a run's images is what the run is."""
    root, command, _ = made
    elsewhere = root / "elsewhere"
    shutil.copytree(root / "contexts" / KEPT / "images", elsewhere)
    place = command.index("--contexts") + 1
    moved = [*command[:place], elsewhere, *command[place + 1 :]]
    assert "is done already" in _xpaste("compose", *moved, "--out", root / "reference")
    (elsewhere / "1.jpg").write_bytes(encoded(picture(seed=9), "JPEG"))
    refused = _xpaste("compose", *moved, "--out", root / "reference", code=2)
    assert "backgrounds: " in refused and "another --out" in refused
    refused = _xpaste("compose", *command, "--set=compose.mix=[1, 1]", "--out", root / "reference", code=2)
    assert "mix: " in refused


def test_a_plan_on_a_context_is_rendered_alone(made):
    root, command, _ = made
    _xpaste("compose", *command, "--out", root / "planned", "--plans-only")
    plans = open_plans(root / "planned" / "plans")
    assert plans.plan(2).background_id == "context:0.jpg"
    one = [*command[:4], "--plans", root / "planned" / "plans", "--sample=2"]
    told = json.loads(_xpaste("render", *one, *command[4:6], "--out", root / "2.jpg"))
    assert (told["index"], told["background_id"]) == (2, "context:0.jpg")
    assert (root / "2.jpg").read_bytes() == (root / "reference/images/000002.jpg").read_bytes()
    refused = _xpaste("render", *one, "--out", root / "none.jpg", code=2)
    assert "asks for background context:0.jpg, which these do not have" in refused


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ("/no/such/folder", "contexts: /no/such/folder is not a folder"),
        ("coco", "contexts: they have annotations, which would be lost"),
    ],
)
def test_wrong_contexts_are_refused_before_anything_starts(made, contexts, message):
    root, command, _ = made
    place = command.index("--contexts") + 1
    wrong = [*command[:place], root / contexts, *command[place + 1 :]]
    error = _xpaste("compose", *wrong, "--out", root / "refused", code=2)
    assert message in error and "Traceback" not in error and not (root / "refused" / "fragments").exists()
