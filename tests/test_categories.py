import json
from pathlib import Path

import pytest

import xpaste_ray
from xpaste_ray.categories import (
    Category,
    check_some_known,
    did_you_mean,
    display_name,
    frequency_of,
    load_vocabulary,
    lvis_categories,
    name_key,
    pick_categories,
    read_names,
)
from xpaste_ray.errors import ConfigError
from xpaste_ray.storage import locate


def test_lvis_has_its_published_counts():
    frequencies = [category.frequency for category in lvis_categories()]
    assert len(frequencies) == 1203
    assert {f: frequencies.count(f) for f in "rcf"} == {"r": 337, "c": 461, "f": 405}


def test_no_two_names_of_lvis_differ_in_case_or_spaces_only():
    assert len({name_key(category.name) for category in lvis_categories()}) == 1203


def test_ids_are_kept_and_order_is_the_vocabularys():
    picked = pick_categories(lvis_categories(), ["zebra", "banana"])
    assert [(category.id, category.name) for category in picked] == [(45, "banana"), (1202, "zebra")]


def test_display_name_keeps_parentheses():
    assert display_name("bus_(vehicle)") == "bus (vehicle)"


def test_unknown_category_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown category 'strawbery'; did you mean 'strawberry'\?"):
        pick_categories(lvis_categories(), ["strawbery"])


def test_no_category_is_an_error():
    with pytest.raises(ConfigError, match="at least one"):
        pick_categories(lvis_categories(), [])


def test_nothing_near_lists_the_known():
    assert did_you_mean("qqq", ["b", "a"]) == "; known are: a, b"


# --- vocabularies --------------------------------------------------------------------------------


