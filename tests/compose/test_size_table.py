import json

import numpy as np
import pytest

from xpaste_ray.categories import Category, lvis_categories
from xpaste_ray.compose.size_table import load_size_table, size_table_id
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.storage import locate


def test_lvis_table_has_the_published_facts():
    table = load_size_table("lvis", lvis_categories())
    means = [mean for mean, _ in table.by_category.values()]
    assert len(means) == 1203 and np.mean(means) == pytest.approx(0.157, abs=5e-4)
    assert sum(std == 0 for _, std in table.by_category.values()) == 44
    assert table.of(10**6) == table.overall and 0.05 < table.overall[0] < 0.2


def test_without_overall_entry_the_categories_are_pooled(tmp_path):
    """Means 0.1 and 0.3, deviations 0: pooled mean 0.2, deviation 0.1."""
    path = tmp_path / "sizes.json"
    path.write_text(json.dumps({"1": [0.1, 0.0], "2": [0.3, 0.0]}))
    assert load_size_table(str(path), ()).overall == pytest.approx((0.2, 0.1))


@pytest.mark.parametrize("text", ["{}", '{"1": [1]}', '{"a": [1, 2]}', "[]", '{"1": 3}', "{"])
def test_bad_tables_are_errors(tmp_path, text):
    path = tmp_path / "sizes.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="sizes.json"):
        load_size_table(str(path), ())
    with pytest.raises(ConfigError, match="not a file"):
        load_size_table(str(tmp_path / "none.json"), ())


def test_sizes_of_lvis_are_found_by_name():
    """LVIS's banana is 45: in a vocabulary of the user's own it has another number."""
    lvis = load_size_table("lvis", lvis_categories())
    own = load_size_table("lvis", [Category(52, "Banana"), Category(45, "gizmo")])
    assert own.of(52) == lvis.of(45) and own.lacks(45) and own.overall == lvis.overall


def test_table_may_be_in_an_object_store(s3):
    place = f"{s3()}/sizes.json"
    locate(place).write_whole(b'{"3": [0.25, 0.125], "overall": [0.5, 0.0]}')
    assert load_size_table(place, ()).of(3) == (0.25, 0.125)
    assert size_table_id(place) == hash_bytes(b'{"3": [0.25, 0.125], "overall": [0.5, 0.0]}')
