"""Lists of URLs in the forms that people have them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xpaste_ray.categories import Category
from xpaste_ray.errors import ConfigError
from xpaste_ray.sources.url_list import Found, ListedUrls, UrlList, read_url_list
from xpaste_ray.storage import locate

BANANA, ALARM, BOW = Category(3, "banana"), Category(7, "alarm_clock"), Category(9, "bow_(weapon)")
ALL = (BANANA, ALARM, BOW)

ROWS = [
    {"url": "https://a.example/1.jpg", "category": "banana", "licence": "cc0", "page": "https://a.example/1"},
    {"url": "http://a.example/2.jpg", "category": "Alarm Clock", "licence": None, "page": None},
    {"url": "https://a.example/3.jpg", "category": "banana", "licence": "", "page": None},
    {"url": "https://a.example/4.jpg", "category": "unicorn", "licence": None, "page": None},
]


def write(path, rows):
    match path.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".csv":
            columns = list(rows[0])
            lines = [",".join(f'"{row[c] or ""}"' for c in columns) for row in rows]
            path.write_text("\n".join([",".join(columns), *lines]) + "\n")
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return locate(path)


def read(place, categories=ALL):
    return read_url_list(place, "sources.web.list", categories)[0]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_all_forms_give_the_same(tmp_path, suffix):
    urls = read(write(tmp_path / f"urls{suffix}", ROWS))
    assert urls.of(BANANA) == [
        Found("https://a.example/1.jpg", "cc0", "https://a.example/1"), Found("https://a.example/3.jpg")
    ]  # fmt: skip
    assert urls.of(ALARM) == [Found("http://a.example/2.jpg")]
    assert urls.of(BOW) == []


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize(
    ("url", "category", "licence"),
    [("url", "caption", "license"), ("URL", "TEXT", "LICENSE"), ("image_url", "category", "licence")],
)
def test_names_that_other_tools_give_to_columns(tmp_path, suffix, url, category, licence):
    """img2dataset and clip-retrieval, LAION."""
    row = {
        "key": "00001",
        url: "https://a.example/1.jpg",
        category: "banana",
        licence: "cc0",
        "similarity": 0.3,
    }
    urls = read(write(tmp_path / f"urls{suffix}", [row]))
    assert urls.of(BANANA) == [Found("https://a.example/1.jpg", "cc0")]


def test_category_goes_before_caption(tmp_path):
    row = {"url": "https://a.example/1.jpg", "caption": "banana", "category": "alarm clock"}
    urls = read(write(tmp_path / "urls.jsonl", [row]))
    assert (len(urls.of(BANANA)), len(urls.of(ALARM))) == (0, 1)


def test_each_url_of_a_category_once_in_the_lists_order(tmp_path):
    rows = [{"url": f"https://a.example/{name}", "category": "banana"} for name in "bacabd"]
    rows += [{"url": "https://a.example/a", "category": "alarm clock"}]
    urls = read(write(tmp_path / "urls.csv", rows))
    assert [one.url[-1] for one in urls.of(BANANA)] == ["b", "a", "c", "d"]
    assert [one.url[-1] for one in urls.of(ALARM)] == ["a"]


BAD = [
    "file:///etc/passwd",
    "ftp://a.example/1.jpg",
    "http:///1.jpg",
    "https://me:secret@a.example/1.jpg",
    "1.jpg",
]


def test_unusable_urls_are_left_out_and_told(tmp_path):
    rows = [{"url": url, "category": "banana"} for url in [*BAD, "https://a.example/1.jpg"]]
    urls = read(write(tmp_path / "urls.csv", rows))
    assert [one.url for one in urls.of(BANANA)] == ["https://a.example/1.jpg"]
    bad, empty = urls.notes("web", ALL)
    assert bad.startswith("web: 5 unusable URLs left out: 'file:///etc/passwd'")
    assert empty == "web: no URL for 2 of 3 categories: 'alarm_clock', 'bow_(weapon)'"


def test_row_without_a_url_says_that_there_are_none(tmp_path):
    rows = [
        {"url": None, "category": "banana"},
        {"url": "https://a.example/1.jpg", "category": "alarm clock"},
    ]
    urls = read(write(tmp_path / "urls.parquet", rows))
    assert (urls.of(BANANA), urls.bad) == ([], [])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "urls.txt",
            "https://a.example/1.jpg",
            "give a file .csv, .jsonl, .ndjson, .parquet with the columns url and category",
        ),
        (
            "urls.csv",
            "link,category\na,b\n",
            "has no column 'url' or 'image_url'; of those that count, it has category",
        ),
        (
            "urls.csv",
            "url,class\na,b\n",
            "has no column 'category' or 'caption' or 'text'; of those that count, it has url",
        ),
        ("urls.csv", "url,category\nhttps://a.example/1,unicorn\n", "has no URL for any of the 3 categories"),
        ("urls.csv", "", "is not readable"),
        ("urls.parquet", "nonsense", "is not readable"),
        ("urls.jsonl", "nonsense", "is not readable"),
        (None, None, "does not exist"),
    ],
)
def test_list_that_cannot_be_used_says_why(tmp_path, name, content, words):
    if name:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=words) as error:
        read(locate(tmp_path / (name or "missing.csv")))
    assert str(error.value).startswith("sources.web.list: ")


def test_list_is_known_by_what_is_in_it(tmp_path):
    hashes = [
        read_url_list(write(tmp_path / name, rows), "list", ALL)[1]
        for name, rows in [("a.jsonl", ROWS), ("b.jsonl", ROWS), ("c.jsonl", ROWS[:2])]
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def source(urls=("https://a/1", "https://a/2"), recipe=None):
    return ListedUrls(
        "web", 16, UrlList({3: [Found(url, "cc0", "page") for url in urls]}), recipe or {"a": 1}
    )


def test_prompts_are_the_lists_urls_in_turn_until_it_ends():
    prompts = [source().prompt(BANANA, 5 + number, number) for number in range(3)]
    assert [(one.uri, one.index, one.licence, one.page, one.source) for one in prompts[:2]] == [
        ("https://a/1", 5, "cc0", "page", "web"), ("https://a/2", 6, "cc0", "page", "web")
    ]  # fmt: skip
    assert prompts[2] is None
    assert source().prompt(ALARM, 0, 0) is None


def test_id_follows_from_category_place_url_and_recipe():
    one = source().prompt(BANANA, 0, 0)
    assert one == source().prompt(BANANA, 0, 0)
    assert one.candidate_id.startswith("3-0-")
    others = [
        source(("https://a/9",)).prompt(BANANA, 0, 0),
        source(recipe={"a": 2}).prompt(BANANA, 0, 0),
        source().prompt(BANANA, 1, 0),
    ]
    assert len({one.candidate_id, *(other.candidate_id for other in others)}) == 4
