from xpaste_ray.categories import Category
from xpaste_ray.contexts.distractors import Distractors
from xpaste_ray.contexts.texts import (
    TEXTS,
    Captioned,
    context_units,
    rows_of_images,
    rows_of_templates,
    text_of,
)

RULE = Distractors([Category(1, "cat"), Category(2, "violin")])
IMAGES = (
    Captioned("k1", "a/1.jpg", ("a cat", "a tree")),
    Captioned("k2", "a/2.jpg", (), "unreadable"),
    Captioned("k3", "a/3.jpg", ("a violin", "a cat")),
)


def rows(images=IMAGES, seed=0):
    return list(rows_of_images(images, RULE, seed))


def units(texts, per_caption=3, unit_size=4, seed=0, made_by="m"):
    return list(context_units(texts, per_caption, unit_size, seed, made_by))


def prompts(*args, **options):
    return [prompt for unit in units(*args, **options) for prompt in unit.prompts]


def test_a_row_a_caption_and_one_for_an_image_without():
    told = [(row["image"], row["ordinal"], row["caption"], row["reason"]) for row in rows()]
    assert told == [
        ("a/1.jpg", 0, "a cat", None), ("a/1.jpg", 1, "a tree", None), ("a/2.jpg", 0, None, "unreadable"),
        ("a/3.jpg", 0, "a violin", "no_distractor"), ("a/3.jpg", 1, "a cat", None),
    ]  # fmt: skip
    assert all(set(row) == set(TEXTS.names) for row in rows())


def test_text_of_a_caption_depends_on_no_other_image():
    alone = {row["text_id"]: row["text"] for image in IMAGES for row in rows([image])}
    assert alone == {row["text_id"]: row["text"] for row in rows()} and len(alone) == 5


def test_words_differ_by_image_number_and_seed():
    many = [Captioned(f"k{i}", f"{i}.jpg", ("a cat",)) for i in range(40)]
    drawn = [[row["text"] for row in rows(many, seed)] for seed in (0, 1)]
    assert len(set(drawn[0])) > 3 and drawn[0] != drawn[1]


def test_every_usable_text_has_its_images_in_turn():
    made = prompts(rows())
    usable = [row["text_id"] for row in rows() if row["status"] == "ok"]
    assert [(text_of(p.candidate_id), p.index) for p in made] == [(t, i) for t in usable for i in range(3)]
    assert [len(unit.prompts) for unit in units(rows())] == [4, 4, 1]
    assert [unit.number for unit in units(rows())] == [0, 1, 2]
    assert len({p.seed for p in made}) == len({p.candidate_id for p in made}) == 9


def test_image_of_a_text_is_the_same_whatever_else_is_made():
    whole = {p.candidate_id: p for p in prompts(rows(), per_caption=5, unit_size=2)}
    for p in prompts(rows()[-1:], per_caption=2):
        assert whole[p.candidate_id] == p


def test_images_of_other_recipes_seeds_or_words_have_other_ids():
    texts = rows()[:1]
    ids = {p.candidate_id for p in prompts(texts)}
    changed = [{**texts[0], "text": "another"}]
    for other in (prompts(texts, made_by="n"), prompts(texts, seed=1), prompts(changed)):
        assert ids.isdisjoint(p.candidate_id for p in other)


def test_templates_have_no_image_and_stay_as_they_are():
    (one, other) = rows_of_templates(["a cat", "nature"])
    assert (one["image"], one["text"], other["text"]) == (None, "a cat", "nature")
    assert one["text_id"] != other["text_id"]
