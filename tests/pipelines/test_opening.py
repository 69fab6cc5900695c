import json
import pickle
import shutil
from importlib import import_module

import pytest

from tests.backgrounds.material import small_dataset
from tests.sources.material import cutout, jpeg, sample, settings, tar, write_files
from tests.sources.test_annotated import _voc
from tests.sources.test_candidates import _of, _write
from xpaste_ray.config import StageResources
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.pipelines.opening import chosen_categories, notes_on, open_sources
from xpaste_ray.pipelines.stage_code import stage_code
from xpaste_ray.pipelines.steps import plan_steps, resolve_inputs
from xpaste_ray.records import Candidate
from xpaste_ray.runs import RunDir
from xpaste_ray.sources.found import FoundImages
from xpaste_ray.sources.work_list import plan_units


def _material(root):
    """A source of each kind below `root`, each with frogs; returns the settings of `sources`."""
    write_files(root / "photos", {"frog/1.jpg": jpeg(1), "frog/2.jpg": jpeg(2), "cat/1.jpg": jpeg(3)})
    write_files(root / "cut", {"Frog/1.png": cutout(1)})
    write_files(root / "tars", {"0.tar": tar(sample("0", jpeg(4), {"category": "475"}))})
    _write(root / "earlier", [[_of(0), _of(1)]])
    small_dataset(root / "data")
    _voc(root / "voc", ("frog", "person"))
    return {
        "photos": {"kind": "folder", "path": str(root / "photos")},
        "cut": {"kind": "cutouts", "path": str(root / "cut")},
        "tars": {"kind": "webdataset", "path": str(root / "tars")},
        "again": {"kind": "candidates", "run": str(root / "earlier")},
        "real": {"kind": "annotated", "annotations": str(root / "data"), "weight": 2},
        "voc": {"kind": "annotated", "annotations": str(root / "voc")},
    }


def _open(sources, names=("frog", "cat"), **values):
    told = settings(sources, names, **values)
    return told, open_sources(told, chosen_categories(told))


@pytest.fixture
def material(tmp_path):
    return _material(tmp_path / "here")


def _ids(sources, per_category=12):
    told, opened = _open(sources, prompts__per_category=per_category)
    units = plan_units(chosen_categories(told), opened, told.sources, per_category)
    return [prompt.candidate_id for unit in units for prompt in unit.prompts]


def test_every_kind_gives_what_it_has(material):
    _, opened = _open(material)
    frog, cat = chosen_categories(settings(material, ("frog", "cat")))[::-1]
    assert {name: getattr(source.prompt(frog, 0, 0), "uri", None) for name, source in opened.items()} == {
        "photos": "frog/1.jpg",
        "cut": "Frog/1.png",
        "tars": opened["tars"].prompt(frog, 0, 0).uri,
        "again": "00000/unit-00000#475-0-r",
        "real": None,
        "voc": "000007.jpg#1",
    }
    assert opened["real"].prompt(cat, 0, 0).uri == "a.jpg#1"
    assert all(isinstance(source, FoundImages) for source in opened.values())


def test_moving_everything_changes_no_id_and_no_recipe_has_a_path(material, tmp_path):
    before = _ids(material)
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = json.loads(json.dumps(material).replace("/here/", "/there/"))
    assert _ids(moved) == before and len(before) == len(set(before)) == 9
    inputs = resolve_inputs(settings(moved, ("frog", "cat")))
    recipes = json.dumps(plan_steps(inputs)["source"].settings)
    assert str(tmp_path) not in recipes and "there" not in recipes


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "photos/frog/3.jpg").write_bytes(jpeg(9)),
        lambda root: (root / "cut/Frog/1.png").rename(root / "cut/Frog/2.png"),
        lambda root: write_files(root, {"tars/0.tar": tar(sample("1", jpeg(5), {"category": "475"}))}),
        lambda root: _write(root / "earlier", [[_of(0)]]),
        lambda root: (root / "data/images/a.jpg").write_bytes(jpeg(9)),
        lambda root: _voc(root / "voc", ("person", "frog")),
    ],
    ids=["folder", "cutouts", "webdataset", "candidates", "coco", "voc"],
)
def test_other_contents_are_another_recipe(material, tmp_path, change):
    before = {name: fingerprint(source.recipe) for name, source in _open(material)[1].items()}
    change(tmp_path / "here")
    after = {name: fingerprint(source.recipe) for name, source in _open(material)[1].items()}
    assert len([name for name in before if before[name] != after[name]]) == 1


