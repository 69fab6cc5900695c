"""`xpaste contexts` on a real local Ray, with the embedded models and captions that are given."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.models.blips import WORDS, picture, save_blip
from tests.pipelines.progress import Told
from xpaste_ray.backgrounds import resolve_contexts
from xpaste_ray.config import parse_settings
from xpaste_ray.config.contexts import ContextSettings
from xpaste_ray.contexts.distractors import Distractors
from xpaste_ray.contexts.sheet import draw_sheets
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.pipelines.context_inputs import chosen_images
from xpaste_ray.pipelines.context_show import shown_contexts
from xpaste_ray.pipelines.contexts import make_contexts, plan_contexts
from xpaste_ray.runs import RunDir
from xpaste_ray.sources.labelled import open_labelled
from xpaste_ray.unit_files import read_unit

CAPTIONS = """path,caption
frog/0.png,A frog next to a banana.
frog/0.png,a photo of a single umbrella
lion/1.png,a violin on a table
lion/1.png,two lions
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two images, of a frog and of a lion, with two captions each; words for a frog, none for a lion."""
    folder = tmp_path_factory.mktemp("contexts")
    for number, name in enumerate(("frog", "lion")):
        (folder / "photos" / name).mkdir(parents=True)
        Image.fromarray(picture(number)).save(folder / "photos" / name / f"{number}.png")
    (folder / "captions.csv").write_text(CAPTIONS)
    (folder / "words.yaml").write_text("categories: {frog: animal, lion: beast}\nwords: {beast: [lion]}\n")
    return folder


def settings(data, **contexts):
    told = {
        "images": {"path": str(data / "photos")},
        "captions": {"kind": "given", "file": str(data / "captions.csv")},
        "distractors": str(data / "words.yaml"),
        "source": {"kind": "diffusion", "model": "embedded:diffusion", "steps": 2, "dtype": "float32",
                   "unit_size": 4, "threads": 1},
        "per_caption": 3,
        "score": {"model": "embedded:clip", "micro_batch": 4, "threads": 1},
        "select": {"keep": 2},
        **contexts,
    }  # fmt: skip
    one = {"actors": 1}
    resources = {"source": one, "segment": one, "score": one, "compose": one, "fetch": one}
    return parse_settings(ContextSettings, {"seed": 0, "contexts": told, "resources": resources})


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "reference"
    summary = make_contexts(settings(data), out, Told())
    return out, summary


def current(out):
    return out / json.loads((out / "contexts.json").read_text())["current"]


def kept(out):
    return pq.read_table(current(out) / "contexts.parquet").to_pylist()


def contents(out):
    files = (path for path in Path(out).rglob("*") if path.is_file() and path.name != "run.json")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_every_caption_is_told_with_what_became_of_it(finished):
    out, _ = finished
    rows = pq.read_table(out / "texts.parquet").to_pylist()
    assert [(row["image"], row["ordinal"], row["status"], row["reason"]) for row in rows] == [
        ("frog/0.png", 0, "ok", None),
        ("frog/0.png", 1, "ok", None),
        ("lion/1.png", 0, "ok", None),
        ("lion/1.png", 1, "rejected", "no_distractor"),
    ]
    word = rows[0]["replaced"][0]["word"]
    assert rows[0]["text"] == f"A {word} next to a banana." and word not in ("frog", "lion")
    assert rows[1]["text"] == rows[1]["caption"] == "a photo of a single umbrella"


def test_counts_balance(finished):
    _, summary = finished
    assert summary.counts == {
        "images": {"made": 2, "kept": 2, "rejected": {}},
        "captions": {"made": 4, "kept": 3, "rejected": {"no_distractor": 1}},
        "contexts": {"made": 9, "kept": 6, "rejected": {"low_caption_logit": 3}},
    }


def test_kept_images_are_the_best_of_their_captions_and_lead_back(finished):
    out, _ = finished
    rows = kept(out)
    assert len(rows) == 6 and len({row["caption"] for row in rows}) == 3
    scores = pq.read_table(out / "images" / "scores" / "part-00000.parquet").to_pylist()
    of_umbrella = sorted(
        row["caption_logit"] for row in scores
        if row["candidate_id"].startswith(rows[2]["id"].partition("-")[0])
    )  # fmt: skip
    assert sorted(row["caption_logit"] for row in rows[2:4]) == of_umbrella[1:]
    for row in rows:
        assert Image.open(current(out) / row["file"]).size == (row["width"], row["height"]) == (64, 64)
        assert row["model"].startswith("embedded:diffusion@") and row["seed"] is not None
        assert row["image"] in ("frog/0.png", "lion/1.png") and row["class_logit"] is not None
    made = {one.prompt.candidate_id: one.image for unit in range(3)
            for one in read_unit(RunDir(out / "images"), f"00000/unit-{unit:05d}")}  # fmt: skip
    assert all((np.asarray(Image.open(current(out) / row["file"])) == made[row["id"]]).all() for row in rows)
    files = {path.name for path in (current(out) / "images").iterdir()}
    assert files == {row["file"].removeprefix("images/") for row in rows}


@pytest.fixture
def without_ray(monkeypatch):
    """Whoever would compute anything fails."""

    def refuse(*_):
        raise AssertionError("Ray is not needed for this")

    monkeypatch.setattr("xpaste_ray.pipelines.unit_work.start_ray", refuse)


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def test_finished_run_is_done_already(finished, data, without_ray):
    out, first = finished
    before = contents(out)
    summary = make_contexts(settings(data), out, Told())
    assert summary.already_done and summary.counts == first.counts and contents(out) == before


def test_what_is_missing_is_made_again_with_the_same_bytes(copied, data):
    expected = contents(copied)
    for name in ("contexts.json", "images/scores/part-00000.parquet", "texts.parquet"):
        (copied / name).unlink()
    (copied / "images/candidates/00000/unit-00001.parquet").write_bytes(b"half")
    told = Told()
    make_contexts(settings(data), copied, told)
    assert any("2 of 3 units are done" in line for line in told.lines)
    assert contents(copied) == expected


def test_kept_images_are_written_again_if_the_selection_was_interrupted(copied, data, without_ray):
    expected = contents(copied)
    (current(copied) / "contexts.parquet").unlink()
    next((current(copied) / "images").iterdir()).unlink()
    make_contexts(settings(data), copied, Told())
    assert contents(copied) == expected


def test_another_selection_needs_no_model_and_leaves_the_first(copied, data, without_ray):
    first = current(copied)
    rule = {"rule": "two-sided", "pure": 0.5, "keep": 1}
    summary = make_contexts(settings(data, select=rule), copied, Told())
    assert summary.counts["contexts"] == {
        "made": 9, "kept": 3, "rejected": {"low_caption_logit": 3, "shows_target": 3}
    }  # fmt: skip
    assert len(kept(copied)) == 3 and first.exists() and current(copied) != first
    make_contexts(settings(data), copied, Told())
    assert current(copied) == first


def test_damaged_file_is_told(copied, data, without_ray):
    (current(copied) / "contexts.parquet").unlink()
    file = copied / "images/candidates/00000/unit-00000.parquet"
    data_in_file = bytearray(file.read_bytes())
    data_in_file[200:5000] = bytes(4800)  # its end, which says that it is done, stays
    file.write_bytes(data_in_file)
    with pytest.raises(RunError, match="is damaged .*: remove it, and the same command makes it again"):
        make_contexts(settings(data), copied, Told())


def test_kept_images_are_what_compose_pastes_on(finished):
    out, _ = finished
    found = resolve_contexts(out).catalogue().items["id"].to_pylist()
    assert sorted(found) == sorted(row["file"].removeprefix("images/") for row in kept(out))


def test_sheet_shows_every_image_with_all_that_was_made_of_it(finished, data):
    out, _ = finished
    frog, lion = shown_contexts(out)
    assert (frog.name, lion.name) == ("frog/0.png", "lion/1.png")
    assert (frog.pixels == picture(0)).all()
    changed, unchanged = frog.texts
    assert changed.caption == "A frog next to a banana." != changed.text
    assert [image.reason for image in unchanged.images] == [None, None, "low_caption_logit"]
    assert all(image.pixels.shape == (64, 64, 3) for image in unchanged.images)
    assert lion.texts[1].reason == "no_distractor" and lion.texts[1].images == ()
    (page,) = draw_sheets([frog, lion])
    assert page.shape[0] > 4 * 112
    assert [one.name for one in shown_contexts(out, first=1, count=5)] == ["lion/1.png"]
    with pytest.raises(ConfigError, match="--first 2: the run has 2 images"):
        list(shown_contexts(out, first=2))


def test_changed_settings_are_refused_by_name(finished, data):
    out, _ = finished
    with pytest.raises(ConfigError, match="contexts.per_caption: 3 -> 4"):
        make_contexts(settings(data, per_caption=4), out, Told())
    with pytest.raises(ConfigError, match=r"contexts\.distractors\.words\.beast"):
        make_contexts(settings(data, distractors=None), out, Told())


def test_templates_need_no_images(data, tmp_path):
    told, texts = Told(), ["a photo of a single banana", "a photo of a single frog"]
    given = settings(data, images=None, captions={"kind": "templates", "texts": texts}, distractors=None)
    summary = make_contexts(given, tmp_path / "run", told)
    assert summary.counts["captions"] == {"made": 2, "kept": 2, "rejected": {}}
    assert [row["image"] for row in kept(tmp_path / "run")] == [None] * 4
    assert all(row["class_logit"] is None for row in kept(tmp_path / "run"))


def test_texts_that_name_targets_are_told(data, tmp_path):
    told = Told()
    captions = {"kind": "templates", "texts": ["a meadow", "a frog"]}
    plan_contexts(settings(data, captions=captions), tmp_path / "run", told)
    assert any("name target classes" in line and "a frog" in line for line in told.lines)
    assert not (tmp_path / "run").exists()


def test_blip_captions_come_from_the_images(data, tmp_path):
    folder = save_blip(tmp_path / "blip")
    captions = {"kind": "blip", "model": str(folder), "micro_batch": 2}
    (data / "photos" / "lion" / "broken.png").write_bytes(b"no image")
    try:
        make_contexts(settings(data, captions=captions, per_caption=1), tmp_path / "run", Told())
    finally:
        (data / "photos" / "lion" / "broken.png").unlink()
    rows = pq.read_table(tmp_path / "run" / "texts.parquet").to_pylist()
    assert [row["image"] for row in rows] == ["frog/0.png"] * 2 + ["lion/1.png"] * 2 + ["lion/broken.png"]
    assert set(" ".join(row["caption"] for row in rows[:4]).split()) <= set(WORDS)
    assert rows[4]["caption"] is None and rows[4]["reason"] == "unsupported_format"
    counts = json.loads((tmp_path / "run" / "run.json").read_text())["counts"]
    assert counts["images"] == {"made": 3, "kept": 2, "rejected": {"unsupported_format": 1}}
    assert counts["contexts"]["made"] == 4


def test_captions_that_all_mention_what_has_no_distractor_are_an_error_that_can_be_mended(data, tmp_path):
    file = tmp_path / "captions.csv"
    file.write_text("path,caption\n0.png,a frog\n0.png,frogs\n")
    told = {"captions": {"kind": "given", "file": str(file)}, "per_caption": 1}
    with pytest.raises(ConfigError, match="no caption can be used: {'no_caption': 1, 'no_distractor': 2}"):
        make_contexts(settings(data, **told, distractors=None), tmp_path / "run", Told())
    summary = make_contexts(settings(data, **told), tmp_path / "run", Told())
    assert summary.counts["captions"] == {"made": 2, "kept": 2, "rejected": {}}
    assert summary.counts["images"] == {"made": 2, "kept": 1, "rejected": {"no_caption": 1}}


def test_part_of_the_images_grows_with_the_fraction(data):
    class Many:
        def __len__(self):
            return 100

        def key(self, image):
            return f"key-{image}"

    tenth, half = chosen_images(Many(), 0.1, 0), chosen_images(Many(), 0.5, 0)
    assert len(tenth) == 10 and len(half) == 50 and set(tenth) < set(half)
    assert chosen_images(Many(), 0.1, 1) != tenth and len(chosen_images(Many(), 0.001, 0)) == 1


def test_no_kept_text_names_a_target(finished, data):
    out, _ = finished
    images = open_labelled(settings(data).contexts.images, "contexts.images")
    rule = Distractors(images.categories)
    assert not any(rule.mentions(row["text"]) for row in kept(out))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"images": None}, "captions of kind given are of images"),
     ({"select": {"rule": "two-sided"}, "images": None, "captions": {"kind": "templates"}},
      "needs the target classes"),
     ({"captions": {"kind": "templates", "texts": []}}, "must have one text at least"),
     ({"captions": {"kind": "blip", "model": "m", "min_tokens": 9, "max_tokens": 3}}, "min_tokens")],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(data, change, message):
    with pytest.raises(ConfigError, match=message):
        settings(data, **change)


def test_names_of_scene_sets(data):
    told = settings(data, images=None, captions={"kind": "templates", "texts": "xpaste"})
    assert len(told.contexts.captions.texts) == 6
    assert told.contexts.captions.texts[1] == "a photo of street."
