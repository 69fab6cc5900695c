"""Every layout of mask files, hand-made, and what is wrong with others."""

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from xpaste_ray.config.segment import FullMethod, MasksMethod
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.masks import encode_rle
from xpaste_ray.models.mask_files import MaskFileSegmenter, image_names
from xpaste_ray.models.networks import named_by, network_name
from xpaste_ray.models.segmenters import Shown

LABELS = np.zeros((6, 8), np.uint8)
LABELS[1:3, 1:3], LABELS[3:6, 4:8] = 7, 200  # 4 and 12 pixels
SMALL, LARGE = LABELS == 7, LABELS == 200


def _masks(path, uri="a/photo.jpg", size_hw=LABELS.shape, **options):
    """Hard masks and scores."""
    segmenter = MaskFileSegmenter(MasksMethod(kind="masks", path=str(path), **options))
    ((*found,),) = segmenter([Shown("c1", "frog", np.zeros((*size_hw, 3), np.uint8), uri)])
    assert all(one.mask.shape == size_hw and one.mask.dtype == np.float32 for one in found)
    return [(one.mask > 0.5, one.score) for one in found]


def _same(found, expected):
    assert [score for _, score in found] == [score for _, score in expected]
    assert all(np.array_equal(mask, other) for (mask, _), (other, _) in zip(found, expected, strict=True))


def _panoptic(labels):
    """COCO's: 200 * 300 does not fit the red channel."""
    numbers = labels.astype(np.int64) * 300
    return np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=2).astype(np.uint8)


def _palette(labels):
    image = Image.fromarray(labels, mode="P")
    image.putpalette([value for number in range(256) for value in (number, 255 - number, 0)])
    return image


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "masks" / "a").mkdir(parents=True)
    return tmp_path / "masks"


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("grey8.png", lambda file: Image.fromarray(LABELS).save(file)),
        ("grey16.png", lambda file: cv2.imwrite(str(file), LABELS.astype(np.uint16) * 300)),
        ("palette.png", lambda file: _palette(LABELS).save(file)),
        ("panoptic.png", lambda file: Image.fromarray(_panoptic(LABELS)).save(file)),
        ("labels.npy", lambda file: np.save(file, LABELS.astype(np.int32))),
        ("masks.npy", lambda file: np.save(file, np.stack([SMALL, LARGE]))),
        ("uint8.npy", lambda file: np.save(file, np.stack([SMALL, LARGE]).astype(np.uint8) * 255)),
        ("masks.npz", lambda file: np.savez(file, masks=np.stack([SMALL, LARGE]))),
        ("labels.npz", lambda file: np.savez_compressed(file, masks=LABELS)),
    ],
)
def test_each_layout_of_a_folder_gives_both_regions_the_larger_first(folder, name, save):
    save(folder / "a" / name)
    _same(_masks(folder, f"a/{name.partition('.')[0]}.jpg"), [(LARGE, 0.0), (SMALL, 0.0)])


def test_scores_come_first_and_only_the_best_are_taken(folder):
    np.savez(folder / "a" / "photo.npz", masks=np.stack([SMALL, LARGE, LARGE]), scores=[0.9, 0.2, 0.5])
    _same(_masks(folder), [(SMALL, 0.9), (LARGE, 0.5), (LARGE, 0.2)])
    _same(_masks(folder, max_masks=2), [(SMALL, 0.9), (LARGE, 0.5)])


def test_no_more_regions_of_a_label_map_than_allowed_the_largest(folder):
    np.save(folder / "a" / "photo.npy", LABELS)
    _same(_masks(folder, max_masks=1), [(LARGE, 0.0)])


def test_map_without_regions_finds_nothing(folder):
    np.save(folder / "a" / "photo.npy", np.zeros_like(LABELS))
    assert _masks(folder) == []


# --- JSON -----------------------------------------------------------------------------------------


def _json(tmp_path, told):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(told))
    return file


RESULTS = [
    {"image_id": 139, "category_id": 1, "segmentation": encode_rle(SMALL), "score": 0.25},
    {"image_id": 139, "category_id": 9, "segmentation": encode_rle(LARGE), "score": 0.75},
    {"image_id": "a/photo", "segmentation": encode_rle(SMALL)},
]


