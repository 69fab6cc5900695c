import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xpaste_ray.config.contexts import GivenCaptions
from xpaste_ray.contexts.given import read_captions
from xpaste_ray.errors import ConfigError

URIS = ("train/1.jpg", "train/2.jpg", "val/2.jpg")


def read(file, **options):
    return read_captions(GivenCaptions(kind="given", file=str(file), **options), URIS)


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def listed(request, tmp_path):
    """The same captions as a file of each kind."""
    columns = {"path": ["1.jpg", "train/2.jpg", "1.jpg"], "caption": ["a  cat", "a dog", " two cats\n"]}
    file = tmp_path / f"captions.{request.param}"
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    match request.param:
        case "csv":
            file.write_text('image,caption\n1.jpg,a  cat\ntrain/2.jpg,a dog\n1.jpg," two cats\n"\n')
        case "jsonl":
            file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        case "parquet":
            pq.write_table(pa.table(columns), file)
    return file


def test_captions_by_path_or_file_name(listed):
    assert read(listed).captions == {"train/1.jpg": ("a cat", "two cats"), "train/2.jpg": ("a dog",)}


def test_only_the_first_of_an_image(listed):
    assert read(listed, per_image=1).captions["train/1.jpg"] == ("a cat",)


def test_file_name_that_two_images_have_is_no_name(tmp_path):
    file = tmp_path / "captions.csv"
    file.write_text("path,caption\n2.jpg,a dog\n1.jpg,a cat\n")
    told = read(file)
    assert set(told.captions) == {"train/1.jpg"} and told.notes == (
        "1 caption left out: of images that are not listed",
    )


@pytest.mark.parametrize(
    ("name", "uri"),
    [("1.jpg", "train/1.jpg"), ("train/1.jpg", "train/1.jpg"), ("/data/train/1.jpg", "train/1.jpg"),
     ("val/1.jpg", None), ("val/2.jpg", "val/2.jpg"), ("2.jpg", None)],
)  # fmt: skip
def test_image_is_known_by_the_end_of_its_path(tmp_path, name, uri):
    """train/1.jpg is never taken for val/1.jpg."""
    file = tmp_path / "captions.csv"
    file.write_text(f"path,caption\n{name},a dog\ntrain/2.jpg,a cat\n")
    assert set(read(file).captions) - {"train/2.jpg"} == ({uri} if uri else set())


def test_cocos_captions_with_letters_beyond_latin(tmp_path):
    file = tmp_path / "captions_val2017.json"
    told = {
        "info": {},
        "images": [{"id": 7, "file_name": "1.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 7, "caption": "a café – 日本"},
            {"id": 2, "image_id": 7, "caption": "A cat.\n"},
            {"id": 3, "image_id": 9, "caption": "of no image"},
        ],
    }
    expected = ("a café – 日本", "A cat.")
    for escaped in (False, True):
        file.write_bytes(json.dumps(told, ensure_ascii=escaped).encode())
        given = read(file)
        assert given.captions == {"train/1.jpg": expected}
        assert given.notes == ("1 caption left out: empty, or of no image",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "path,caption\nother.jpg,a cat\n", "captions of none of the 3 images.*'other.jpg'"),
        ("a.csv", "path,text\n", "as there are none"),
        ("a.csv", "path,words\n1.jpg,a cat\n", "no column 'caption'"),
        ("a.json", '{"images": [], "annotations": [{"image_id": 1, "bbox": []}]}', "has no captions"),
        ("a.json", "[]", "is not readable"),
        ("a.txt", "a cat", "give a file .csv"),
    ],
)
def test_file_that_cannot_be_used_is_explained(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith("contexts.captions.file: ")


@pytest.mark.parametrize("name", ["none.csv", "none.json"])
def test_missing_file_is_explained(tmp_path, name):
    with pytest.raises(ConfigError, match="does not exist"):
        read(tmp_path / name)


def test_contents_are_those_of_the_file(tmp_path):
    file = tmp_path / "captions.csv"
    file.write_text("path,caption\n1.jpg,a cat\n")
    first = read(file).contents
    file.write_text("path,caption\n1.jpg,a dog\n")
    assert read(file).contents != first
