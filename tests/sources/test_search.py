"""Searching: what the engines answer, in recorded form, becomes a list; what was searched is never again."""

import json
from pathlib import Path
from urllib.parse import parse_qs

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.web.server import answer, serving
from xpaste_ray.categories import Category
from xpaste_ray.cli.app import app
from xpaste_ray.config import SearchSource
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.sources import search as search_module
from xpaste_ray.sources.engines import open_engine
from xpaste_ray.sources.search import Searches, licence_code
from xpaste_ray.sources.url_list import Found, ListedUrls
from xpaste_ray.sources.work_list import plan_units
from xpaste_ray.storage import locate

RECORDED = Path(__file__).parents[1] / "data" / "search"
BANANA = Category(3, "banana")
BOW = Category(9, "bow_(weapon)")


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The engines' own limits are not this server's."""
    monkeypatch.setattr(search_module, "_REQUESTS_PER_S", 1000.0)
    monkeypatch.setattr(search_module, "_RETRIES", 0)


@pytest.fixture
def server():
    with serving() as running:
        yield running


def recorded(name, **options):
    return answer((RECORDED / f"{name}.json").read_bytes(), content_type="application/json", **options)


def play(server, path, name_of):
    """Answer each search at `path` with the recording that `name_of` says for its parameters."""

    async def write(asked, writer):
        await recorded(name_of(parameters(asked)))(asked, writer)

    server.routes[path] = write
    return server.url(path)


def parameters(asked):
    return {name: value for name, (value,) in parse_qs(asked.query).items()}


@pytest.fixture
def openverse(server):
    """Its address: 45 bananas on three pages, and nothing else."""
    return play(
        server,
        "/v1/images/",
        lambda told: f"openverse_banana_{told['page']}" if told["q"] == "banana" else "openverse_nothing",
    )


@pytest.fixture
def wikimedia(server):
    """Its address: two batches of bananas, and nothing else."""

    def name_of(told):
        if not told["gsrsearch"].endswith(" banana"):
            return "wikimedia_nothing"
        return "wikimedia_banana_2" if told.get("gsroffset") == "50" else "wikimedia_banana_1"

    return play(server, "/w/api.php", name_of)


# --- Openverse -----------------------------------------------------------------------------------


def test_openverse_gives_urls_with_licence_and_page(openverse):
    found = open_engine("openverse", openverse)(BANANA, 3)
    assert found == [
        Found("https://live.staticflickr.com/4321/7000000_0123456789_b.jpg", "cc-by-sa-2.0",
              "https://www.flickr.com/photos/12345678@N00/7000000"),
        Found("https://live.staticflickr.com/4321/7000001_0123456789_b.jpg", "cc0-1.0",
              "https://www.flickr.com/photos/12345678@N00/7000001"),
        Found("https://live.staticflickr.com/4321/7000002_0123456789_b.jpg", "pdm-1.0",
              "https://www.flickr.com/photos/12345678@N00/7000002"),
    ]  # fmt: skip


def test_openverse_is_asked_for_as_many_pages_as_are_needed(server, openverse):
    found = open_engine("openverse", openverse)(BANANA, 25)
    assert len(found) == 25
    assert not any(one.url.endswith(".svg") for one in found)  # the fourth
    assert found[19].licence == "cc-by"  # whose version nobody knows
    told = [parameters(asked) for asked in server.asked]
    assert told == [{"q": "banana", "page": str(page), "page_size": "20"} for page in (1, 2)]


def test_openverse_has_no_more(server, openverse):
    assert len(open_engine("openverse", openverse)(BANANA, 1000)) == 44
    assert len(server.asked) == 3
    assert open_engine("openverse", openverse)(BOW, 5) == []
    assert parameters(server.asked[-1])["q"] == "bow (weapon)"


def test_openverse_is_asked_for_licences(server, openverse):
    open_engine("openverse", openverse, ["cc0", "by-sa"])(BANANA, 1)
    assert parameters(server.asked[0])["license"] == "cc0,by-sa"


# --- Wikimedia Commons ---------------------------------------------------------------------------


def test_wikimedia_gives_reduced_photographs_in_the_order_of_the_search(server, wikimedia):
    found = open_engine("wikimedia", wikimedia)(BANANA, 50)
    assert [(one.url.rpartition("/")[2], one.licence) for one in found] == [
        ("1280px-Banana_one.jpg", "cc-by-sa-4.0"),
        ("1280px-Banana_two.png", "cc0"),
        ("1280px-Banana_three.jpg", "cc-by-sa-4.0"),
        ("1280px-Banana_five.jpg", "pd"),
        ("Banana_six.webp", "GFDL"),
    ]  # neither TIFF nor GIF, and none twice
    assert found[0].page == "https://commons.wikimedia.org/wiki/File:Banana_one.jpg"
    first, second = (parameters(asked) for asked in server.asked)
    assert (first["gsrsearch"], first["gsrnamespace"]) == ("filetype:bitmap banana", "6")
    assert (second["gsroffset"], second["continue"]) == ("50", "gsroffset||")


def test_wikimedia_stops_when_there_is_enough(server, wikimedia):
    assert len(open_engine("wikimedia", wikimedia)(BANANA, 2)) == 2
    assert len(server.asked) == 1
    assert open_engine("wikimedia", wikimedia)(BOW, 2) == []


@pytest.mark.parametrize(("licences", "count"), [(["by-sa"], 2), (["cc0", "pdm"], 2), (["by-nc"], 0)])
def test_wikimedia_keeps_to_licences(wikimedia, licences, count):
    assert len(open_engine("wikimedia", wikimedia, licences)(BANANA, 50)) == count


@pytest.mark.parametrize(
    ("licence", "code"),
    [("cc-by-sa-4.0", "by-sa"), ("cc-by-2.0-de", "by"), ("cc-by-nc-nd-3.0", "by-nc-nd"), ("cc0", "cc0"),
     ("cc0-1.0", "cc0"), ("pd", "pdm"), ("pd-old", "pdm"), ("pdm-1.0", "pdm"), ("GFDL", None), (None, None)],
)  # fmt: skip
def test_licence_codes(licence, code):
    assert licence_code(licence) == code


def test_search_without_an_end_is_ended(server, monkeypatch):
    monkeypatch.setattr("xpaste_ray.sources.wikimedia.MAX_PAGES", 3)
    address = play(server, "/api", lambda told: "wikimedia_banana_1")
    assert len(open_engine("wikimedia", address)(BANANA, 50)) == 3
    assert len(server.asked) == 3


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["openverse", "wikimedia"])
@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (
            recorded("openverse_throttled", status=429, retry_after=43200),
            "allows no more requests for now: wait",
        ),
        (answer(b"who are you", 403), "http_403.: some want to know who asks: give a contact"),
        (answer(b"oh", 500), "could not be asked .http_500.: check the network"),
        (answer(b"<html>welcome</html>"), "did not answer with JSON: is that its address"),
        (answer(b"[1, 2]"), "did not answer with JSON: is that its address"),
    ],
)
def test_engine_that_does_not_answer_says_why(server, engine, handler, words):
    server.routes["/api"] = handler
    with pytest.raises(RunError, match=words):
        open_engine(engine, server.url("/api"))(BANANA, 5)


def test_wikimedia_says_why_in_an_answer_that_looks_well(server):
    address = play(server, "/api", lambda told: "wikimedia_error")
    with pytest.raises(RunError, match="ratelimited: You've exceeded your rate limit"):
        open_engine("wikimedia", address)(BANANA, 5)


def test_passing_failure_of_an_engine_is_tried_again(server, monkeypatch):
    monkeypatch.setattr(search_module, "_RETRIES", 1)
    turns = iter([answer(b"", 503, retry_after=1), recorded("openverse_nothing")])

    async def write(asked, writer):
        await next(turns)(asked, writer)

    server.routes["/api"] = write
    assert open_engine("openverse", server.url("/api"))(BANANA, 5) == []


# --- what was found is kept ----------------------------------------------------------------------


class Engine:
    """Numbers its URLs; `asked`: what it was asked for. fails_at: a name that it cannot answer. knows: names
    that it has images of, beside all but "nothing"."""

    def __init__(self, fails_at=None, numbers=range(100), knows=()):
        self.asked, self.fails_at, self.numbers, self.knows = [], fails_at, numbers, knows

    def __call__(self, category, count):
        self.asked.append((category.name, count))
        if category.name == self.fails_at:
            raise RunError("no answer")
        if category.name == "nothing" and "nothing" not in self.knows:
            return []
        return [Found(f"https://x/{category.name}/{n}", "cc0", None) for n in self.numbers[:count]]


A, B, NOTHING = (Category(number, name) for number, name in enumerate(["a", "b", "nothing"]))


@pytest.fixture
def file(tmp_path):
    return locate(tmp_path / "searches" / "web.parquet")


def test_category_is_searched_once(file):
    first, second = Engine(), Engine()
    Searches(file, "r").search(first, {A: 2, NOTHING: 2})
    Searches(file, "r").search(second, {A: 2, NOTHING: 2, B: 1})
    assert first.asked == [("a", 2), ("nothing", 2)]
    assert second.asked == [("b", 1)]
    kept = Searches(file, "r")
    assert [one.url for one in kept.found(A)] == ["https://x/a/0", "https://x/a/1"]
    assert kept.found(NOTHING) == []
    assert kept.missing({A: 1, NOTHING: 2, B: 1}) == {}


def test_what_was_found_is_kept_when_the_engine_fails(file):
    with pytest.raises(RunError, match="no answer"):
        Searches(file, "r").search(Engine(fails_at="b"), {A: 2, B: 2})
    again = Engine()
    Searches(file, "r").search(again, {A: 2, B: 2})
    assert again.asked == [("b", 2)]


def test_asking_for_more_keeps_what_is_there_in_its_place(file):
    """Though the engine would give another order by now."""
    Searches(file, "r").search(Engine(), {A: 2})
    Searches(file, "r").search(Engine(numbers=[7, 1, 8, 9]), {A: 4})
    urls = [one.url for one in Searches(file, "r").found(A)]
    assert urls == [f"https://x/a/{number}" for number in (0, 1, 7, 8, 9)]
    assert Searches(file, "r").missing({A: 4}) == {}


def _listed(file, engine, per_category):
    """The URLs of the work list's rounds, once so many images of each category are wanted."""
    searches = Searches(file, "r")
    searches.search(engine, dict.fromkeys((A, NOTHING), per_category))
    source = ListedUrls("web", 16, searches.urls((A, NOTHING)), {})
    section = SearchSource(kind="search", engine="openverse")
    units = plan_units((A, NOTHING), {"web": source}, {"web": section}, per_category)
    return {unit.round: [prompt.uri for prompt in unit.prompts] for unit in units}