def test_results_are_found_by_number_and_by_name(tmp_path):
    file = _json(tmp_path, RESULTS)
    _same(_masks(file, "val/000000000139.jpg"), [(LARGE, 0.75), (SMALL, 0.25)])
    _same(_masks(file, "a/photo.jpg"), [(SMALL, 0.0)])
    with pytest.raises(RowError, match="no_mask_file"):
        _masks(file, "val/000000001390.jpg")


def test_annotations_are_found_by_their_images_names_and_may_be_polygons(tmp_path):
    square = [[4, 3, 8, 3, 8, 6, 4, 6]]  # LARGE, by its corners
    told = {
        "images": [
            {"id": 5, "file_name": "a/photo.jpg", "height": 6, "width": 8},
            {"id": 6, "file_name": "a/none.jpg"},
        ],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 2, "segmentation": square}],
    }
    file = _json(tmp_path, told)
    _same(_masks(file), [(LARGE, 0.0)])
    _same(_masks(file, size_hw=(12, 16)), [(np.kron(LARGE, np.ones((2, 2))) > 0, 0.0)])
    assert _masks(file, "a/none.jpg") == []  # it was looked at, and there is nothing


@pytest.mark.parametrize(
    "told", [[1, 2], {"images": []}, [{"segmentation": {}}], {"annotations": [], "images": [{}]}]
)
def test_json_of_another_kind_is_refused(tmp_path, told):
    with pytest.raises(ConfigError, match=r"segment.methods.\*.path: .* not as COCO's .*: give a list"):
        _masks(_json(tmp_path, told))


def test_text_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ConfigError, match="not as COCO's"):
        _masks(tmp_path / "results.json")


@pytest.mark.parametrize(
    "entry",
    [
        {"segmentation": {"size": [6, 8], "counts": "!!"}},
        {"segmentation": {"size": [6], "counts": "0"}},
        {"segmentation": [[1, 1, 2]]},
        {"segmentation": None},
        {},
        {"segmentation": encode_rle(SMALL), "score": "high"},
    ],
)
def test_damaged_result_rejects_its_image_only(tmp_path, entry):
    file = _json(tmp_path, [*RESULTS, {"image_id": "a/other", **entry}])
    with pytest.raises(RowError, match="bad_mask_file"):
        _masks(file, "a/other.png")
    assert len(_masks(file)) == 1


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "names"),
    [
        ("bus/0001.jpg", ["bus/0001"]),
        ("/data/photos/bus.v2.png", ["/data/photos/bus.v2"]),
        ("00000.tar#000000012.jpg@1536+28113", ["00000.tar#000000012", "000000012"]),
        ("00000/unit-00003#45-0-1f0c77aa", ["00000/unit-00003#45-0-1f0c77aa", "45-0-1f0c77aa"]),
        (
            "00000/unit-00003#45-0-1f#https://example.org/b.jpg",
            ["00000/unit-00003#45-0-1f#https:/example.org/b", "45-0-1f"],
        ),
        ("https://example.org/a/b%20c.jpg?size=2", ["b c"]),
        ("s3://bucket/a/b.jpg", ["b"]),
        ("https://example.org/", []),
    ],
)
def test_images_are_called_as_their_sources_call_them(uri, names):
    assert image_names(uri) == names


def test_last_part_of_the_name_is_enough_where_it_is_the_only_one(folder):
    np.save(folder / "a" / "photo.npy", LABELS)
    assert len(_masks(folder, "elsewhere/photo.png")) == 2
    (folder / "b").mkdir()
    np.save(folder / "b" / "photo.npy", SMALL[None])
    assert len(_masks(folder, "b/photo.png")) == 1
    with pytest.raises(RowError, match="no_mask_file"):
        _masks(folder, "elsewhere/photo.png")


def test_generated_image_is_known_by_its_candidates_id(folder):
    np.save(folder / "c1.npy", LABELS)
    assert len(_masks(folder, uri=None)) == 2


def test_image_without_a_file_is_rejected(folder):
    np.save(folder / "a" / "photo.npy", LABELS)
    with pytest.raises(RowError, match="no_mask_file: a/photo2"):
        _masks(folder, "a/photo2.jpg")


def test_file_that_has_gone_since_is_one_that_is_not_there(folder):
    np.save(folder / "a" / "photo.npy", LABELS)
    segmenter = MaskFileSegmenter(MasksMethod(kind="masks", path=str(folder)))
    (folder / "a" / "photo.npy").unlink()
    with pytest.raises(RowError, match="no_mask_file"):
        segmenter([Shown("c1", "frog", np.zeros((6, 8, 3), np.uint8), "a/photo.jpg")])


