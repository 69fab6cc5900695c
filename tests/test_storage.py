import errno
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from tests.faulty import Failing, faulty
from xpaste_ray import storage
from xpaste_ray.errors import ConfigError, StorageError
from xpaste_ray.runs import open_parquet, write_parquet
from xpaste_ray.storage import Location, aside_of, locate


@pytest.fixture(params=["disk", "s3"])
def folder(request, tmp_path):
    """An empty folder, on a disk and in an object store."""
    if request.param == "disk":
        return locate(tmp_path)
    return locate(f"{request.getfixturevalue('s3')()}/runs/one")


@pytest.fixture
def quick(monkeypatch):
    """No waiting between attempts; give up after 0.3 s."""
    monkeypatch.setattr(storage, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.3)


def test_a_file_that_was_written_is_there_with_its_bytes(folder):
    file = folder / "a/b.bin"
    assert not file.exists() and not (folder / "a").is_dir()
    file.write_whole(b"123")
    assert file.exists() and file.is_file() and not file.is_dir() and file.size() == 3
    assert (folder / "a").exists() and (folder / "a").is_dir() and not (folder / "a").is_file()
    assert file.read_bytes() == b"123" and file.read_text() == "123"
    file.write_whole("é".encode())
    assert file.read_text() == "é"
    assert folder.files() == {"a/b.bin": 2}


def test_an_empty_file_is_a_file(folder):
    (folder / "empty").write_whole(b"")
    assert (folder / "empty").read_bytes() == b"" and folder.files() == {"empty": 0}


def test_parts_of_a_file_are_read_in_any_order(folder):
    (folder / "digits").write_whole(b"0123456789")
    with (folder / "digits").open() as file:
        assert file.read_at(2, 7) == b"78" and file.read_at(1, 0) == b"0" and file.size() == 10


def test_parquet_is_read_without_its_other_columns(folder):
    import pyarrow as pa

    write_parquet(folder / "t.parquet", pa.table({"a": [1, 2], "b": ["x", "y"]}))
    assert pq.ParquetFile((folder / "t.parquet").open()).read(columns=["a"]).to_pydict() == {"a": [1, 2]}


@pytest.mark.parametrize("operation", ["read_bytes", "read_text", "size", "open"])
def test_a_file_that_is_not_there_is_told_as_python_does(folder, operation):
    with pytest.raises(FileNotFoundError):
        getattr(folder / "none", operation)()


def test_files_are_listed_below_their_folder_by_suffix_in_name_order(folder):
    for name in ("b/2.parquet", "b/1.parquet", "a.json", "b/c/3.parquet"):
        (folder / name).write_whole(name.encode())
    (folder / ".x.parquet.7.aside").write_whole(b"half")
    assert list(folder.files()) == ["a.json", "b/1.parquet", "b/2.parquet", "b/c/3.parquet"]
    assert (folder / "b").files(".parquet") == {"1.parquet": 11, "2.parquet": 11, "c/3.parquet": 13}
    assert (folder / "none").files() == {}
    size, changed_ns = folder.stamps()["a.json"]
    assert size == 6 and abs(changed_ns / 1e9 - time.time()) < 600