def test_growing_a_run_changes_no_round_that_it_had(file):
    """The list had run dry: two images of one category where four were asked for, and none of the other."""
    before = _listed(file, Engine(numbers=[0, 1]), 4)
    after = _listed(file, Engine(numbers=[7, 0, 8], knows=["nothing"]), 7)
    assert before == {0: ["https://x/a/0"], 1: ["https://x/a/1"]}
    assert {index: uris for index, uris in after.items() if index < 4} == before
    assert {index: uris for index, uris in after.items() if index >= 4} == {
        4: ["https://x/a/7", "https://x/nothing/7"],
        5: ["https://x/a/8", "https://x/nothing/0"],
        6: ["https://x/nothing/8"],
    }
    nothing_more = Engine()
    assert _listed(file, nothing_more, 7) == after and nothing_more.asked == []


def test_unusable_url_of_a_search_keeps_its_place(file):
    Searches(file, "r").search(lambda category, count: [Found("ftp://x/0"), Found("https://x/1")], {A: 2})
    urls = Searches(file, "r").urls([A])
    assert urls.of(A) == [None, Found("https://x/1")] and urls.bad == ["ftp://x/0"]


def test_progress_tells_categories_that_are_done(file):
    told = []
    Searches(file, "r").search(Engine(), {A: 1})
    Searches(file, "r").search(Engine(), {A: 1, B: 1, NOTHING: 1}, told.append)
    assert told == [1, 2, 3]


