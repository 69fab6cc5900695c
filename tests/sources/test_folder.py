import io
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.sources.material import write_files
from xpaste_ray.errors import ConfigError
from xpaste_ray.sources.folder import CUTOUTS, Folder
from xpaste_ray.storage import locate

OPTION = "sources.photos.path"


def _rows(folder):
    return [(row["category"], row["uri"]) for row in folder.listing.to_pylist()]


@pytest.fixture(params=["disk", "s3"])
def root(request, tmp_path):
    return locate(
        tmp_path / "photos" if request.param == "disk" else f"{request.getfixturevalue('s3')()}/photos"
    )


def test_folders_of_images_are_categories_in_name_order(root):
    write_files(
        root, {"frog/b.JPG": b"1", "frog/a.png": b"2", "hot dog/deep/er/c.webp": b"3", "58/d.jpeg": b"4"}
    )
    folder = Folder(root, OPTION)
    assert _rows(folder) == [
        ("58", "58/d.jpeg"), ("frog", "frog/a.png"), ("frog", "frog/b.JPG"),
        ("hot dog", "hot dog/deep/er/c.webp"),
    ]  # fmt: skip
    assert str(folder.root) == str(root) and folder.notes == []


def test_what_is_left_out_is_told(root):
    write_files(root, {"frog/a.jpg": b"1", "stray.jpg": b"1", "frog/x.txt": b"1", "frog/x.gif": b"1",
                       "frog/.hidden.jpg": b"1", ".git/x.jpg": b"1"})  # fmt: skip
    folder = Folder(root, OPTION)
    assert _rows(folder) == [("frog", "frog/a.jpg")]
    assert folder.notes == [
        "1 image left out: not in a category's folder",
        "2 files left out: not .jpg, .jpeg, .png, .webp",
    ]


def test_cut_outs_are_files_that_can_be_transparent(tmp_path):
    write_files(tmp_path, {"frog/a.jpg": b"1", "frog/b.png": b"1", "frog/c.webp": b"1"})
    assert [uri for _, uri in _rows(Folder(locate(tmp_path), OPTION, CUTOUTS))] == [
        "frog/b.png",
        "frog/c.webp",
    ]