def test_large_files_go_up_and_come_down_whole(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_CHUNK_BYTES", 100_000)
    here, back = tmp_path / "here.bin", tmp_path / "new" / "back.bin"
    here.write_bytes(os.urandom(1_234_567))
    (folder / "there.bin").upload(here)
    assert (folder / "there.bin").size() == 1_234_567
    (folder / "there.bin").download(back)
    assert back.read_bytes() == here.read_bytes()
    assert [path.name for path in back.parent.iterdir()] == ["back.bin"]


def test_download_of_nothing_leaves_nothing(folder, tmp_path):
    with pytest.raises(FileNotFoundError):
        (folder / "none").download(tmp_path / "new" / "file")
    assert list((tmp_path / "new").iterdir()) == []


def test_removed_files_are_gone_and_may_be_removed_again(folder):
    (folder / "a").write_whole(b"1")
    (folder / "a").remove()
    (folder / "a").remove()
    assert not (folder / "a").exists()


def test_names_and_parents(folder):
    file = folder / "a" / "b.bin"
    assert file.name == "b.bin" and file.parent == folder / "a" and file.parent.parent == folder
    assert str(file) == f"{folder}/a/b.bin" and file.relative_to(folder).as_posix() == "a/b.bin"
    assert len({file, folder / "a/b.bin"}) == 1


def test_another_process_opens_the_same_place(folder):
    (folder / "a.txt").write_whole(b"hello")
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read_text())"
    told = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(folder / "a.txt"), capture_output=True, timeout=60
    )
    assert told.stdout.strip() == b"hello", told.stderr


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ("runs/a", Path("runs/a"), f"file://{tmp_path}/runs/a", str(tmp_path / "runs" / "a")):
        place = locate(given)
        assert place.is_local and place.path == tmp_path / "runs" / "a" and str(place) == str(place.path)
    assert locate(place) is place
    assert os.fspath(place) == str(place.path)


def test_addresses_keep_their_bucket_key_and_options(s3):
    bucket = s3()
    server = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    place = locate(f"{bucket}/a/b/?endpoint_override={server}&scheme=http&region=eu-west-1")
    assert place.key == f"{bucket.removeprefix('s3://')}/a/b" and place.fs.region == "eu-west-1"
    (place / "c d#1").write_whole(b"1")
    assert str(place / "c d#1") == f"{bucket}/a/b/c d#1"
    assert locate(f"{bucket}/a/b/c d#1").read_bytes() == b"1", "AWS_ENDPOINT_URL leads to the same server"


def test_google_addresses_are_known():
    for given in ("gs://bucket/a", "gcs://bucket/a"):
        place = pickle.loads(pickle.dumps(locate(f"{given}?endpoint_override=localhost:9&scheme=http")))
        assert isinstance(place.fs, pafs.GcsFileSystem) and str(place / "b") == "gs://bucket/a/b"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("abfs://c/a", "abfs:// is not supported: give a folder, s3://BUCKET/KEY or gs://BUCKET/KEY"),
        ("http://host/a", "http:// is not supported"),
        ("s3://", "malformed"),
        ("s3:///a", "malformed"),
        ("s3://bucket//a", "malformed"),
        ("s3:/bucket/a", "malformed: give a folder, s3://BUCKET/KEY"),
        (Path("s3://bucket/a"), "malformed: give a folder, s3://BUCKET/KEY"),
        ("file://host/a", "write file:///ABSOLUTE/PATH"),
        ("s3://bucket/a?secret_key=abc", "unknown option: region, endpoint_override, scheme are allowed"),
    ],
)
def test_addresses_that_lead_nowhere_are_refused(given, told):
    with pytest.raises(ConfigError, match=told):
        locate(given)


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="must not hold credentials") as refused:
        locate("s3://KEY:SECRET@bucket/a")
    assert "SECRET" not in str(refused.value)


def test_remote_places_have_no_path(s3):
    with pytest.raises(ConfigError, match="s3://bucket-.*/a: this needs a local or shared folder"):
        locate(f"{s3()}/a").path  # noqa: B018


@pytest.mark.parametrize("operation", ["put", "write"])
def test_passing_failures_of_a_store_are_tried_again(s3, quick, operation):
    fault = Failing(operation, times=3)
    place = faulty(locate(s3()), fault) / "a"
    place.write_whole(b"123")
    assert place.read_bytes() == b"123" and fault.calls == 4


