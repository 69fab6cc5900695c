import io
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.backgrounds.material import encoded, exif, picture, png, small_dataset, square, write_dataset
from tests.sources.material import cutout, jpeg, sample, tar, write_files
from tests.sources.test_candidates import _of, _write
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.config import (
    AnnotatedSource,
    CandidatesSource,
    CutoutsSource,
    FolderSource,
    WebDatasetSource,
)
from xpaste_ray.config.images import ImagesSettings
from xpaste_ray.errors import StorageError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pictures.files import read_file
from xpaste_ray.records import Candidate, Prompt, Proposal
from xpaste_ray.sources.annotated import Objects
from xpaste_ray.sources.candidates import Candidates
from xpaste_ray.sources.webdataset import Tars
from xpaste_ray.stages import read
from xpaste_ray.stages.read import ReadStage, with_margin
from xpaste_ray.storage import locate

FOLDER = FolderSource(kind="folder", path="unused", max_side_px=64)
CUTOUTS = CutoutsSource(kind="cutouts", path="unused", max_side_px=64)
LABELLED = ImagesSettings(path="unused", max_side_px=64)
TARS = WebDatasetSource(kind="webdataset", path="unused", max_side_px=64)
RUN = CandidatesSource(kind="candidates", run="unused", max_side_px=64)


def _candidates(uris):
    return [Candidate(Prompt(f"475-{n}-r", 475, "frog", n, "found", uri=uri)) for n, uri in enumerate(uris)]


def _read(settings, place, uris):
    return ReadStage(settings, place)(_candidates(uris))


@pytest.fixture(params=["disk", "s3"])
def root(request, tmp_path):
    return locate(
        tmp_path / "found" if request.param == "disk" else f"{request.getfixturevalue('s3')()}/found"
    )


# --- files ---------------------------------------------------------------------------------------


def test_images_come_with_the_hash_of_their_bytes(root):
    data = encoded(picture(48, 64), "PNG")
    write_files(root, {"frog/a.png": data})
    (done,) = _read(FOLDER, root, ["frog/a.png"])
    assert done.status == "ok" and np.array_equal(done.image, picture(48, 64))
    assert done.content_hash == hash_bytes(data) and (done.model, done.proposals) == (None, ())


def test_longer_side_is_bounded(tmp_path):
    root = write_files(tmp_path, {"a.jpg": jpeg(height=200, width=100)})
    (done,) = _read(FOLDER, root, ["a.jpg"])
    assert done.image.shape == (64, 32, 3)


def test_exif_is_applied(tmp_path):
    turned = encoded(Image.fromarray(picture(48, 64)), "JPEG", exif=exif(6))
    (done,) = _read(FOLDER, write_files(tmp_path, {"a.jpg": turned}), ["a.jpg"])
    assert done.image.shape == (64, 48, 3)


def test_image_of_several_categories_is_read_and_decoded_once(root, monkeypatch):
    data, opened = jpeg(), []
    write_files(root, {"a.jpg": data, "b.jpg": b"text"})
    monkeypatch.setattr(read, "read_file", lambda place: (opened.append(place.name), read_file(place))[1])
    done = _read(LABELLED, root, ["a.jpg", "a.jpg", "b.jpg", "gone.jpg", "b.jpg"])
    assert opened == ["a.jpg", "b.jpg", "gone.jpg"]
    assert done[0].image is done[1].image and done[0].content_hash == hash_bytes(data)
    assert [one.reason for one in done] == [None, None, "unsupported_format", "missing_file",
                                            "unsupported_format"]  # fmt: skip


def test_index_file_may_name_images_elsewhere(tmp_path, s3):
    bucket, disk = write_files(f"{s3()}/images", {"a.jpg": jpeg()}), write_files(tmp_path, {"b.jpg": jpeg()})
    done = _read(FOLDER, disk, [f"{bucket}/a.jpg", str(tmp_path / "b.jpg"), "b.jpg"])
    assert [one.status for one in done] == ["ok"] * 3


