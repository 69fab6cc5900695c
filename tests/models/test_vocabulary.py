import pytest

from xpaste_ray.errors import RowError
from xpaste_ray.models.vocabulary import Vocabulary

COCO = Vocabulary(dict(enumerate(["person", "bus", "hot dog", "tv", "mouse", "N/A", "N/A"], start=1)))
LVIS = Vocabulary({1: "bus_(vehicle)", 2: "bow_(weapon)", 3: "bow_(decorative_ribbons)", 4: "hot_dog"})


@pytest.mark.parametrize(
    ("vocabulary", "category", "label"),
    [
        pytest.param(COCO, "bus", 2, id="same"),
        pytest.param(COCO, "Hot_Dog", 3, id="but-for-case-and-underscores"),
        pytest.param(COCO, "bus_(vehicle)", 2, id="but-for-parentheses"),
        pytest.param(COCO, "television_set", 4, id="a-synonym-of-LVIS"),
        pytest.param(COCO, "mouse_(computer_equipment)", 5, id="a-mouse"),
        pytest.param(LVIS, "bus", 1, id="parentheses-in-the-model"),
        pytest.param(LVIS, "bow_(weapon)", 2, id="parentheses-in-both"),
    ],
)
def test_category_means_the_label_of_its_name(vocabulary, category, label):
    assert vocabulary.label_of(category) == label


@pytest.mark.parametrize(
    ("vocabulary", "category"),
    [
        pytest.param(COCO, "aardvark", id="unknown"),
        pytest.param(COCO, "bus_stop", id="a-part-of-a-name-is-none"),
        pytest.param(COCO, "N/A", id="several-labels"),
        pytest.param(LVIS, "bow", id="two-meanings-in-the-model"),
        pytest.param(Vocabulary({1: "bow"}), "bow_(weapon)", id="two-meanings-in-LVIS"),
    ],
)
def test_category_without_one_label_rejects_its_image(vocabulary, category):
    with pytest.raises(RowError, match="not_in_vocabulary") as raised:
        vocabulary.label_of(category)
    assert raised.value.reason == "not_in_vocabulary"
