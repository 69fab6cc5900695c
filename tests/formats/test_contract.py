import json
from dataclasses import replace

import pytest

from tests.formats.conftest import CATEGORIES, SPEC
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.contract import FORMAT_NAMES, read_spec, spec_to_json, write_spec
from xpaste_ray.formats.dataset import FORMATS
from xpaste_ray.formats.images import ImageEncoding


def test_every_name_has_a_format():
    assert tuple(FORMATS) == FORMAT_NAMES


def test_description_comes_back_from_its_file(tmp_path):
    spec = replace(SPEC, formats=("voc", "coco"), polygons=True, encoding=ImageEncoding(format="webp"))
    write_spec(tmp_path, spec)
    assert read_spec(tmp_path) == spec


def test_polygons_are_made_only_for_formats_that_have_them():
    assert replace(SPEC, formats=("voc", "lvis"), polygons=True).wants_polygons
    assert not replace(SPEC, formats=("voc", "yolo"), polygons=True).wants_polygons
    assert not SPEC.wants_polygons


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"formats": ("coko",)}, "did you mean 'coco'", id="unknown-format"),
        pytest.param({"formats": ()}, "one or more", id="no-format"),
        pytest.param({"formats": ("voc", "voc")}, "each once", id="a-format-twice"),
        pytest.param({"categories": CATEGORIES * 2}, "same id", id="category-id-twice"),
        pytest.param({"count": 0}, "at least 1", id="no-samples"),
    ],
)
def test_a_description_that_cannot_be_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        replace(SPEC, **fields)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "run the same command again", id="missing"),
        pytest.param("{", "restore it", id="cut-off"),
        pytest.param('{"format": 9}', "use the version that wrote it", id="of-a-later-version"),
        pytest.param(json.dumps({"format": 1}), "is damaged", id="without-keys"),
        pytest.param(json.dumps(spec_to_json(SPEC) | {"count": "5"}), "is damaged", id="of-wrong-types"),
        pytest.param(
            json.dumps(spec_to_json(SPEC) | {"image": {"width": 3}}), "is damaged", id="unknown-key"
        ),
    ],
)
def test_reading_a_description_says_what_to_do(tmp_path, content, message):
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_spec(tmp_path)
