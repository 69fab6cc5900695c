import pytest

from tests.sources.material import jpeg, write_files
from xpaste_ray.errors import RowError
from xpaste_ray.pictures import files
from xpaste_ray.pictures.files import file_at, read_file
from xpaste_ray.storage import locate


@pytest.mark.parametrize(
    ("uri", "key"),
    [("a/b.jpg", "/root/a/b.jpg"), ("/elsewhere/c.jpg", "/elsewhere/c.jpg"), ("file:///d.jpg", "/d.jpg")],
)
def test_relative_paths_start_at_the_root_and_others_do_not(uri, key):
    assert file_at(locate("/root"), uri).key == key


@pytest.mark.parametrize("uri", ["https://a.example/1.jpg", "s3://key:secret@bucket/1.jpg"])
def test_address_that_nothing_is_read_from_is_a_bad_path(uri):
    with pytest.raises(RowError, match="^bad_path"):
        file_at(locate("/root"), uri)


def test_file_is_read_if_it_may_be_an_image_and_is_not_too_large(tmp_path, monkeypatch):
    root = write_files(tmp_path, {"a.jpg": jpeg(), "b.jpg": b"GIF89a and so on", "empty.jpg": b""})
    assert (read_file(root / "a.jpg"), read_file(root / "empty.jpg")) == (jpeg(), b"")
    with pytest.raises(RowError, match="unsupported_format"):
        read_file(root / "b.jpg")
    with pytest.raises(FileNotFoundError):
        read_file(root / "gone.jpg")
    monkeypatch.setattr(files, "MAX_FILE_BYTES", len(jpeg()) - 1)
    with pytest.raises(RowError, match="file_too_large"):
        read_file(root / "a.jpg")
