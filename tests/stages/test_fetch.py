"""What became of each URL is kept, decoded from what was kept, and not asked for again."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.backgrounds.material import encoded, exif, picture, png
from tests.web.server import JPEG, answer, cut_short, in_turn, never, serving
from xpaste_ray.config import WebSource
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pictures.decode import decode
from xpaste_ray.records import Candidate, Prompt
from xpaste_ray.runs import RunDir
from xpaste_ray.stages.fetch import FetchStage
from xpaste_ray.web.store import read_fetched

UNIT = "00000/unit-00003"
SETTINGS = WebSource(
    kind="web",
    list="urls.csv",
    timeout_s=0.4,
    retries=0,
    requests_per_host_s=1000,
    min_side_px=32,
    max_side_px=100,
    max_bytes=100_000,
    allow_private=True,
)


@pytest.fixture
def server():
    with serving() as running:
        yield running


@pytest.fixture
def run(tmp_path):
    return RunDir(tmp_path / "run")


def stage_of(run, **changes):
    stage = FetchStage(SETTINGS.model_copy(update=changes), run)
    stage.begin_unit(UNIT)
    return stage


def candidates(server, *paths):
    return [
        Candidate(Prompt(f"3-{i}-test", 3, "banana", i, "web", uri=server.url(path)))
        for i, path in enumerate(paths)
    ]


def test_image_comes_reduced_with_the_hash_of_its_bytes(server, run):
    server.routes["/a"] = answer(JPEG)  # 120 x 90 px
    (done,) = stage_of(run)(candidates(server, "/a"))
    assert (done.status, done.reason, done.content_hash) == ("ok", None, hash_bytes(JPEG))
    assert done.image.shape == (75, 100, 3)
    assert abs(done.image.mean() - decode(JPEG).mean()) < 2


def bomb():
    """It says that it has 50,000 x 50,000 px."""
    return png(50_000, 50_000, bytes(1000))


BODIES = [
    ("text named .jpg", b"this is no image" * 10, "unsupported_format"),
    ("page", b"<!doctype html><html><body>Not found</body></html>", "unsupported_format"),
    ("empty", b"", "empty_file"),
    ("GIF", encoded(picture(), "GIF"), "unsupported_format"),
    ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
    ("half a JPEG", JPEG[: len(JPEG) // 2], "truncated"),
    ("half a PNG", encoded(picture(), "PNG")[:2000], "truncated"),
    ("bomb", bomb(), "too_many_pixels"),
    ("small", encoded(picture(31, 64), "JPEG"), "image_too_small"),
    ("black", encoded(np.zeros((64, 64, 3), np.uint8), "PNG"), "black_image"),
    ("constant", encoded(np.full((64, 64, 3), 99, np.uint8), "PNG"), "constant_image"),
]


@pytest.mark.parametrize(("body", "reason"), [pytest.param(*case, id=name) for name, *case in BODIES])
def test_bytes_that_are_no_usable_image_are_rejected_for_good(server, run, body, reason):
    server.routes["/a.jpg"] = answer(body, content_type="image/jpeg")
    (done,) = stage_of(run)(candidates(server, "/a.jpg"))
    assert (done.status, done.reason, done.transient, done.image) == ("rejected", reason, False, None)
    assert done.content_hash == hash_bytes(body)


def test_format_is_what_the_bytes_say_whatever_the_server_says(server, run):
    webp = encoded(picture(64, 80), "WEBP", lossless=True)
    server.routes["/a.html"] = answer(webp, content_type="text/html")
    (done,) = stage_of(run)(candidates(server, "/a.html"))
    assert np.array_equal(done.image, picture(64, 80))


def test_photograph_comes_upright_and_in_its_colours(server, run):
    turned = encoded(picture(40, 80), "PNG", exif=exif(6))
    cmyk = encoded(Image.fromarray(picture(40, 80)).convert("CMYK"), "JPEG")
    server.routes |= {"/turned": answer(turned), "/cmyk": answer(cmyk)}
    turned_done, cmyk_done = stage_of(run)(candidates(server, "/turned", "/cmyk"))
    assert np.array_equal(turned_done.image, np.rot90(picture(40, 80), 3))
    assert cmyk_done.image.shape == (40, 80, 3)


def test_neighbours_of_failures_go_on_and_order_is_kept(server, run):
    server.routes |= {"/a": answer(JPEG), "/slow": never}
    given = [*candidates(server, "/gone", "/a", "/slow"), replace(candidates(server, "/a")[0])]
    given[3] = Candidate(replace(given[3].prompt, candidate_id="3-9-test", uri="http://user:pw@x/a"))
    done = stage_of(run)(given)
    assert [(one.reason, one.transient) for one in done] == [
        ("http_404", False), (None, False), ("timeout", True), ("bad_url", False)
    ]  # fmt: skip
    assert [one.prompt for one in done] == [one.prompt for one in given]


def test_what_came_is_kept_whole_with_url_and_hash(server, run):
    server.routes["/a"] = answer(JPEG, content_type="image/jpeg")
    stage_of(run)(candidates(server, "/a", "/gone"))
    a, gone = pq.read_table(run.fetched_file(UNIT).path).to_pylist()
    assert a == {
        "candidate_id": "3-0-test", "url": server.url("/a"), "final_url": server.url("/a"),
        "http_status": 200, "reason": None, "transient": False, "content_type": "image/jpeg",
        "content_hash": hash_bytes(JPEG),
        "body": JPEG,
    }  # fmt: skip
    assert (gone["http_status"], gone["reason"], gone["body"]) == (404, "http_404", None)


def test_nothing_that_is_kept_is_asked_for_again_and_gives_the_same(server, run):
    server.routes |= {"/a": in_turn(answer(JPEG), answer(b"changed")), "/html": answer(b"<html>")}
    given = candidates(server, "/a", "/html", "/gone")
    first = stage_of(run)(given)
    second = stage_of(run)(given)
    assert len(server.asked) == 3
    assert (
        [one.reason for one in second]
        == [one.reason for one in first]
        == [None, "unsupported_format", "http_404"]
    )
    assert np.array_equal(first[0].image, second[0].image)


def test_only_what_failed_for_a_passing_reason_is_asked_again(server, run):
    server.routes |= {"/a": answer(JPEG), "/b": in_turn(answer(b"", 503), answer(JPEG))}
    given = candidates(server, "/a", "/b", "/gone")
    assert [one.reason for one in stage_of(run)(given)] == [None, "http_503", "http_404"]
    assert [one.reason for one in stage_of(run)(given)] == [None, None, "http_404"]
    assert [server.count(path) for path in ("/a", "/b", "/gone")] == [1, 2, 1]


def test_rows_one_by_one_share_the_units_file(server, run):
    """As after a process died: what the whole unit fetched is there, and each row adds its own."""
    server.routes |= {"/a": answer(JPEG), "/b": answer(JPEG)}
    one, other = candidates(server, "/a", "/b")
    stage_of(run)([one])
    stage_of(run)([other])
    stage_of(run)([one, other])
    assert len(server.asked) == 2
    assert pq.read_table(run.fetched_file(UNIT).path).num_rows == 2


def test_damaged_bytes_are_fetched_again(server, run):
    server.routes |= {"/a": answer(JPEG), "/b": answer(JPEG)}
    given = candidates(server, "/a", "/b")
    stage_of(run)(given)
    path = run.fetched_file(UNIT).path
    rows = pq.read_table(path).to_pylist()
    rows[0]["body"] = JPEG[:-5] + b"wrong"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    done = stage_of(run)(given)
    assert [one.content_hash for one in done] == [hash_bytes(JPEG)] * 2
    assert [server.count(path) for path in ("/a", "/b")] == [2, 1]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no parquet"])
def test_damaged_file_is_made_again(server, run, damage):
    server.routes["/a"] = answer(JPEG)
    given = candidates(server, "/a")
    stage_of(run)(given)
    path = run.fetched_file(UNIT).path
    path.write_bytes(damage(path.read_bytes()))
    assert stage_of(run)(given)[0].status == "ok"
    assert server.count("/a") == 2
    assert read_fetched(run.fetched_file(UNIT), {"3-0-test": server.url("/a")})["3-0-test"].body == JPEG


def test_another_url_of_the_same_candidate_is_another_image(server, run):
    server.routes |= {"/a": answer(JPEG), "/b": answer(encoded(picture(seed=5), "PNG"))}
    (a,) = stage_of(run)(candidates(server, "/a"))
    (b,) = stage_of(run)(candidates(server, "/b"))
    assert a.content_hash != b.content_hash


def test_private_addresses_are_refused_unless_allowed(server, run):
    server.routes["/a"] = answer(JPEG)
    (done,) = stage_of(run, allow_private=False)(candidates(server, "/a"))
    assert (done.reason, server.asked) == ("private_address", [])


def test_cut_answer_is_never_a_grey_image(server, run):
    """B1: whether the server said how long it is, or not."""
    half = JPEG[: len(JPEG) // 2]
    server.routes |= {"/told": cut_short(JPEG), "/untold": answer(half, length=False)}
    done = stage_of(run)(candidates(server, "/told", "/untold"))
    assert [(one.reason, one.transient, one.image) for one in done] == [
        ("incomplete", True, None), ("truncated", False, None)
    ]  # fmt: skip


def test_animation_gives_its_first_frame(server, run):
    frames = [Image.fromarray(picture(40, 40, seed=seed)) for seed in (1, 2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    server.routes["/a"] = answer(buffer.getvalue())
    (done,) = stage_of(run)(candidates(server, "/a"))
    assert np.array_equal(done.image, picture(40, 40, seed=1))