def test_parts_of_an_open_file_are_asked_for_again(s3, quick):
    """A connection that drops inside a file does not make it a damaged one."""
    folder = locate(s3())
    write_parquet(folder / "a.parquet", table := pa.table({"number": range(1000)}))
    fault = Failing("part", times=3)
    assert open_parquet(faulty(folder, fault) / "a.parquet").read().equals(table) and fault.calls > 3
    with (faulty(folder, Failing("part", times=2)) / "a.parquet").open() as file:
        assert file.seek(-4, 2) == file.size() - 4 and file.read() == b"PAR1"


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("read", lambda place, path: place.read_bytes()),
        ("part", lambda place, path: place.open().read()),
        ("read", lambda place, path: place.open()),
        ("read", lambda place, path: place.download(path)),
        ("info", lambda place, path: place.exists()),
        ("list", lambda place, path: place.parent.files()),
        ("delete", lambda place, path: place.remove()),
        ("put", lambda place, path: place.upload(path)),
    ],
)
def test_failures_that_stay_end_in_an_error_that_says_what_to_check(s3, quick, tmp_path, operation, call):
    (locate(bucket := s3()) / "a").write_whole(b"123")
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    fault = Failing(operation, times=10**9)
    with pytest.raises(StorageError, match="faulty://.*still failing after 0 s.*SLOW_DOWN.*same command"):
        call(faulty(locate(bucket), fault) / "a", path)
    assert fault.calls > 2
    assert (locate(bucket) / "a").read_bytes() == b"123" and path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_half_of_a_file_is_not_left_in_the_store(s3, quick, tmp_path, monkeypatch):
    """The stream breaks after the first of three chunks, each time."""
    monkeypatch.setattr(storage, "_CHUNK_BYTES", 1000)
    (tmp_path / "file").write_bytes(bytes(3000))
    calls = []

    def after_the_first(operation, key):
        if operation == "write":
            calls.append(key)
            if len(calls) % 2 == 0:
                raise OSError("connection reset")

    place = faulty(locate(s3()), after_the_first) / "a"
    with pytest.raises(StorageError, match="connection reset"):
        place.upload(tmp_path / "file")
    assert len(calls) > 2 and not place.exists()


def test_a_refusal_is_not_tried_again(s3, quick):
    fault = Failing("put", 10**9, lambda: OSError("AWS Error ACCESS_DENIED during PutObject operation"))
    with pytest.raises(StorageError, match="refused.*ACCESS_DENIED.*credentials"):
        (faulty(locate(s3()), fault) / "a").write_whole(b"1")
    assert fault.calls == 1


def test_a_bucket_that_is_not_there_is_told_at_once(s3):
    s3()
    began = time.monotonic()
    with pytest.raises(StorageError, match="s3://no-such-bucket/a: refused.*check the name of the bucket"):
        locate("s3://no-such-bucket/a").write_whole(b"1")
    assert time.monotonic() - began < 30


def test_a_server_that_does_not_answer_is_an_error_within_bounds(quick):
    place = locate("s3://bucket/a?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1")
    began = time.monotonic()
    with pytest.raises(StorageError, match="s3://bucket/a: still failing.*check the network"):
        place.read_bytes()
    assert time.monotonic() - began < 60


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    """/dev/full takes the place of the file that is written aside."""
    file = tmp_path / "a"
    aside_of(file).symlink_to("/dev/full")
    with pytest.raises(StorageError, match="the disk is full: free some space and run the same command"):
        locate(file).write_whole(b"123")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_a_download_at_once(s3, tmp_path):
    place = locate(s3()) / "a"
    place.write_whole(b"123")
    aside_of(tmp_path / "a").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="the disk is full"):
        place.download(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_disk_that_cannot_be_written_is_an_error(tmp_path, monkeypatch, number):
    """As the kernel says it; who runs the tests may be allowed everything."""

    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=f"a: {os.strerror(number)}: check its permissions"):
        locate(tmp_path / "a").write_whole(b"123")


def test_a_hundred_thousand_files_are_listed_in_seconds(tmp_path):
    for number in range(100):
        (tmp_path / f"{number:03d}").mkdir()
        for file in range(1000):
            (tmp_path / f"{number:03d}" / f"{file:03d}").touch()
    began = time.process_time()
    assert len(locate(tmp_path).files()) == 100_000
    assert time.process_time() - began < 5


def test_a_location_is_two_values():
    assert Location(pafs.LocalFileSystem(), "/a") == locate("/a")