def test_address_that_nothing_is_read_from_is_one_rejected_row(tmp_path):
    root = write_files(tmp_path, {"a.jpg": jpeg(), "b.png": cutout()})
    bad = ["https://a.example/1.jpg", "s3://key:secret@bucket/1.jpg", "file://elsewhere/1.jpg"]
    assert [one.reason for one in _read(FOLDER, root, [*bad, "a.jpg"])] == [*["bad_path"] * 3, None]
    assert [one.reason for one in _read(CUTOUTS, root, [bad[0], "b.png"])] == ["bad_path", None]


def _save(image, kind, **options):
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


SUSPICIOUS = {
    "cut.jpg": (jpeg()[:-200], "truncated"),
    "half.jpg": (jpeg()[: len(jpeg()) // 2] + b"\xff\xd9", "truncated"),
    "cut.png": (encoded(picture(), "PNG")[:-30], "truncated"),
    "empty.jpg": (b"", "empty_file"),
    "text.png": (b"<!DOCTYPE html>", "unsupported_format"),
    "bitmap.jpg": (_save(Image.new("RGB", (9, 9)), "BMP"), "unsupported_format"),
    "bomb.png": (png(50_000, 50_000, b""), "too_many_pixels"),
    "black.png": (_save(Image.new("RGB", (9, 9)), "PNG"), "black_image"),
    "white.png": (_save(Image.new("RGB", (9, 9), "white"), "PNG"), "constant_image"),
}


def test_suspicious_files_are_rejected_each_with_its_reason_and_harm_no_other(root):
    files = {name: data for name, (data, _) in SUSPICIOUS.items()} | {"good.jpg": jpeg()}
    done = _read(FOLDER, write_files(root, files), [*SUSPICIOUS, "missing.jpg", "good.jpg"])
    reasons = {one.prompt.uri: one.reason for one in done}
    assert reasons == {name: reason for name, (_, reason) in SUSPICIOUS.items()} | {
        "missing.jpg": "missing_file", "good.jpg": None
    }  # fmt: skip
    assert all((one.status == "ok") == (one.image is not None) for one in done)
    assert not any(one.transient for one in done)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "I;16"])
def test_other_kinds_of_colour_become_rgb(tmp_path, mode):
    image = Image.fromarray(picture()[..., 0].astype(np.uint16) * 256) if mode == "I;16" else (
        Image.fromarray(picture()).convert(mode)
    )  # fmt: skip
    kind = "JPEG" if mode == "CMYK" else "PNG"
    (done,) = _read(FOLDER, write_files(tmp_path, {"a": _save(image, kind)}), ["a"])
    assert done.image.shape == (48, 64, 3) and done.image.dtype == np.uint8


def test_file_that_grew_beyond_reason_is_not_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    os.truncate(tmp_path / "a.jpg", 600 * 1024**2)  # sparse
    (done,) = _read(FOLDER, locate(tmp_path), ["a.jpg"])
    assert done.reason == "file_too_large"


def test_failing_disk_is_worth_another_try(tmp_path):
    """A path that runs in a circle is an error of the disk's; it is not missing."""
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (done,) = _read(FOLDER, locate(tmp_path), ["loop.jpg"])
    assert (done.status, done.reason, done.transient) == ("rejected", "read_failed", True)


def test_store_that_does_not_answer_is_worth_another_try(tmp_path, s3, monkeypatch):
    monkeypatch.setattr("xpaste_ray.storage.RETRY_SECONDS", 0.2)
    place = locate("s3://no-such-bucket-here/a?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1")
    (done,) = _read(FOLDER, place, ["a.jpg"])
    assert (done.reason, done.transient) == ("read_failed", True)


# --- tars, earlier runs --------------------------------------------------------------------------


def test_members_of_tars_are_read_by_their_places(root, tmp_path):
    images = [encoded(picture(20, 30, seed), "PNG") for seed in range(2)]
    members = {
        **sample("0", images[0], {"category": "frog"}),
        **sample("1", images[1], {"category": "frog"}),
        **sample("2", jpeg()[:100], {"category": "frog"}),
    }
    write_files(root, {"00000.tar": tar(members)})
    tars = Tars(root, "option", "category", tmp_path / "cache")
    done = _read(TARS, tars.root, tars.listing["uri"].to_pylist()[::-1])
    assert [one.reason for one in done] == ["truncated", None, None]
    assert np.array_equal(done[2].image, picture(20, 30, 0)) and done[2].content_hash == hash_bytes(images[0])
    write_files(root, {"00000.tar": tar(members)[:5000]})
    assert [one.reason for one in _read(TARS, tars.root, [tars.listing["uri"][1].as_py()])] == ["truncated"]


