import pytest

from xpaste_ray.json_lists import entry_at, list_entries, members

TEXT = '{"info": {"a": [1]}, "images": [ {"b": "ü"}, 2 ],\n "none": [ ], "flag": true, "more": [[]]}'


def _latin(text):
    return text.encode().decode("latin-1")


def test_members_are_entries_of_lists_and_whole_values_with_their_places():
    text = _latin(TEXT)
    found = [(key, listed, entry_at(text, start, end)) for key, listed, start, end, _ in members(text)]
    assert found == [
        ("info", False, {"a": [1]}), ("images", True, {"b": "ü"}), ("images", True, 2), ("none", False, []),
        ("flag", False, True), ("more", True, []),
    ]  # fmt: skip


def test_list_entries_are_those_of_lists_alone():
    text = _latin("\ufeff" + TEXT)
    assert [(key, entry_at(text, start, end)) for key, start, end, _ in list_entries(text)] == [
        ("images", {"b": "ü"}), ("images", 2), ("more", []),
    ]  # fmt: skip
    assert list(list_entries("{}")) == []


@pytest.mark.parametrize("text", ["", "[]", '{"a"', '{"a": [1', '{"a": [1 2]}', '{"a": 1 "b": 2}'])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(ValueError):
        list(list_entries(text))
