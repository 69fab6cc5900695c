import pytest

from tests.sources.material import jpeg, sample, tar, write_files
from xpaste_ray.errors import ConfigError
from xpaste_ray.sources.webdataset import Member, Tars
from xpaste_ray.storage import locate

OPTION = "sources.tars.path"
FROG = {"url": "https://a.example/1.jpg", "key": "000000000", "status": "success", "category": "frog",
        "licence": "CC0", "width": 64}  # fmt: skip


@pytest.fixture(params=["disk", "s3"])
def root(request, tmp_path):
    return locate(tmp_path / "tars" if request.param == "disk" else f"{request.getfixturevalue('s3')()}/tars")


def _open(place, cache, key="category"):
    return Tars(place, OPTION, key, cache)


def _bytes(tars, row):
    member = Member.of(tars.listing["uri"][row].as_py())
    data = (tars.root / member.tar).read_bytes()
    return data[member.offset : member.offset + member.size]


def test_images_are_found_by_their_places_in_the_tars(root, tmp_path):
    """As img2dataset writes them: parquet files beside the tars, keys that go on from tar to tar."""
    images = [jpeg(n) for n in range(3)]
    write_files(root, {
        "00000.tar": tar({**sample("000000000", images[0], FROG), **sample("000000001", images[1], FROG)}),
        "00001.tar": tar(sample("000010000", images[2], {"category": 58, "url": "https://a.example/3.jpg"})),
        "00000.parquet": b"x", "00000_stats.json": b"{}",
    })  # fmt: skip
    tars = _open(root, tmp_path / "cache")
    rows = tars.listing.to_pylist()
    assert [row["category"] for row in rows] == ["frog", "frog", "58"]
    assert [row["page"] for row in rows] == [FROG["url"], FROG["url"], "https://a.example/3.jpg"]
    assert [row["licence"] for row in rows] == ["CC0", "CC0", None]
    assert [row["uri"].partition("@")[0] for row in rows] == [
        "00000.tar#000000000.jpg", "00000.tar#000000001.jpg", "00001.tar#000010000.jpg"
    ]  # fmt: skip
    assert [_bytes(tars, row) for row in range(3)] == images


def test_one_tar_is_a_source_too(root, tmp_path):
    write_files(root, {"00000.tar": tar(sample("0", jpeg(), FROG)), "00001.tar": b"none"})
    assert len(_open(root / "00000.tar", tmp_path / "cache").listing) == 1


def test_metadata_may_stand_before_the_image(tmp_path):
    members = sample("0", jpeg(), FROG)
    write_files(tmp_path, {"0.tar": tar(dict(sorted(members.items(), reverse=True)))})
    assert _open(locate(tmp_path), tmp_path / "cache").listing["category"].to_pylist() == ["frog"]


def test_category_stands_under_a_key_of_ones_own(tmp_path):
    write_files(tmp_path, {"0.tar": tar(sample("0", jpeg(), {"label": "cup", "category": "frog"}))})
    assert _open(locate(tmp_path), tmp_path / "cache", "label").listing["category"].to_pylist() == ["cup"]


def test_samples_that_cannot_be_used_are_counted(tmp_path):
    write_files(tmp_path, {"0.tar": tar({
        **sample("0", jpeg(), FROG), **sample("1", jpeg(), {}), **sample("2", jpeg(), {"category": True}),
        "3.jpg": jpeg(), "4.jpg": jpeg(), "4.json": b"{", **sample("5", None, FROG),
    })})  # fmt: skip
    tars = _open(locate(tmp_path), tmp_path / "cache")
    assert len(tars.listing) == 1
    assert sorted(tars.notes) == [
        "2 samples left out: no 'category' in the .json",
        "2 samples left out: no readable .json beside the image",
    ]


def test_no_category_at_all_is_an_error_that_says_how_to_keep_it(tmp_path):
    write_files(tmp_path, {"0.tar": tar(sample("0", jpeg(), {"caption": "a frog"}))})
    with pytest.raises(
        ConfigError, match=r"no sample of .* is usable .*save_additional_columns.*category_key"
    ):
        _open(locate(tmp_path), tmp_path / "cache")


def test_a_tar_is_read_once_and_again_when_it_changes(tmp_path):
    root = write_files(tmp_path / "tars", {"0.tar": tar(sample("0", jpeg(), FROG))})
    first = _open(root, tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "tars").glob("*.parquet")
    made = kept.stat().st_mtime_ns
    assert _open(root, tmp_path / "cache").listing == first.listing and kept.stat().st_mtime_ns == made
    write_files(root, {"0.tar": tar({**sample("0", jpeg(), FROG), **sample("1", jpeg(1), FROG)})})
    second = _open(root, tmp_path / "cache")
    assert len(second.listing) == 2 and second.contents != first.contents


def test_contents_are_the_same_elsewhere(tmp_path):
    data = tar(sample("0", jpeg(), FROG))
    roots = [write_files(tmp_path / name, {"0.tar": data}) for name in ("here", "there")]
    assert len({_open(root, tmp_path / "cache").contents for root in roots}) == 1


@pytest.mark.parametrize("cut", [700, 100])
def test_damaged_tar_is_an_error_that_names_it(tmp_path, cut):
    write_files(tmp_path, {"0.tar": tar(sample("0", jpeg(), FROG))[:cut]})
    with pytest.raises(ConfigError, match=r"sources\.tars\.path: .*0\.tar is damaged .*download it again"):
        _open(locate(tmp_path), tmp_path / "cache")


@pytest.mark.parametrize(
    ("files", "place", "message"),
    [
        ({}, "nowhere", "is neither a tar nor a folder of tars"),
        ({"x.txt": b"x"}, "", "holds no .tar file"),
        ({"a#b.tar": b"x"}, "", "the name of a tar must not have a #"),
    ],
)
def test_no_tars_are_an_error(tmp_path, files, place, message):
    write_files(tmp_path, files)
    with pytest.raises(ConfigError, match=rf"sources\.tars\.path: .*{message}"):
        _open(locate(tmp_path / place), tmp_path / "cache")


def test_places_survive_any_name_of_a_member():
    member = Member("00000.tar", "a#b@c+1.jpg", 512, 1000)
    assert Member.of(member.uri) == member
