from xpaste_ray.fingerprints import differences, fingerprint, hash_bytes, hash_file, hash_folder


def test_key_order_does_not_matter():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})


def test_any_change_matters():
    assert len({fingerprint({"a": value}) for value in (1, 1.5, "1", None, [1], True)}) == 6


def test_differences_name_the_setting():
    old = {"steps": 20, "select": {"bar": 21.0, "same": 1}}
    new = {"steps": 25, "select": {"bar": 22.0, "same": 1}, "dtype": "float32"}
    assert differences(old, new) == [
        'dtype: null -> "float32"',
        "select.bar: 21.0 -> 22.0",
        "steps: 20 -> 25",
    ]


def test_long_lists_show_what_came_and_went():
    assert differences({"names": ["a", "b", "c"]}, {"names": ["b", "c", "d"]}) == [
        'names: removed ["a"], added ["d"]'
    ]


def test_folder_hash_follows_names_and_bytes(tmp_path):
    (tmp_path / "a").write_text("1")
    first = hash_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = hash_folder(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, renamed, hash_folder(tmp_path)}) == 3


def test_bytes_and_a_file_of_them_have_one_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    assert hash_file(tmp_path / "a") == hash_bytes(b"123")
