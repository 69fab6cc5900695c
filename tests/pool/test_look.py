"""Looking at pools: info, contact sheets, verify; the commands as a user meets them."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageFont
from rich.console import Console

from tests.compose.pools import pixels
from tests.conftest import CATEGORIES, seal_discs
from xpaste_ray.cli import main
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pool import open_pool
from xpaste_ray.pool.check import check_pool
from xpaste_ray.pool.sheet import draw_sheets
from xpaste_ray.pool.stats import describe
from xpaste_ray.pool.write import write_pool as write_rows
from xpaste_ray.report_pool import bars, print_pool_info
from xpaste_ray.runs import read_json, write_json
from xpaste_ray.storage import locate

TILE = 136  # with its gap


def scored_pool(folder, instances, greys=None):
    """instances: (category number, source, clip_logit or None), each 8 x 8 px and grey, 90 if not said."""
    rows = []
    for number, (category, source, logit) in enumerate(instances):
        rgba = pixels(8, 8, greys[number] if greys else 90)
        one = CATEGORIES[category]
        rows.append({"instance_id": f"i{number}", "category_id": one.id, "category": one.name,
                     "height": 8, "width": 8, "encoding": "raw", "rgba": rgba.tobytes(),
                     "alpha": None, "candidate_id": f"c{number}", "method": "sam", "ordinal": 0,
                     "source": source, "model": None, "clip_logit": logit,
                     "scores": [("nsfw", 0.25)], "source_size_hw": [8, 8],
                     "source_box_xywh": [0, 0, 8, 8]})  # fmt: skip
    write_rows(locate(folder), rows, CATEGORIES, [])
    return open_pool(folder)


@pytest.fixture
def pool(tmp_path):
    """Four bananas, a lion without a score, no frog; from two sources."""
    told = [(0, "web", 20.0), (0, "sd", 30.0), (0, "sd", 24.0), (0, "sd", 22.0), (2, "web", None)]
    return scored_pool(tmp_path / "scored", told)


# --- info ----------------------------------------------------------------------------------------


def test_counts_and_scores_by_hand(pool):
    info = describe(pool)
    assert info.categories == ((45, "banana", 4), (475, "frog", 0), (649, "lion", 1))
    assert info.counts["source"] == {"sd": 3, "web": 2} and info.counts["model"] == {"unknown": 5}
    assert info.counts["method"] == {"sam": 5} and info.empty_categories == 1
    assert info.bytes == sum(
        path.stat().st_size for path in pool.folder.iterdir() if path.suffix != ".parquet"
    )
    banana = info.by_category[45]
    assert (banana.count, banana.lowest, banana.median, banana.highest) == (4, 20, 23, 30)
    assert [n for n, count in enumerate(banana.histogram) if count] == [0, 4, 8, 19]  # bins of half a logit
    assert set(info.by_category) == {45} and {key: one.count for key, one in info.by_source.items()} == {
        "sd": 3, "web": 1}  # fmt: skip


def test_another_score_is_read_from_the_map(pool):
    info = describe(pool, "nsfw")
    assert info.by_category[649].median == 0.25 and info.by_source["sd"].count == 3
    assert describe(pool, "aesthetic").by_category == {}
    with pytest.raises(ConfigError, match="--score clip: give one of clip_logit"):
        describe(pool, "clip")


def test_a_category_without_instances_is_told(pool):
    console = Console(record=True, width=120, file=io.StringIO())
    print_pool_info(describe(pool), "here", console)
    text = console.export_text()
    assert "5 instances of 3 categories" in text and "1 of 3 categories have no instance" in text
    (frog,) = [line for line in text.splitlines() if "frog" in line]
    assert frog.split("│")[2].strip() == "0"


def test_bars_show_every_bin_that_has_something():
    assert bars([0, 1, 500, 1000]) == " ▁▄█" and bars([]) == "" and bars([0, 0]) == "  "


# --- contact sheets ------------------------------------------------------------------------------


def tiles_in(image):
    """Which tiles of a sheet hold the grey cut-outs of 8 x 8 px: how many."""
    return int((image == 90).all(axis=2).sum()) // 64


def test_a_sheet_has_as_many_cells_as_it_says(pool):
    (sheet,) = draw_sheets(pool)
    assert sheet.rows == (("banana", 4), ("lion", 1)) and sheet.cells == 5 == tiles_in(sheet.image)
    (sheet,) = draw_sheets(pool, ["Banana"], per_category=3)
    assert sheet.rows == (("banana", 3),) and tiles_in(sheet.image) == 3
    (sheet,) = draw_sheets(pool, ["frog"])
    assert sheet.rows == (("frog", 0),) and tiles_in(sheet.image) == 0


def test_a_sheet_is_the_same_each_time(pool):
    (one,), (two,) = draw_sheets(pool), draw_sheets(pool)
    assert np.array_equal(one.image, two.image)


def test_the_best_the_worst_and_evenly_many_between_are_shown(tmp_path):
    """Of five bananas three: by logit the first, the third and the last. Their greys say which they are."""
    told = [(0, "sd", logit) for logit in (22.0, 30.0, 20.0, 24.0, 28.0)]
    pool = scored_pool(tmp_path / "pool", told, greys=(110, 120, 130, 140, 150))
    (sheet,) = draw_sheets(pool, per_category=3)
    middle = sheet.image[24 + 64, 8 + 64 :: TILE, 0]  # of each tile
    assert middle[:3].tolist() == [120, 140, 130]


def test_many_categories_go_to_pages_of_bounded_size(pool, monkeypatch):
    monkeypatch.setattr("xpaste_ray.pool.sheet.ROWS_PER_PAGE", 1)
    sheets = list(draw_sheets(pool, per_category=8))
    assert [sheet.rows for sheet in sheets] == [(("banana", 4), ("lion", 1))]
    monkeypatch.setattr("xpaste_ray.pool.sheet._MIN_COLUMNS", 5)
    sheets = list(draw_sheets(pool, per_category=4))
    assert [sheet.rows for sheet in sheets] == [(("banana", 4),), (("lion", 1),)]
    assert all(sheet.image.shape == sheets[0].image.shape for sheet in sheets)


@pytest.mark.parametrize("name", ["日本 🍌", "a\nb\0c\x1b[31m", "x" * 300, "food_(mix)'", "[bold]"])
def test_b9_any_name_can_be_shown(tmp_path, name, monkeypatch):
    pool = scored_pool(tmp_path / "pool", [(0, name, 25.0)])
    told = read_json(pool.folder / "manifest.json")
    told["categories"][0]["name"] = name
    write_json(pool.folder / "manifest.json", told)
    pool = open_pool(pool.folder)
    (sheet,) = draw_sheets(pool)
    assert tiles_in(sheet.image) == 1
    bitmap = ImageFont.load_default_imagefont()  # as where Pillow has no FreeType
    monkeypatch.setattr("xpaste_ray.pool.sheet.font", lambda size: bitmap)
    (plain,) = draw_sheets(pool)
    assert plain.image.shape == sheet.image.shape
    console = Console(record=True, width=400, file=io.StringIO())
    print_pool_info(describe(pool), "here", console)


def test_an_unknown_category_is_an_error_that_names_the_nearest(pool):
    with pytest.raises(ConfigError, match="no such category; did you mean 'banana'"):
        list(draw_sheets(pool, ["bananna"]))


# --- verify --------------------------------------------------------------------------------------


def reseal(pool, change):
    """A pool whose checksums are right and whose rows are not."""
    folder = locate(pool.folder)
    rows = [pool.stored(row) for row in range(len(pool))]
    change(rows)
    for path in pool.folder.iterdir():
        path.unlink()
    write_rows(folder, rows, CATEGORIES, [])


def test_a_whole_pool_has_no_problems(pool, make_pool):
    assert list(check_pool(locate(pool.folder))) == []
    assert list(check_pool(locate(make_pool({"banana": 2, "frog": 1}).folder))) == []


def test_each_damage_is_told(pool):
    folder = locate(pool.folder)
    shard = pool.folder / "shard-00000.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert list(check_pool(folder)) == [("shard-00000.arrow", "damaged: its checksum is another")]
    shard.unlink()
    assert list(check_pool(folder)) == [("shard-00000.arrow", "missing")]
    (pool.folder / "manifest.json").write_text("{}")
    assert [file for file, _ in check_pool(folder)] == ["manifest.json"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: rows[1].update(rgba=b"123"), "instance i1: damaged"),
        (lambda rows: rows[1].update(height=4, width=4), "instance i1: damaged"),
        (lambda rows: rows[1].update(encoding="jpeg"), "instance i1: damaged"),
        (lambda rows: rows[1].update(rgba=pixels(8, 8, 90, 0).tobytes()), "nothing of it can be seen"),
        (lambda rows: rows[1].update(instance_id="i0"), "an instance id is there twice"),
        (lambda rows: rows[1].update(category_id=7), "1 instances of category 7, not 0"),
    ],
)
def test_instances_that_are_not_what_the_pool_says(pool, change, problem):
    reseal(pool, change)
    assert [told for _, told in check_pool(locate(pool.folder)) if problem in told]


def test_an_index_of_other_instances_is_told(pool):
    index = pool.folder / "index.arrow"
    other = scored_pool(pool.folder.with_name("other"), [(0, "sd", 1.0)] * 4 + [(2, "sd", 1.0)])
    data = (other.folder / "index.arrow").read_bytes().replace(b"i3", b"i9")
    index.write_bytes(data)
    told = read_json(pool.folder / "manifest.json")
    told["index"]["checksum"] = hash_bytes(data)
    write_json(pool.folder / "manifest.json", told)
    assert list(check_pool(locate(pool.folder))) == [
        ("shard-00000.arrow", "instance i3: the index says something else")
    ]


# --- commands ------------------------------------------------------------------------------------


@pytest.fixture
def xpaste(monkeypatch, capsys):
    """xpaste(arguments, code=0): what the command prints; its entry point, in this process."""

    def call(*arguments, code=0):
        monkeypatch.setattr("sys.argv", ["xpaste", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        assert end.value.code == code, told
        return told.out + told.err

    return call


def test_commands_work_on_an_object_store(s3, tmp_path, monkeypatch, xpaste):
    """Out of a run in a bucket, to a bucket, and back; then both pools as one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bucket = s3()
    seal_discs(locate(f"{bucket}/run"), {"banana": 2, "lion": 1})
    pool = f"{bucket}/run/pools/pool"
    assert json.loads(xpaste("pool", "info", pool, "--json"))["instances"] == 3
    assert "3 images" in xpaste("pool", "export", pool, "--out", f"{bucket}/export")
    assert "3 instances, 0 rejected" in xpaste(
        "pool", "import", f"{bucket}/export", "--out", f"{bucket}/back"
    )
    assert "is whole" in xpaste("pool", "verify", f"{bucket}/back")
    told = xpaste("pool", "merge", pool, f"{bucket}/back", "--out", f"{bucket}/both")
    assert "3 instances, 3 duplicates, 0 renamed" in told
    shown = xpaste("pool", "show", f"{bucket}/both", "--out", tmp_path / "sheet.png", "--category", "banana")
    assert "2 instances on 1 page" in shown
    assert Image.open(tmp_path / "sheet.png").size == (8 + 8 * TILE, 24 + 128 + 30)


def test_wrong_use_exits_with_2_and_damage_with_1(pool, tmp_path, xpaste):
    assert "holds no sealed pool" in xpaste("pool", "info", tmp_path, code=2)
    assert "ends in .png" in xpaste("pool", "show", pool.folder, "--out", tmp_path / "a.jpg", code=2)
    assert "two pools or more" in xpaste("pool", "merge", pool.folder, "--out", tmp_path / "b", code=2)
    assert "--repair goes with a run" in xpaste("pool", "verify", pool.folder, "--repair", code=2)
    assert "is not a run" in xpaste("pool", "verify", tmp_path, code=2)
    (pool.folder / "shard-00000.arrow").write_bytes(b"")
    assert "damaged: its checksum is another" in xpaste("pool", "verify", pool.folder, code=1)
