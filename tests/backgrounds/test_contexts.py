"""What a user may give as contexts."""

import json
import shutil
from functools import partial

import pytest

from tests.backgrounds.material import encoded, picture, small_dataset
from xpaste_ray.backgrounds import MixedBackgrounds, open_or_index, resolve_contexts, with_contexts
from xpaste_ray.errors import ConfigError
from xpaste_ray.storage import locate

KEPT = "kept/0123456789abcdef"


@pytest.fixture
def run(tmp_path):
    """A run of `xpaste contexts`: two kept images, another selection's, a sheet, and candidates."""
    root = tmp_path / "run"
    for name in (f"{KEPT}/images/1.jpg", f"{KEPT}/images/2.jpg", "kept/older/images/3.jpg", "sheet.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(picture(seed=len(name)), "JPEG"))
    (root / "run.json").write_text("{}")
    (root / "contexts.json").write_text(json.dumps({"current": KEPT}))
    return root


def _ids(source):
    return source.catalogue().items["id"].to_pylist()


def test_of_a_run_its_kept_images_are_taken(run):
    assert _ids(resolve_contexts(run)) == _ids(resolve_contexts(str(run))) == ["1.jpg", "2.jpg"]
    (run / "contexts.json").write_text('{"current": "kept/older"}')
    assert _ids(resolve_contexts(run)) == ["3.jpg"]


def test_a_folder_of_images_and_a_colour_will_do_too(run):
    assert _ids(resolve_contexts(run / KEPT / "images")) == ["1.jpg", "2.jpg"]
    assert _ids(resolve_contexts("black:64x48")) == ["#000000:64x48"]
    assert len(_ids(resolve_contexts("embedded:photos"))) > 1


def test_a_run_in_an_object_store_is_copied(run, s3, tmp_path):
    bucket = s3()
    for path in run.rglob("*"):
        if path.is_file():
            (locate(bucket) / path.relative_to(run).as_posix()).write_whole(path.read_bytes())
    found = resolve_contexts(bucket, tmp_path / "copies")
    assert _ids(found) == ["1.jpg", "2.jpg"]
    assert not [path for path in (tmp_path / "copies").rglob("*") if path.name in ("3.jpg", "sheet.jpg")]


@pytest.mark.parametrize(
    "pointer", ['{"current": 3}', "{}", '{"current": "/etc"}', '{"current": "a/../../b"}']
)
def test_a_damaged_pointer_is_an_error(run, pointer):
    (run / "contexts.json").write_text(pointer)
    with pytest.raises(ConfigError, match="contexts.json is damaged: run the command that made .*run again"):
        resolve_contexts(run)


def test_what_is_wrong_is_told_of_the_contexts(run, tmp_path):
    """And in no words about backgrounds, which are another option."""
    opened = partial(open_or_index, cache_dir=tmp_path / "cache")
    originals = opened(resolve_contexts(run))
    mixed = with_contexts(originals, run, opened)
    assert isinstance(mixed, MixedBackgrounds) and with_contexts(originals, None, opened) is originals
    (run / "contexts.json").unlink()
    shutil.rmtree(run / KEPT / "images")
    (run / KEPT / "images").mkdir()
    labelled = small_dataset(tmp_path / "coco")
    for given, message in (
        (run, "contexts: .*/run is a run that has no contexts \\(yet\\)"),
        (tmp_path / "none", "contexts: .*/none is not a folder"),
        (run / KEPT / "images", "contexts: .*images holds no JPEG, PNG or WebP file"),
        (labelled, "contexts: they have annotations"),
    ):
        with pytest.raises(ConfigError, match=f"^{message}"):
            with_contexts(originals, given, opened)
    with pytest.raises(ConfigError, match="contexts: these backgrounds have contexts already"):
        with_contexts(mixed, run, opened)
