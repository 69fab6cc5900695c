import pytest

from tests.conftest import CATEGORIES
from xpaste_ray.errors import ConfigError
from xpaste_ray.prompts import plan_units, read_names
from xpaste_ray.storage import locate


def _units(per_category, unit_size=2, seed=0, recipe="r"):
    return list(plan_units(CATEGORIES, "a photo of a single {name}", per_category, unit_size, seed, recipe))


def test_units_are_index_major_and_never_cross_a_round():
    units = _units(2)
    assert [(u.id, [p.candidate_id for p in u.prompts]) for u in units] == [
        ("00000/unit-00000", ["45-0-r", "475-0-r"]),
        ("00000/unit-00001", ["649-0-r"]),
        ("00001/unit-00000", ["45-1-r", "475-1-r"]),
        ("00001/unit-00001", ["649-1-r"]),
    ]


def test_asking_for_more_only_adds_units():
    assert _units(5)[: len(_units(3))] == _units(3)


def test_text_and_ids_follow_the_category():
    first = _units(1)[0].prompts[0]
    assert (first.text, first.category_id) == ("a photo of a single banana", 45)


def test_seeds_differ_between_prompts_and_follow_the_identity():
    seeds = [prompt.seed for unit in _units(4) for prompt in unit.prompts]
    assert len(set(seeds)) == 12
    assert seeds == [prompt.seed for unit in _units(4, unit_size=3) for prompt in unit.prompts]
    assert seeds != [prompt.seed for unit in _units(4, seed=1) for prompt in unit.prompts]


@pytest.mark.parametrize("where", ["here", "in a bucket"])
def test_names_come_one_a_line_with_comments(tmp_path, s3, where):
    place = locate(tmp_path if where == "here" else s3()) / "names.txt"
    place.write_whole(b"banana  # yellow\n\n# none\nice cream\n")
    address = str(place)
    assert read_names(address) == ("banana", "ice cream")
    place.write_whole(b"# nothing\n")
    with pytest.raises(ConfigError, match="holds no names: write one a line"):
        read_names(address)
    place.remove()
    with pytest.raises(ConfigError, match="cannot be read .*give a text file, a name a line"):
        read_names(address)