def test_stored_images_keep_what_made_them(root):
    place = _write(root, [[_of(0), _of(1, content_hash="h1")], [_of(2, image=picture(100, 50))]])
    uris = Candidates(place, "option").listing["uri"].to_pylist()
    done = _read(RUN, place, uris)
    assert np.array_equal(done[0].image, picture(16, 16)) and done[2].image.shape == (64, 32, 3)
    assert [one.model for one in done] == ["model@1"] * 3
    assert done[1].content_hash == "h1" and len(done[0].content_hash) == 32


def test_each_file_of_an_earlier_run_is_opened_once_a_unit(tmp_path, monkeypatch):
    place = _write(tmp_path, [[_of(0), _of(1)], [_of(2)]])
    opened = []
    monkeypatch.setattr(
        read, "open_parquet", lambda f, real=read.open_parquet: opened.append(f.name) or real(f)
    )
    uris = ["00000/unit-00000#475-0-r", "00001/unit-00000#475-2-r", "00000/unit-00000#475-1-r"]
    assert [one.status for one in _read(RUN, place, uris)] == ["ok"] * 3
    assert len(opened) == 2


def test_earlier_run_that_lost_a_file_loses_its_images_only(tmp_path):
    place = _write(tmp_path, [[_of(0)], [_of(1)], [_of(2)]])
    (place / "candidates/00000/unit-00000.parquet").remove()
    (place / "candidates/00001/unit-00000.parquet").write_whole(b"PAR1")
    uris = [f"0000{n}/unit-00000#475-{n}-r" for n in range(3)] + ["00002/unit-00000#475-9-r"]
    assert [one.reason for one in _read(RUN, place, uris)] == [
        "missing_file", "unreadable", None, "missing_image"
    ]  # fmt: skip


# --- with masks ----------------------------------------------------------------------------------


def test_cut_outs_bring_their_mask_as_the_one_proposal(root):
    (done,) = _read(CUTOUTS, write_files(root, {"a.png": cutout(side=32)}), ["a.png"])
    (given,) = done.proposals
    assert (given.method, given.ordinal, given.status) == ("given", 0, "ok")
    assert given.mask.shape == (32, 32) and given.area_fraction == 0.25  # 16 x 16 of 32 x 32


def test_stored_images_keep_the_mask_that_came_with_them(tmp_path):
    """8 x 8 of 16 x 16 px; of another, only a segmenter's; the third is larger, and reduced."""
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255
    given, found = Proposal("given", 0, mask), Proposal("sam", 0, mask)
    large = _of(2, image=picture(128, 128), proposals=(replace(given, mask=mask.repeat(8, 0).repeat(8, 1)),))
    place = _write(tmp_path, [[_of(0, proposals=(found, given)), _of(1, proposals=(found,)), large]])
    done = _read(RUN, place, Candidates(place, "option").listing["uri"].to_pylist())
    assert [[one.method for one in candidate.proposals] for candidate in done] == [["given"], [], ["given"]]
    assert np.array_equal(done[0].proposals[0].mask, mask)
    assert done[2].image.shape == (64, 64, 3) and done[2].proposals[0].area_fraction == 0.25


def test_images_without_transparency_are_no_cut_outs(tmp_path):
    root = write_files(tmp_path, {"a.png": encoded(picture(), "PNG"), "b.png": cutout()})
    assert [one.reason for one in _read(CUTOUTS, root, ["a.png", "b.png"])] == ["no_alpha", None]


def _annotated(folder, margin=0.1, path=None):
    settings = AnnotatedSource(kind="annotated", annotations="unused", margin=margin, max_side_px=64)
    images = open_or_index(resolve_source(path or small_dataset(folder / "data")), folder / "cache")
    uris = Objects(images).listing["uri"].to_pylist()
    return dict(zip(uris, _read(settings, images, uris), strict=True))


