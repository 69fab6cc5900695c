import pytest

from xpaste_ray.categories import Category
from xpaste_ray.errors import ConfigError
from xpaste_ray.sources.found import FoundImages, hash_lines, listing_of

DOG, HOT_DOG, CUP = Category(18, "dog"), Category(58, "hot_dog"), Category(47, "cup")
VOCABULARY = [DOG, HOT_DOG, CUP]


def _found(images, served=VOCABULARY, recipe="r", **columns):
    """images: (category as the source calls it, uri)."""
    listing = listing_of({"category": [c for c, _ in images], "uri": [u for _, u in images], **columns})
    return FoundImages("photos", 4, listing, "place", VOCABULARY, served, {"contents": recipe}, ["a note"])


def _uris(source, category):
    prompts = [source.prompt(category, 10 + n, n) for n in range(5)]
    return [prompt.uri for prompt in prompts if prompt]


def test_prompt_tells_what_the_listing_does():
    source = _found([("dog", "dog/1.jpg")], licence=["CC0"], page=["https://a.example/1"])
    prompt = source.prompt(DOG, 3, 0)
    assert (prompt.category_id, prompt.category, prompt.index, prompt.source) == (18, "dog", 3, "photos")
    assert (prompt.uri, prompt.licence, prompt.page) == ("dog/1.jpg", "CC0", "https://a.example/1")
    assert (prompt.text, prompt.seed) == (None, None)


def test_images_come_in_the_listings_order_and_end():
    source = _found([("dog", "b"), ("cup", "x"), ("dog", "a"), ("dog", "c")])
    assert _uris(source, DOG) == ["b", "a", "c"]
    assert _uris(source, CUP) == ["x"]
    assert _uris(source, HOT_DOG) == []


@pytest.mark.parametrize("name", ["hot_dog", "hot dog", "Hot_Dog", "58"])
def test_category_is_known_by_its_name_or_id(name):
    assert _uris(_found([(name, "a")]), HOT_DOG) == ["a"]


def test_spellings_of_one_category_keep_the_listings_order():
    assert _uris(_found([("hot dog", "a"), ("58", "b"), ("hot_dog", "c")]), HOT_DOG) == ["a", "b", "c"]


def test_a_name_wins_over_an_id():
    number = Category(7, "58")
    listing = listing_of({"category": ["58"], "uri": ["a"]})
    source = FoundImages("n", 4, listing, None, [number, HOT_DOG], [number, HOT_DOG], {})
    assert source.prompt(number, 0, 0).uri == "a" and source.prompt(HOT_DOG, 0, 0) is None


def test_one_image_under_two_categories_is_one_of_each():
    """In X-Paste the last category wins."""
    source = _found([("dog", "1.jpg"), ("cup", "1.jpg")])
    assert _uris(source, DOG) == _uris(source, CUP) == ["1.jpg"]
    assert source.prompt(DOG, 0, 0).candidate_id != source.prompt(CUP, 0, 0).candidate_id


def test_ids_follow_from_category_index_and_contents():
    here, there = (_found([("dog", "a"), ("dog", "b")], recipe=recipe) for recipe in "rs")
    ids = {source.prompt(DOG, index, index).candidate_id for source in (here, there) for index in (0, 1)}
    assert len(ids) == 4
    assert {one.rpartition("-")[0] for one in ids} == {"18-0", "18-1"}


def test_notes_count_what_is_there_and_what_is_not():
    source = _found([("dog", "a"), ("cup", "b"), ("pug", "c"), ("pug", "d"), ("mug", "e")])
    assert source.notes == [
        "photos: a note",
        "photos: 2 images of 2 of 3 categories",
        "photos: no image of 'hot_dog'",
        "photos: 3 images left out, whose categories are not in the vocabulary: 'pug', 'mug'",
    ]


def test_categories_of_the_vocabulary_that_are_not_wanted_are_no_news():
    assert _found([("dog", "a"), ("cup", "b")], [CUP]).notes[1:] == ["photos: 1 image of 1 of 1 category"]


def test_nothing_that_matches_is_an_error_that_names_what_is_near():
    message = (
        r"sources\.photos: it has no image of 'dog', 'hot_dog', 'cup'\. Its categories are 'dig'.*'dog'\?"
    )
    with pytest.raises(ConfigError, match=message):
        _found([("dig", "a")])
    with pytest.raises(ConfigError, match="it has no image of 'cup', only of other categories"):
        _found([("dog", "a")], [CUP])
    with pytest.raises(ConfigError, match=r"sources\.photos: there is no image in it"):
        _found([])


def test_source_that_serves_no_category_of_the_run_may_have_nothing():
    """One for rare categories, where all are common."""
    assert _found([("dig", "a")], []).prompt(DOG, 0, 0) is None


def test_hash_knows_where_one_line_ends():
    assert hash_lines(["ab", "c"]) != hash_lines(["a", "bc"]) != hash_lines(["abc"])