def test_an_actor_reads_what_the_driver_listed(material, tmp_path):
    """From the opened sources, through pickle as to another process, to images and masks."""
    inputs = resolve_inputs(settings(material, ("frog", "cat"), prompts__per_category=12))
    units = plan_units(inputs.categories, inputs.sources, inputs.settings.sources, 12)
    prompts = [prompt for unit in units for prompt in unit.prompts]
    plan = {"source": StageResources(actors=1)}
    done = {}
    for name in material:
        code = pickle.loads(pickle.dumps(stage_code(inputs, plan, name, RunDir(tmp_path))["source"]))
        module, _, attribute = code.target.partition(":")
        stage = getattr(import_module(module), attribute)(**code.kwargs)
        done[name] = stage([Candidate(prompt) for prompt in prompts if prompt.source == name])
    assert {name: [one.status for one in several] for name, several in done.items()} == {
        "photos": ["ok"] * 3, "cut": ["ok"], "tars": ["ok"], "again": ["ok"] * 2, "real": ["ok"],
        "voc": ["ok"],
    }  # fmt: skip
    assert {name for name, (one, *_) in done.items() if one.proposals} == {"cut", "real", "voc"}


def test_notes_tell_what_the_sources_have_and_what_is_misspelled(material, tmp_path):
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({"frog": ["a"], "frgo": ["b"], "zebra": ["c"]}))
    told, opened = _open(material, prompts__file=str(texts))
    notes = notes_on(told, opened)
    assert "photos: 3 images of 2 of 2 categories" in notes
    assert "again: no image of 'cat'" in notes
    assert notes[-1] == "prompts.file: not in the vocabulary, so left out: 'frgo'"


def test_source_lists_only_the_categories_that_it_serves(material):
    """LVIS: a frog is common, a cat frequent."""
    photos = material["photos"] | {"frequencies": "c"}
    _, opened = _open({"photos": photos, "cut": material["photos"]})
    assert opened["photos"].notes == ["photos: 2 images of 1 of 1 category"]


@pytest.mark.parametrize("data", ["data", "data/annotations.json"])
def test_annotated_datasets_are_given_as_backgrounds_are(material, tmp_path, data):
    _, opened = _open({"real": {"kind": "annotated", "annotations": str(tmp_path / "here" / data)}})
    assert "real: 1 image of 1 of 2 categories" in opened["real"].notes


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"kind": "folder", "path": "nowhere"}, r"sources\.mine\.path: .*nowhere is neither a folder nor"),
        ({"kind": "candidates", "run": "nowhere"}, r"sources\.mine\.run: .*nowhere is no run"),
        ({"kind": "annotated", "annotations": "nowhere"}, r"mine\.annotations: .*nowhere is not a folder"),
        ({"kind": "annotated", "annotations": "{photos}"}, r"mine\.annotations: is neither a COCO or"),
        ({"kind": "annotated", "annotations": "{data}", "images": "{photos}"},
         r"none of the first images .* say where they are .sources\.mine\.images"),
    ],
)  # fmt: skip
def test_wrong_place_is_an_error_that_names_the_option(material, tmp_path, source, message):
    here = tmp_path / "here"
    places = {"{photos}": str(here / "photos"), "{data}": str(here / "data/annotations.json")}
    with pytest.raises(ConfigError, match=message):
        _open({"mine": {key: places.get(value, value) for key, value in source.items()}})


HARD_NAMES = ["a/b", "../../etc/passwd", "nul\0", "two\nlines", "x" * 300, "犬 🐶", "{name}", "58"]


def test_any_name_goes_through_prompts_and_work_list(tmp_path):
    """Names come from the user, ids are ours: no file is called by a name."""
    vocabulary = tmp_path / "v.json"
    vocabulary.write_text(json.dumps(HARD_NAMES))
    lines = [json.dumps({"path": f"{n}.jpg", "category": name}) for n, name in enumerate(HARD_NAMES)]
    (tmp_path / "i.jsonl").write_text("\n".join(lines))
    write_files(tmp_path / "photos", {f"{n + 1}/{n}.jpg": jpeg(n) for n in range(len(HARD_NAMES))})
    told = settings(
        {"list": {"kind": "folder", "path": str(tmp_path / "i.jsonl")},
         "ids": {"kind": "folder", "path": str(tmp_path / "photos")}},
        "all", prompts__per_category=2, categories__vocabulary=str(vocabulary),
    )  # fmt: skip
    inputs = resolve_inputs(told)
    assert [category.name for category in inputs.categories] == HARD_NAMES
    units = plan_units(inputs.categories, inputs.sources, told.sources, 2)
    prompts = [prompt for unit in units for prompt in unit.prompts]
    assert [(p.category, p.uri) for p in prompts if p.source == "list"] == [
        (name, f"{n}.jpg") for n, name in enumerate(HARD_NAMES)
    ]
    assert [p.uri for p in prompts if p.source == "ids"] == [
        f"{n + 1}/{n}.jpg" for n in range(len(HARD_NAMES))
    ]
    assert all(set(p.candidate_id) <= set("0123456789abcdef-") for p in prompts)
    assert json.dumps(plan_steps(inputs)["source"].settings)