def _load(tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_vocabulary(str(file))


@pytest.mark.parametrize(
    ("images", "letter"), [(0, "r"), (1, "r"), (10, "r"), (11, "c"), (100, "c"), (101, "f"), (9999, "f")]
)
def test_frequencies_have_lviss_limits(images, letter):
    assert frequency_of(images) == letter


def test_every_category_of_lvis_keeps_to_them():
    path = Path(xpaste_ray.__file__).parent / "data" / "lvis_v1_categories.json"
    rows = json.loads(path.read_text())
    assert all(frequency_of(row["image_count"]) == row["frequency"] for row in rows)


def test_text_file_is_numbered_from_1(tmp_path):
    found = _load(tmp_path, "names.txt", "\ufeffdog  # barks\n\n# none\nhot dog\r\n犬\n")
    assert found == (Category(1, "dog"), Category(2, "hot dog"), Category(3, "犬"))


@pytest.mark.parametrize("name", ["v.json", "v.yaml", "v.yml", "V.JSON"])
def test_list_of_names(tmp_path, name):
    assert _load(tmp_path, name, ["dog", "犬"]) == (Category(1, "dog"), Category(2, "犬"))


@pytest.mark.parametrize("name", ["v.json", "v.yaml"])
def test_list_of_entries_keeps_what_it_tells(tmp_path, name):
    entries = [
        {
            "id": 7,
            "name": "dog",
            "synonyms": ["hound"],
            "def": "it barks",
            "frequency": "c",
            "supercategory": "x",
        },
        {"id": 3, "name": "cat", "image_count": 101},
    ]
    assert _load(tmp_path, name, entries) == (
        Category(7, "dog", ("hound",), "it barks", "c"),
        Category(3, "cat", frequency="f"),
    )


def test_entries_without_ids_are_numbered(tmp_path):
    assert [one.id for one in _load(tmp_path, "v.yaml", "- name: dog\n- {name: cat}\n- bird\n")] == [1, 2, 3]


def test_lvis_file_gives_frequencies_from_its_counts(tmp_path):
    found = _load(
        tmp_path, "lvis.json", {"images": [], "categories": [{"id": 4, "name": "dog", "image_count": 10}]}
    )
    assert found == (Category(4, "dog", frequency="r"),)


def test_coco_file_counts_images_not_annotations(tmp_path):
    """Eleven images show a cup; all twelve annotations of a dog are in one."""
    annotations = [{"image_id": n, "category_id": 44} for n in range(11)]
    annotations += [{"image_id": 1, "category_id": 18}] * 12
    categories = [{"id": 18, "name": "dog"}, {"id": 44, "name": "cup"}, {"id": 90, "name": "tööthbrush"}]
    content = {"annotations": annotations, "categories": categories}
    assert _load(tmp_path, "coco.json", content) == (
        Category(18, "dog", frequency="r"),
        Category(44, "cup", frequency="c"),
        Category(90, "tööthbrush", frequency="r"),
    )


def test_list_without_annotations_knows_no_frequency(tmp_path):
    assert _load(tmp_path, "coco.json", {"categories": [{"id": 1, "name": "dog"}]})[0].frequency is None


def test_vocabulary_may_lie_in_an_object_store(s3):
    file = locate(s3()) / "names.json"
    file.write_whole(b'["dog"]')
    assert load_vocabulary(str(file)) == (Category(1, "dog"),)


def test_changed_file_is_read_again(tmp_path):
    assert len(_load(tmp_path, "v.txt", "dog\n")) == 1
    assert len(_load(tmp_path, "v.txt", "dog\ncat\n")) == 2


@pytest.mark.parametrize(
    "name", ["a/b", "../../etc", "nul\0", "two\nlines", "x" * 300, "犬 🐶", "bow_(weapon)'s \"\\"]
)
def test_any_name_is_a_name(tmp_path, name):
    assert _load(tmp_path, "v.json", [name])[0].name == name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.txt", "# nothing\n", "lists no categories"),
        ("v.json", [], "lists no categories"),
        ("v.json", {"images": []}, "lists no categories"),
        ("v.json", "{", "is not readable"),
        ("v.yaml", "[", "is not readable"),
        ("v.yaml", "dog: 1", "must be a list of names, or of {id: 1, name: banana}, or have `categories`"),
        (
            "v.json",
            ["dog", "Dog"],
            r"name \(case, underscores and spaces do not tell names apart\) 'dog' is there",
        ),
        ("v.json", ["hot dog", "hot_dog"], "'hot dog' is there more than once"),
        ("v.json", [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "id 1 is there more than once"),
        ("v.json", [{"id": 1, "name": "a"}, {"name": "b"}], "entry 2 has no id, and others have"),
        ("v.json", [{"id": 1, "name": "a"}, "b"], "entry 2 has no id, and others have"),
        ("v.json", [{"id": -1, "name": "a"}], "'a': the id must be a whole number of at least 0, got -1"),
        ("v.json", [{"id": "1", "name": "a"}], "'a': the id must be a whole number"),
        ("v.json", [{"id": True, "name": "a"}], "'a': the id must be a whole number"),
        ("v.yaml", "- 7\n- dog\n", "entry 1 must be a name .in quotes, if it looks like a number"),
        ("v.json", [{"id": 1}], "entry 1 must be a name"),
        ("v.json", [" _ "], "entry 1: the name ' _ ' is empty"),
        ("v.json", '["\\ud800"]', r"entry 1: the name '\\ud800' is no Unicode text"),
        ("v.json", [{"name": "a", "frequency": "x"}], "'a': frequency must be r, c or f, got 'x'"),
        ("v.json", [{"name": "a", "image_count": 1.5}], "'a': image_count must be a whole number"),
        ("v.json", [{"name": "a", "synonyms": "b"}], "'a': synonyms must be a list of names, got 'b'"),
        ("v.json", [{"name": "a", "def": 1}], "'a': def must be a text, got 1"),
    ],
)
def test_wrong_vocabulary_is_an_error_that_names_the_place(tmp_path, name, content, message):
    with pytest.raises(ConfigError, match=rf"categories\.vocabulary: .*{name}.*{message}"):
        _load(tmp_path, name, content)


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    (tmp_path / "v.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"v\.txt is not readable"):
        load_vocabulary(str(tmp_path / "v.txt"))


def test_vocabulary_that_is_not_there_is_an_error():
    with pytest.raises(
        ConfigError, match="lvsi is neither lvis nor a file that is there; did you mean 'lvis'"
    ):
        load_vocabulary("lvsi")


# --- lists of names ------------------------------------------------------------------------------


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


def test_names_of_which_none_is_known_are_a_vocabulary_of_their_own():
    check_some_known(["banana", "my gadget"], "names.txt", "lvis")
    message = (
        "none of its names .* lvis.* give --set categories.vocabulary=names.txt --set categories.names=all"
    )
    with pytest.raises(ConfigError, match=message):
        check_some_known(["my gadget"], "names.txt", "lvis")