def test_objects_are_cut_out_with_a_margin(tmp_path):
    """A square of 20 px at (10, 10) of 48 x 64, with 2 px around it."""
    done = _annotated(tmp_path)["a.jpg#1"]
    (given,) = done.proposals
    assert done.image.shape == (24, 24, 3) and given.mask.shape == (24, 24)
    assert np.array_equal(given.mask[2:22, 2:22], np.full((20, 20), 255)) and given.mask.sum() == 400 * 255
    assert given.area_fraction == pytest.approx(400 / 576)
    file = tmp_path / "data/images/a.jpg"
    assert np.array_equal(done.image, np.array(Image.open(file))[8:32, 8:32])
    assert done.content_hash == hash_bytes(file.read_bytes())


@pytest.mark.parametrize(
    ("box", "margin", "ends"),
    [
        pytest.param((10, 10, 20, 20), 0.0, (10, 30, 10, 30), id="none"),
        pytest.param((10, 10, 20, 20), 0.1, (8, 32, 8, 32), id="a-tenth"),
        pytest.param((5, 30, 45, 10), 0.5, (8, 40, 0, 60), id="of-the-longer-side-and-clipped"),
    ],
)
def test_margin_is_of_the_longer_side_and_ends_at_the_image(box, margin, ends):
    assert with_margin(box, margin, (40, 60)) == ends


def test_large_objects_are_reduced_with_their_masks(tmp_path):
    image = {"id": 1, "file_name": "a.jpg", "height": 200, "width": 300}
    entry = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [square(40, 20, 128)]}
    path = write_dataset(tmp_path / "data", [image], [entry])
    done = _annotated(tmp_path, 0.0, path)["a.jpg#1"]
    assert done.image.shape == (64, 64, 3) and done.proposals[0].mask.shape == (64, 64)


def test_annotations_of_rotated_photographs_stay_on_their_objects(tmp_path):
    """Annotations drawn on the file as stored (as COCO's tools do); EXIF turns both upright."""
    stored = np.full((40, 60, 3), 255, np.uint8)
    stored[10:30, 5:15] = picture(20, 10) // 2
    image = {"id": 1, "file_name": "a.png", "height": 40, "width": 60}
    x, y, w, h = 5, 10, 10, 20
    entry = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0,
             "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}  # fmt: skip
    path = write_dataset(tmp_path / "data", [image], [entry])
    (tmp_path / "data/images/a.png").write_bytes(_save(Image.fromarray(stored), "PNG", exif=exif(6)))
    done = _annotated(tmp_path, 0.0, path)["a.png#1"]
    assert np.array_equal(done.image, np.rot90(stored[10:30, 5:15], -1))
    assert (done.proposals[0].mask == 255).all()


def test_object_of_a_pixel_is_rejected(tmp_path):
    image = {"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}
    entry = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [square(4, 4, 1)]}
    path = write_dataset(tmp_path / "data", [image], [entry])
    assert _annotated(tmp_path, 0.1, path)["a.jpg#1"].reason == "tiny_mask"


def test_photograph_that_changed_since_it_was_indexed_is_rejected(tmp_path):
    path = small_dataset(tmp_path / "data")
    images = open_or_index(resolve_source(path), tmp_path / "cache")
    uris = Objects(images).listing["uri"].to_pylist()
    (tmp_path / "data/images/a.jpg").write_bytes(jpeg(5))
    (tmp_path / "data/images/b.jpg").unlink()
    settings = AnnotatedSource(kind="annotated", annotations="unused")
    assert [one.reason for one in _read(settings, images, uris)] == ["changed_file"] * 4


def test_result_does_not_depend_on_neighbours(tmp_path):
    root = write_files(tmp_path, {f"{n}.jpg": jpeg(n) for n in range(3)})
    together = _read(FOLDER, root, [f"{n}.jpg" for n in range(3)])
    alone = [ReadStage(FOLDER, root)([one])[0] for one in _candidates([f"{n}.jpg" for n in range(3)])]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(together, alone, strict=True))


def test_storage_errors_are_no_crash(tmp_path, monkeypatch):
    def fail(place):
        raise StorageError("the disk is full of holes")

    monkeypatch.setattr(read, "read_file", fail)
    (done,) = _read(FOLDER, locate(tmp_path), ["a.jpg"])
    assert (done.reason, done.transient) == ("read_failed", True)