# --- sizes and damage -----------------------------------------------------------------------------


def test_masks_of_a_reduced_image_are_reduced_too(folder):
    """600 x 801 to 6 x 8: 801 / 100 is 8.01, rounded."""
    whole = np.zeros((1, 600, 801), bool)
    whole[0, 300:, 401:] = True
    np.save(folder / "a" / "photo.npy", whole)
    ((mask, _),) = _masks(folder)
    assert mask[3:, 4:].all() and mask.sum() == 12


@pytest.mark.parametrize("size_hw", [(8, 6), (6, 16), (12, 8), (0, 0)])
def test_masks_of_another_form_than_the_image_are_refused(folder, size_hw):
    np.save(folder / "a" / "photo.npy", np.ones((1, *size_hw), bool))
    with pytest.raises(RowError, match="mask_wrong_size"):
        _masks(folder)


def _npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def _png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("ending", "data"),
    [
        pytest.param("png", b"", id="empty"),
        pytest.param("png", b"version https://git-lfs.github.com/spec/v1", id="no-png"),
        pytest.param(
            "png", _png(np.random.default_rng(0).integers(0, 9, (50, 50), np.uint8))[:200], id="cut"
        ),
        pytest.param("png", _png(np.zeros((6, 8, 4), np.uint8)), id="transparent"),
        pytest.param("npy", _npy(LABELS)[:-5], id="cut-npy"),
        pytest.param("npy", _npy(LABELS.astype(float)), id="floats"),
        pytest.param("npy", _npy(LABELS[0]), id="one-row"),
        pytest.param("npy", _npy(np.array([{}], object), allow_pickle=True), id="pickle"),
        pytest.param("npz", _npz(labels=LABELS), id="other-name"),
        pytest.param("npz", _npz(masks=SMALL[None], scores=[1.0, 2.0]), id="too-many-scores"),
        pytest.param("npz", _npz(masks=SMALL[None], scores=[np.nan]), id="nan-score"),
        pytest.param("npz", _npz(masks=LABELS, scores=[1.0, 2.0]), id="scores-of-labels"),
        pytest.param("npz", _npz(masks=LABELS)[:-30], id="cut-npz"),
    ],
)
def test_damaged_file_is_a_reason(folder, ending, data):
    (folder / "a" / f"photo.{ending}").write_bytes(data)
    with pytest.raises(RowError, match="bad_mask_file"):
        _masks(folder)


# --- the recipe -----------------------------------------------------------------------------------


def _name(path):
    return network_name(MasksMethod(kind="masks", path=str(path)), "segment.methods.cob.path")


def test_folder_is_known_by_names_and_sizes_wherever_it_lies(folder, tmp_path):
    np.save(folder / "a" / "photo.npy", LABELS)
    before = _name(folder)
    moved = tmp_path / "elsewhere" / "masks"
    moved.parent.mkdir()
    folder.rename(moved)
    assert _name(moved) == before and before.startswith("masks@")
    np.save(moved / "a" / "more.npy", LABELS)
    assert _name(moved) != before


def test_json_is_known_by_its_contents(tmp_path):
    before = _name(_json(tmp_path, RESULTS))
    assert before.startswith("results.json@") and _name(_json(tmp_path, RESULTS)) == before
    assert _name(_json(tmp_path, RESULTS[1:])) != before


@pytest.mark.parametrize("name", ["missing", "masks.txt"])
def test_place_must_be_there_and_be_of_a_kind(tmp_path, name):
    (tmp_path / "masks.txt").touch()
    with pytest.raises(ConfigError, match=r"segment.methods.cob.path: .* neither a folder of mask files nor"):
        _name(tmp_path / name)


def test_folder_without_mask_files_is_refused(folder):
    (folder / "a" / "photo.jpg").touch()
    with pytest.raises(ConfigError, match=r"segment.methods.cob.path: .* holds no mask files: name them"):
        _name(folder)


def test_files_are_named_by_path_and_models_by_model():
    assert named_by(MasksMethod(kind="masks", path="m")) == "path"
    assert named_by(FullMethod(kind="full")) == "model"
