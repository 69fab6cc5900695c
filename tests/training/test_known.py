import pytest

from xpaste_ray.samples import Annotation, Sample
from xpaste_ray.training.known import absent_where_unlabelled

IDS = (1, 5, 7, 9)


def _sample(shown=(), neg=None, not_exhaustive=None):
    annotations = tuple(
        Annotation(
            category_id=number, segmentation={}, bbox=(0, 0, 1, 1), area=1, iscrowd=0, origin="background",
            source_id="a#1", visible_fraction=1.0, z_order=0,
        )
        for number in shown
    )  # fmt: skip
    return Sample(index=0, height=8, width=8, background_id="a", annotations=annotations,
                  neg_category_ids=neg, not_exhaustive_category_ids=not_exhaustive)  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "absent"),
    [
        (_sample(shown=(1,)), (1, 5, 7, 9)),  # COCO: everything is annotated
        (_sample(shown=(1,), not_exhaustive=(5,)), (1, 7, 9)),  # pasted on a photograph that may show it
        (_sample(shown=(1,), neg=(7,)), (1, 7)),  # LVIS: only what was looked for is known
        (_sample(shown=(1, 5), neg=(7,), not_exhaustive=(5,)), (1, 7)),
        (_sample(neg=()), ()),
    ],
)
def test_what_is_known_to_be_absent_where_nothing_is_labelled(sample, absent):
    found = absent_where_unlabelled(sample, IDS)
    assert tuple(number for number, known in zip(IDS, found, strict=True) if known) == absent
