"""Originals and contexts as one set of backgrounds."""

import pickle
import shutil

import numpy as np
import pytest

from tests.backgrounds.material import encoded, picture, small_dataset
from xpaste_ray.backgrounds import Backgrounds, MixedBackgrounds
from xpaste_ray.errors import ConfigError


@pytest.fixture
def photos(tmp_path):
    """Two contexts, one of them called as an original is; a third is broken."""
    folder = tmp_path / "contexts"
    folder.mkdir()
    for number, name in enumerate(("a.jpg", "z.jpg")):
        (folder / name).write_bytes(encoded(picture(30, 50 + number, seed=90 + number), "JPEG"))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.fixture
def mixed(index, photos, tmp_path):
    return MixedBackgrounds(index(small_dataset(tmp_path / "coco")), index(photos))


def _told(backgrounds):
    rows = range(len(backgrounds))
    return [
        (
            backgrounds.id(row),
            backgrounds.size_hw(row),
            backgrounds.annotations(row),
            backgrounds.load(row).sum(),
        )
        for row in rows
    ]


def test_originals_come_first_and_are_what_they_were(mixed):
    assert (len(mixed), mixed.context_count) == (5, 2)
    assert _told(mixed)[:3] == _told(mixed.originals)
    assert [(row, mixed.row_of_id(name)) for row, name in enumerate(mixed.ids)] == [(n, n) for n in range(5)]
    assert mixed.ids[3:] == ["context:a.jpg", "context:z.jpg"] and mixed.row_of_id("a.jpg") == 0
    assert mixed.size_hw(3) == (30, 50) and mixed.sizes_hw.tolist()[3:] == [[30, 50], [30, 51]]
    assert np.array_equal(mixed.load(4), mixed.contexts.load(1))
    for name in ("z.jpg", "context:b.jpg"):
        with pytest.raises(KeyError):
            mixed.row_of_id(name)


def test_labels_are_those_of_the_originals(mixed):
    originals = mixed.originals
    assert mixed.categories == originals.categories and mixed.category_ids == {1, 18, 44}
    assert mixed.annotated_rows.tolist() == originals.annotated_rows.tolist() and not mixed.is_lvis
    for row in range(3):
        assert mixed.present_category_ids(row).tolist() == originals.present_category_ids(row).tolist()
        assert mixed.is_labelled(row)
    for row in (3, 4):
        assert mixed.annotations(row) == () == tuple(mixed.present_category_ids(row))
        assert mixed.neg_category_ids(row) is None and mixed.not_exhaustive_category_ids(row) is None
        assert mixed.rejected_category_ids(row) == ()
        assert not mixed.is_labelled(row) and not mixed.is_blank(row)


def test_a_colour_as_context_shows_nothing(index, tmp_path):
    mixed = MixedBackgrounds(index(small_dataset(tmp_path / "coco")), index("black"))
    assert [mixed.is_blank(row) for row in range(4)] == [False, False, False, True]


def test_rejected_images_of_both_are_told(mixed):
    assert mixed.rejected == {} and mixed.contexts.rejected == {"truncated": 1}
    assert list(mixed.rejected_images()) == [("context:broken.jpg", "truncated")]


def test_another_process_gets_the_same(mixed, monkeypatch):
    before = _told(mixed)
    again = pickle.loads(pickle.dumps(mixed))
    assert again is not mixed and _told(again) == before and again.fingerprint == mixed.fingerprint
    assert len(pickle.dumps(mixed)) < 4000  # places, not tables


def test_fingerprint_is_of_both_and_of_no_place(index, mixed, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "elsewhere")
    originals = mixed.originals
    assert MixedBackgrounds(originals, index(tmp_path / "elsewhere")).fingerprint == mixed.fingerprint
    (tmp_path / "elsewhere" / "z.jpg").write_bytes(encoded(picture(30, 51, seed=1), "JPEG"))
    others = [
        originals.fingerprint,
        MixedBackgrounds(originals, index(tmp_path / "elsewhere")).fingerprint,
        MixedBackgrounds(originals.without_categories(["dog"]), mixed.contexts).fingerprint,
        MixedBackgrounds(index(photos), index(photos)).fingerprint,
    ]
    assert len({mixed.fingerprint, *others}) == 5


def test_categories_are_excluded_from_the_originals(mixed):
    """Image b.jpg shows a dog; c.jpg has no annotation."""
    left = mixed.without_categories(["dog"])
    assert left.ids == ["a.jpg", "c.jpg", "context:a.jpg", "context:z.jpg"]
    assert isinstance(left.originals, Backgrounds) and left.context_count == 2


def test_contexts_with_labels_are_refused(index, tmp_path):
    labelled = index(small_dataset(tmp_path / "coco"))
    with pytest.raises(ConfigError, match="contexts: they have annotations, which would be lost"):
        MixedBackgrounds(labelled, labelled)


def test_no_original_is_taken_for_a_context(index, photos, tmp_path):
    (tmp_path / "originals").mkdir()
    shutil.copy(photos / "a.jpg", tmp_path / "originals" / "context:z.jpg")
    with pytest.raises(ConfigError, match="'context:z.jpg' begins as those of contexts do"):
        MixedBackgrounds(index(tmp_path / "originals"), index(photos))
