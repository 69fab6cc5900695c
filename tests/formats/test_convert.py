from dataclasses import replace

import pytest

from tests.formats.conftest import SPEC, all_bytes, make_sample, make_samples
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.contract import FORMAT_NAMES, read_spec
from xpaste_ray.formats.convert import conversion_notes, convert, convert_shard, converted_spec
from xpaste_ray.formats.shards import Shard, read_fragment
from xpaste_ray.formats.validate import validate


def _files(dataset):
    """A dataset's bytes without what tells its recipe."""
    hidden = {"dataset.json", ".lock", ".recipe"}
    return {
        path: data
        for path, data in all_bytes(dataset).items()
        if path not in hidden and not path.startswith("fragments/")
    }


@pytest.mark.parametrize("source", FORMAT_NAMES)
@pytest.mark.parametrize("polygons", [False, True])
def test_converting_gives_what_writing_would_have_given(make_dataset, tmp_path, source, polygons):
    written = make_dataset(folder="written", polygons=polygons)
    given = make_dataset(source, folder="given")
    counts = convert(given, tmp_path / "out", FORMAT_NAMES, polygons)
    assert _files(tmp_path / "out") == _files(written)
    assert counts == {"images": 5, "annotations": 9, "placed": 5}
    assert validate(tmp_path / "out").findings == []


@pytest.mark.parametrize("target", FORMAT_NAMES)
@pytest.mark.parametrize("source", FORMAT_NAMES)
def test_every_format_converts_to_every_other(make_dataset, tmp_path, source, target):
    """The result is the dataset as it would have been written in that format alone."""
    convert(make_dataset(source, folder="given"), tmp_path / "out", [target])
    assert _files(tmp_path / "out") == _files(make_dataset(target, folder="written"))
    assert validate(tmp_path / "out").findings == []


LISTS = "images' lists of absent or unfinished categories (1)"


@pytest.mark.parametrize(
    ("target", "lost"),
    [
        ("coco", LISTS),
        ("lvis", "crowds (1)"),
        ("yolo", f"crowds (1), amodal masks (1), sources of pasted objects (7), {LISTS}"),
        ("voc", f"crowds (1), {LISTS}"),
        ("webdataset", None),
        ("parquet", None),
    ],
)
def test_what_a_format_cannot_hold_is_told(make_dataset, target, lost):
    """Of 9 annotations 2 are the background's, one of these a crowd; one is amodal, one image has lists."""
    told = f"{target} has no room for {lost}: only the dataset's own record, fragments/, holds them"
    assert conversion_notes(make_dataset("parquet"), [target]) == ([told] if lost else [])


@pytest.mark.parametrize(
    ("had", "target", "asked", "told"),
    [
        (False, "parquet", True, ["polygons are for coco and lvis files"]),
        (True, "parquet", False, ["polygons are for coco and lvis files"]),
        (True, "lvis", False, ["the source's polygons become RLE"]),
        (False, "lvis", True, []),
        (True, "lvis", True, []),
        (False, "lvis", False, []),
    ],
)
def test_polygons_that_are_not_written_are_told(make_dataset, had, target, asked, told):
    given = make_dataset("coco", polygons=had, samples=[make_sample(0, [])])
    notes = conversion_notes(given, [target], asked)
    assert [note.split(":")[0] for note in notes] == told


def test_samples_counts_and_description_are_kept(make_dataset, tmp_path):
    given = make_dataset("coco")
    convert(given, tmp_path / "out", ["voc"])
    spec = read_spec(tmp_path / "out")
    assert replace(spec, formats=("coco",), recipe="r1") == read_spec(given)
    assert read_fragment(tmp_path / "out", Shard(3, 4)).samples == tuple(make_samples()[3:])


