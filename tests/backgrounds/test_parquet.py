import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.backgrounds.material import encoded, picture
from xpaste_ray.backgrounds import resolve_source
from xpaste_ray.backgrounds.index import cut_parts
from xpaste_ray.errors import ConfigError

PICTURES = [picture(20 + n, 30, seed=n) for n in range(7)]
FILES = [encoded(image, "PNG") for image in PICTURES]


def _write(path, rows, column="image", struct=True, group=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.large_binary()
    values = [{"bytes": row, "path": "x.png"} if struct else row for row in rows]
    table = pa.table({"label": list(range(len(rows))), column: pa.array(values, kind)})
    pq.write_table(table, path, row_group_size=group)
    return path


@pytest.mark.parametrize(
    ("column", "struct"), [("image", True), ("image", False), ("jpg", False), ("img", True)]
)
def test_file_of_images(tmp_path, index, column, struct):
    found = index(_write(tmp_path / "a.parquet", FILES, column, struct))
    assert [found.id(row) for row in range(7)] == [f"a.parquet#{row}" for row in range(7)]
    for row in (6, 0, 3, 5):
        assert np.array_equal(found.load(row), PICTURES[row])
    assert found.size_hw(4) == (24, 30)


def test_folder_of_files_in_name_order_with_their_broken_rows(tmp_path, index):
    _write(tmp_path / "in" / "b.parquet", FILES[:2])
    _write(tmp_path / "in" / "a" / "x.parquet", [FILES[2], None, b"", FILES[3][:99], FILES[4]], group=2)
    found = index(tmp_path / "in")
    assert [found.id(row) for row in range(len(found))] == [
        "a/x.parquet#0", "a/x.parquet#4", "b.parquet#0", "b.parquet#1",
    ]  # fmt: skip
    assert dict(found.rejected_images()) == {
        "a/x.parquet#1": "missing_file",
        "a/x.parquet#2": "empty_file",
        "a/x.parquet#3": "truncated",
    }
    assert np.array_equal(found.load(1), PICTURES[4])


def test_parts_do_not_tear_row_groups_apart(tmp_path):
    source = resolve_source(_write(tmp_path / "a.parquet", FILES, group=3))
    assert [len(part) for part in cut_parts(source.catalogue().items, 2)] == [3, 3, 1]
    assert [len(part) for part in cut_parts(source.catalogue().items, 4)] == [6, 1]


def test_column_is_named_when_it_is_not_clear(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"left": [FILES[0]], "right": [FILES[1]], "n": [1]}), path)
    with pytest.raises(ConfigError, match="no image column 'image' .it could be left, right."):
        resolve_source(path)
    assert resolve_source(path, column="right").column == "right"
    with pytest.raises(ConfigError, match="no image column 'n'"):
        resolve_source(path, column="n")


def test_what_is_not_usable_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="not readable as Parquet"):
        resolve_source(tmp_path / "a.parquet")
    _write(tmp_path / "a.parquet", FILES)
    (tmp_path / "b.png").write_bytes(FILES[0])
    with pytest.raises(ConfigError, match="both images and Parquet files"):
        resolve_source(tmp_path)


def test_changed_file_is_an_error_that_names_the_row(tmp_path, index):
    path = _write(tmp_path / "a.parquet", FILES)
    found = index(path)
    _write(path, FILES[::-1])
    with pytest.raises(ConfigError, match="a.parquet#1 has changed since it was indexed"):
        found.load(1)
    assert np.array_equal(found.load(3), PICTURES[3])  # the middle one is still the same
    path.write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="a.parquet#1: missing_file"):
        found.load(1)