def test_contents_are_the_same_elsewhere_and_others_when_a_file_is(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    write_files(here, {"frog/a.jpg": b"12", "frog/b.jpg": b"1"})
    shutil.copytree(here, there)
    (there / "frog" / "notes.txt").touch()  # none of the images

    def contents(place):
        return Folder(locate(place), OPTION).contents

    assert contents(here) == contents(there)
    (there / "frog" / "b.jpg").write_bytes(b"12")
    assert contents(here) != contents(there)


def test_name_that_is_not_utf8_is_listed_as_one_that_will_not_be_found(tmp_path):
    (tmp_path / "frog").mkdir()
    (tmp_path / "frog" / b"\xff.jpg".decode("utf-8", "surrogateescape")).write_bytes(b"1")
    assert _rows(Folder(locate(tmp_path), OPTION)) == [("frog", "frog/\\udcff.jpg")]


def test_index_rows_that_nothing_can_read_are_left_out(tmp_path):
    file = tmp_path / "index.csv"
    file.write_text("path,category\nhttps://a.example/1.jpg,frog\nS3://b/1.jpg,frog\na:b.jpg,frog\n")
    folder = Folder(locate(file), OPTION)
    assert [uri for _, uri in _rows(folder)] == ["S3://b/1.jpg", "a:b.jpg"]
    assert folder.notes == [
        "1 row of index.csv left out: paths of a kind that is not read, such as https://a.example/1.jpg "
        "(URLs are for a source of kind web)"
    ]
    file.write_text("path,category\nhttps://a.example/1.jpg,frog\n")
    with pytest.raises(ConfigError, match=r"photos\.path: .*index\.csv has only .*https://.*kind web"):
        Folder(locate(file), OPTION)


def test_place_that_is_neither_is_an_error(tmp_path):
    message = r"sources\.photos\.path: .*nowhere is neither a folder nor an index file \(\.csv, \.jsonl"
    with pytest.raises(ConfigError, match=message):
        Folder(locate(tmp_path / "nowhere"), OPTION)


# --- index files ---------------------------------------------------------------------------------

TABLE = {
    "path": ["a/1.jpg", "b.png"],
    "category": ["frog", "58"],
    "licence": ["CC0", None],
    "other": [1.5, 2.5],
}


def _parquet(columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


INDEX = {
    "index.csv": b'\xef\xbb\xbfpath,category,licence,other\na/1.jpg,frog,CC0,1\n"b.png",58,,2\n',
    "index.jsonl": b'{"path": "a/1.jpg", "category": "frog", "licence": "CC0", "other": {}}\n\n'
    b'{"path": "b.png", "category": 58}\n',
    "index.parquet": _parquet(TABLE),
    "ids.parquet": _parquet(TABLE | {"category": pa.array(["frog", "58"]).dictionary_encode()}),
}


@pytest.mark.parametrize("name", INDEX)
@pytest.mark.parametrize("where", ["disk", "s3"])
def test_index_file_lists_images_in_its_order(tmp_path, s3, name, where):
    root = write_files(tmp_path if where == "disk" else f"{s3()}/list", {name: INDEX[name]})
    folder = Folder(root / name, OPTION)
    assert _rows(folder) == [("frog", "a/1.jpg"), ("58", "b.png")]
    assert folder.listing["licence"].to_pylist() == ["CC0", None]
    assert str(folder.root) == str(root)


def test_rows_without_a_path_or_a_category_are_counted(tmp_path):
    write_files(tmp_path, {"i.csv": b"path,category\na.jpg,frog\n,frog\nb.jpg, \n"})
    folder = Folder(locate(tmp_path) / "i.csv", OPTION)
    assert _rows(folder) == [("frog", "a.jpg")]
    assert folder.notes == ["2 rows of i.csv left out: no path or no category"]


def test_category_007_stays_a_text(tmp_path):
    write_files(tmp_path, {"i.csv": b"path,category\na.jpg,007\n"})
    assert _rows(Folder(locate(tmp_path) / "i.csv", OPTION)) == [("007", "a.jpg")]


def test_names_with_line_ends_and_quotes_come_through(tmp_path):
    name = 'two\nlines, "quoted" / 犬'
    write_files(tmp_path, {"i.csv": f'path,category\na.jpg,"{name.replace(chr(34), chr(34) * 2)}"\n'.encode(),
                           "i.jsonl": json.dumps({"path": "a.jpg", "category": name}).encode()})  # fmt: skip
    for index in ("i.csv", "i.jsonl"):
        assert _rows(Folder(locate(tmp_path) / index, OPTION)) == [(name, "a.jpg")]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "i.csv",
            b"",
            r"is not readable \(Empty CSV file\): give a file .* with the columns path and category",
        ),
        (
            "i.csv",
            b"file,category\na.jpg,frog\n",
            "has no column 'path'; of those that count, it has category",
        ),
        ("i.csv", b"path,category\na.jpg\n", "is not readable .*Expected 2 columns, got 1"),
        ("i.jsonl", b'{"path": "a.jpg"}\n', "has no column 'category'"),
        ("i.jsonl", b"[1]\n", "line 1 is no object"),
        (
            "i.jsonl",
            b'{"path": "a", "category": "b"}\n{"path": 1.5, "category": "b"}',
            "line 2: path must be text",
        ),
        ("i.jsonl", b"{", "is not readable"),
        ("i.parquet", b"PAR1", "is not readable"),
        ("i.parquet", _parquet({"path": [b"\xff"], "category": ["a"]}), "'path' is binary: it must be text"),
    ],
)
def test_wrong_index_file_is_an_error(tmp_path, name, data, message):
    write_files(tmp_path, {name: data})
    with pytest.raises(ConfigError, match=rf"sources\.photos\.path: .*{message}"):
        Folder(locate(tmp_path) / name, OPTION)