def test_an_interrupted_conversion_goes_on(make_dataset, tmp_path):
    given, done = make_dataset("coco"), []
    convert(given, tmp_path / "whole", ["yolo", "voc"])
    spec = read_spec(given)
    out = tmp_path / "out"
    convert(given, out, ["yolo", "voc"], advance=done.append)
    assert done == [0, 3, 2]
    (out / "dataset.json").unlink()
    (out / "fragments" / "00000003-00000004.json").unlink()
    (out / "voc" / ".000003.xml.99.aside").write_text("half")
    done.clear()
    convert(given, out, ["yolo", "voc"], advance=done.append)
    assert done == [3, 2]
    assert all_bytes(out) == all_bytes(tmp_path / "whole")
    assert converted_spec(spec, ["yolo", "voc"], False) == read_spec(out)


def test_a_conversion_that_died_before_its_first_shard_goes_on(make_dataset, tmp_path, monkeypatch):
    given, out = make_dataset("coco"), tmp_path / "out"

    def die(*args):
        convert_shard(*args)
        (out / "fragments" / "00000000-00000002.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("xpaste_ray.formats.convert.convert_shard", die)
        with pytest.raises(KeyboardInterrupt):
            convert(given, out, ["voc"])
    assert (out / "JPEGImages").is_dir()
    convert(given, out, ["voc"])
    assert validate(out).findings == []


def test_a_folder_that_is_no_dataset_is_refused(make_dataset, tmp_path):
    (tmp_path / "photos").mkdir()
    unfinished = make_dataset("coco", folder="unfinished")
    (unfinished / "dataset.json").unlink()
    for folder in (tmp_path / "photos", tmp_path / "nowhere", unfinished):
        with pytest.raises(ConfigError, match="give the folder that was composed or converted"):
            convert(folder, tmp_path / "out", ["voc"])
    assert not (tmp_path / "out").exists()


def test_unknown_formats_are_refused_before_anything_is_written(make_dataset, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'parquet'"):
        convert(make_dataset("coco"), tmp_path / "out", ["parkett"])
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_refused(make_dataset, tmp_path):
    given, out = make_dataset("coco"), tmp_path / "out"
    convert(given, out, ["voc"])
    with pytest.raises(ConfigError, match="choose an empty or a new folder"):
        convert(given, out, ["yolo"])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("x")
    with pytest.raises(ConfigError, match="choose an empty or a new folder"):
        convert(given, tmp_path / "notes", ["yolo"])
    with pytest.raises(ConfigError, match="is the dataset itself or inside it"):
        convert(given, given / "yolo", ["yolo"])


@pytest.mark.parametrize(
    ("name", "lost", "damage"),
    [
        pytest.param("coco", "images/000003.jpg", None, id="image-missing"),
        pytest.param("webdataset", "shard-00000003-00000004.tar", None, id="tar-missing"),
        pytest.param("webdataset", "shard-00000003-00000004.tar", 700, id="tar-cut-off"),
        pytest.param("parquet", "data/part-00000003-00000004.parquet", None, id="parquet-missing"),
        pytest.param("parquet", "data/part-00000003-00000004.parquet", 700, id="parquet-cut-off"),
    ],
)
def test_a_source_whose_images_cannot_be_read_is_named(make_dataset, tmp_path, name, lost, damage):
    given = make_dataset(name)
    data = (given / lost).read_bytes()
    (given / lost).unlink()
    if damage:
        (given / lost).write_bytes(data[:damage])
    with pytest.raises(ConfigError, match="shard 00000003-00000004 cannot be read"):
        convert(given, tmp_path / "out", ["yolo"])


def test_a_source_with_a_damaged_fragment_is_named(make_dataset, tmp_path):
    given = make_dataset("coco")
    (given / "fragments" / "00000003-00000004.json").write_text("{")
    with pytest.raises(ConfigError, match="00000003-00000004.json is damaged"):
        convert(given, tmp_path / "out", ["yolo"])


def test_the_recipe_of_a_conversion_follows_from_what_it_is():
    recipes = {
        converted_spec(spec, formats, polygons).recipe
        for spec in (SPEC, replace(SPEC, recipe="r2"))
        for formats in (["coco"], ["coco", "voc"])
        for polygons in (False, True)
    }
    assert len(recipes) == 8 and converted_spec(SPEC, ["coco"], False).recipe in recipes