def test_file_of_another_search_is_refused_and_kept(file):
    Searches(file, "r").search(Engine(), {A: 2})
    with pytest.raises(ConfigError, match="holds what another search found"):
        Searches(file, "other")
    assert len(Searches(file, "r").found(A)) == 2
    file.write_whole(b"something else")
    with pytest.raises(ConfigError, match="is damaged, or not of a search"):
        Searches(file, "r")


# --- the command ---------------------------------------------------------------------------------


def xpaste(*arguments):
    return CliRunner().invoke(app, ["search", *map(str, arguments)])


def test_command_writes_a_list_and_goes_on_with_it(server, openverse, tmp_path):
    names, out = tmp_path / "names.txt", tmp_path / "urls.parquet"
    names.write_text("banana\n")
    told = ["--engine", "openverse", "--address", openverse, "--categories", names, "--out", out]
    shown = xpaste(*told, "--count", 2).output
    assert f"2 images of 1 categories in {out}" in shown
    names.write_text("banana\nbow_(weapon)  # nothing\n")
    shown = xpaste(*told, "--count", 2).output
    assert "nothing found for 1: bow_(weapon)" in shown
    assert [parameters(asked)["q"] for asked in server.asked] == ["banana", "bow (weapon)"]
    assert xpaste(*told, "--count", 2).exit_code == 0
    assert len(server.asked) == 2
    rows = pq.read_table(out).to_pylist()
    assert [(row["category"], row["licence"]) for row in rows if row["url"]] == [
        ("banana", "cc-by-sa-2.0"), ("banana", "cc0-1.0")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--out", "urls.csv", "ends in .parquet"), ("--licence", "mit", "give one of cc0, pdm, by"),
     ("--contact", "me\r\nHost: x", "on one line")],
)  # fmt: skip
def test_command_refuses_before_it_searches(tmp_path, option, value, words):
    names = tmp_path / "names.txt"
    names.write_text("banana\n")
    told = {"--engine": "wikimedia", "--categories": names, "--count": 2, "--out": tmp_path / "urls.parquet"}
    failed = xpaste(*(word for pair in (told | {option: value}).items() for word in pair))
    assert isinstance(failed.exception, ConfigError)
    assert words in str(failed.exception)


def test_recordings_have_what_the_engines_say():
    """Each is an answer as its engine's documentation has it."""
    for path in RECORDED.glob("*.json"):
        told = json.loads(path.read_text())
        assert told.keys() & {"results", "query", "batchcomplete", "error", "detail"}, path.name
