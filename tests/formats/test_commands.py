"""Commands on written datasets, as a user meets them: real processes, exit codes, messages."""

import json

from tests.test_cli import _refused, _run


def test_validate_says_that_a_good_dataset_is_valid(make_dataset):
    done = _run("validate", make_dataset("coco", "voc"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("is valid: 5 images, 9 annotations checked\n")


def test_validate_names_what_is_wrong_and_exits_with_1(make_dataset):
    """Half of image 2, and annotation 5 (of image 2) with a box of no extent."""
    dataset = make_dataset("coco")
    image, file = dataset / "images" / "000001.jpg", dataset / "annotations.json"
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    value = json.loads(file.read_text())
    value["annotations"][4]["bbox"] = [0, 0, 0, 1]
    file.write_text(json.dumps(value))
    done = _run("validate", dataset)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stdout.splitlines()[:2] == [
        "error image_truncated, image 2: images/000001.jpg ends before its last pixel",
        "error entry_differs, image 2, annotation 5: annotations.json: annotation 5 was changed "
        "after it was written (bbox)",
    ]
    assert "has 2 errors: 5 images, 9 annotations checked" in done.stdout
    assert "broken images: delete each" in done.stdout


def test_validate_checks_a_file_of_any_origin(make_dataset):
    """Without its fragments a dataset is a COCO file with images like any other."""
    dataset = make_dataset("coco")
    (dataset / "dataset.json").unlink()
    (dataset / "fragments").rename(dataset.parent / "elsewhere")
    assert _run("validate", dataset / "annotations.json").returncode == 0
    image = dataset / "images" / "000004.jpg"
    image.write_bytes(image.read_bytes()[:-1])
    done = _run("validate", dataset / "annotations.json")
    assert done.returncode == 1
    assert "error image_truncated, image 5: 000004.jpg ends before its last pixel" in done.stdout


def test_validate_asks_where_images_are(make_dataset, tmp_path):
    dataset = make_dataset("coco")
    (dataset / "annotations.json").rename(tmp_path / "x.json")
    done = _run("validate", tmp_path / "x.json")
    assert done.returncode == 1 and "error image_missing: 5\nnone of the first images of " in done.stdout
    assert done.stdout.splitlines()[-2].endswith("say where they are (--images DIR)")
    assert _run("validate", tmp_path / "x.json", "--images", dataset / "images").returncode == 0


def test_validate_refuses_what_is_no_dataset(tmp_path):
    assert "check the path" in _refused("validate", tmp_path)


def test_what_belongs_to_a_dataset_names_it(make_dataset, tmp_path):
    dataset = make_dataset("coco", "yolo", folder="run/dataset")
    for command in (["validate"], ["convert", "--out", tmp_path / "out", "--format", "voc"]):
        said = _refused(*command, dataset / "yolo")
        assert f"{dataset / 'yolo'} is one of the formats of a dataset: give the dataset, {dataset}" in said
        assert f"is a run: give its dataset, {dataset}" in _refused(*command, dataset.parent)
    assert not (tmp_path / "out").exists()


def test_convert_tells_what_the_new_format_cannot_hold(make_dataset, tmp_path):
    done = _run("convert", make_dataset("coco"), "--out", tmp_path / "out", "--format", "lvis")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        f"5 images, 9 annotations in {tmp_path / 'out'}",
        "note: lvis has no room for crowds (1): only the dataset's own record, fragments/, holds them",
    ]
